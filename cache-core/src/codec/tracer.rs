//! The knowledge about a type from the runs so far, and the questions of the next run.

use super::draft::{Draft, Event, Heading};
#[cfg(feature = "inspect")]
use super::layout::Layout;

/// A run that goes deeper, or a type that needs more descriptions, is given up: tracing happens on
/// a caller's path, once.
const DEEPEST: usize = 96;

/// The nesting of values, with or without a name, at which a run is given up. The stack of a thread
/// has room for several times as many.
const MOST_NESTED: usize = 512;

/// Structs and enums described in all runs together. Without a limit a type that branches at every
/// level would be traced without end.
const MOST_DESCRIBED: usize = 20_000;

/// Texts offered where a type asks for one, until it takes one: free text, numbers, dates,
/// identifiers, addresses.
const TEXTS: &[&str] = &[
    "",
    "0",
    "1970-01-01T00:00:00Z",
    "1970-01-01",
    "1970-01-01T00:00:00",
    "00:00:00",
    "00000000-0000-0000-0000-000000000000",
    "0.0.0.0",
    "a",
    "http://a/",
    "UTC",
    "USD",
    "a@a.aa",
];

/// A struct or an enum: its Rust type, which tells instances of a generic type apart and is not
/// part of the shape, then its name and its members, which are.
type Named = (&'static str, &'static str, &'static [&'static str]);

#[derive(Default)]
pub(super) struct Tracer {
    /// All structs and enums, in the order in which they were found. Descriptions name them by
    /// their numbers.
    types: Vec<Named>,
    /// The sorted descriptions of each type, by its number: one of a struct, one for each variant
    /// of an enum.
    known: Vec<Vec<String>>,
    /// The description of what is not inside any named type.
    root: String,
    /// How often each enum was asked for. The n-th time it shows its n-th variant, so that an enum
    /// that only one variant of another enum holds shows all of its own variants too.
    met: Vec<(Named, usize)>,
    /// The types that were met before this run, to run again with another text.
    met_before: Vec<(Named, usize)>,
    /// Structs and enums that this run is inside of. Inside itself a type is only named.
    inside: Vec<Named>,
    /// The descriptions that are being written; the innermost is last.
    writing: Vec<String>,
    /// Set inside a type that is being described already: answers are only there to complete the
    /// value, and are not noted.
    is_silent: bool,
    /// Which text the n-th question for one gets.
    texts: Vec<usize>,
    /// How many texts this run has asked for.
    texts_asked: usize,
    /// The number of named types that this run is inside of.
    depth: usize,
    /// The number of values that this run is inside of, with or without a name.
    nesting: usize,
    described: usize,
    /// The structure of what is noted.
    draft: Draft,
}

/// A struct, or one variant of an enum, that is being described.
pub(super) struct Opened {
    named: Named,
    /// The silence around it.
    was_silent: bool,
    /// Set if its own parts are noted.
    is_noted: bool,
}

impl Tracer {
    /// Begins a run.
    pub(super) fn begin(&mut self) {
        self.met_before.clone_from(&self.met);
        self.inside.clear();
        self.writing = vec![String::new()];
        self.texts_asked = 0;
        self.depth = 0;
        self.nesting = 0;
        self.is_silent = false;
        self.sketch(Event::Begin);
    }

    /// Passes what is noted to the draft of the layout.
    pub(super) fn sketch(&mut self, event: Event<'_>) {
        if !self.is_silent {
            self.draft.add(event);
        }
    }

    /// Notes a question.
    pub(super) fn note(&mut self, what: &str) {
        if !self.is_silent
            && let Some(writing) = self.writing.last_mut()
        {
            writing.push_str(what);
            writing.push(' ');
        }
    }

    /// Notes a question for a value that has no parts.
    pub(super) fn note_scalar(&mut self, what: &str) {
        self.note(what);
        self.sketch(Event::Scalar(what));
    }

    /// Notes that the parts of a value follow. Returns `false` if the value is nested too deeply.
    pub(super) fn enter_parts(&mut self) -> bool {
        let is_traceable = self.nesting < MOST_NESTED;
        self.nesting += usize::from(is_traceable);
        if is_traceable {
            self.sketch(Event::Enter);
        }
        is_traceable
    }

    /// Notes that the parts of a value have ended.
    pub(super) fn leave_parts(&mut self) {
        self.nesting -= 1;
        self.sketch(Event::Leave);
    }

    pub(super) fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Returns the text that answers this question for one.
    pub(super) fn next_text(&mut self) -> &'static str {
        if self.texts.len() == self.texts_asked {
            self.texts.push(0);
        }
        let text = TEXTS[self.texts[self.texts_asked]];
        self.texts_asked += 1;
        text
    }

    /// Begins the description of a type under a heading. Returns `None` if the type is too deep or
    /// too large to be traced.
    pub(super) fn open(&mut self, named: Named, head: Heading) -> Option<Opened> {
        self.depth += 1;
        self.described += 1;
        if self.depth > DEEPEST || self.described > MOST_DESCRIBED {
            return None;
        }
        let was_silent = self.is_silent;
        let is_noted = !was_silent && self.enter(named);
        if is_noted {
            self.writing.push(format!("{head} "));
            self.sketch(Event::Open(head));
        }
        self.is_silent = !is_noted;
        Some(Opened {
            named,
            was_silent,
            is_noted,
        })
    }

    /// Begins the description of one variant of an enum, and returns which.
    pub(super) fn open_enum(&mut self, named: Named) -> Option<(usize, Opened)> {
        let (.., variants) = named;
        let count = variants.len().max(1);
        // Inside itself an enum shows each variant in turn until one ends: the first may hold the
        // enum again.
        let index = if self.is_silent || self.inside.contains(&named) {
            self.depth % count
        } else {
            self.meet(named) % count
        };
        let name = variants.get(index).copied().unwrap_or("none");
        Some((index, self.open(named, Heading::Variant(index, name))?))
    }

    /// Ends a description and keeps it.
    pub(super) fn close(&mut self, opened: Opened) {
        let Opened {
            named,
            was_silent,
            is_noted,
        } = opened;
        if is_noted && let Some(noted) = self.writing.pop() {
            let number = self.number(named);
            self.sketch(Event::Close(number, named.2));
            self.keep(number, noted);
        }
        if !was_silent {
            self.inside.pop();
        }
        self.is_silent = was_silent;
        self.depth -= 1;
    }

    /// Changes the last text that was asked for, for the next run. Returns `false` if every text
    /// was tried.
    pub(super) fn offer_another_text(&mut self) -> bool {
        self.met.clone_from(&self.met_before);
        self.texts.truncate(self.texts_asked);
        while let Some(last) = self.texts.last_mut() {
            *last += 1;
            if *last < TEXTS.len() {
                return true;
            }
            // Every text was refused here, so an earlier text is the cause.
            self.texts.pop();
        }
        false
    }

    /// Ends a run that read a whole value. Returns `true` if every enum has shown all its variants.
    pub(super) fn end(&mut self) -> bool {
        if let Some(root) = self.writing.pop() {
            self.root = root;
        }
        self.texts.clear();
        self.draft.keep();
        self.met
            .iter()
            .all(|((.., variants), met)| *met >= variants.len())
    }

    /// Returns the description of the type.
    pub(super) fn description(&self) -> String {
        let mut text = format!("{}\n", self.root);
        for (number, (_, name, members)) in self.types.iter().enumerate() {
            text.push_str(name);
            for member in *members {
                text.push(',');
                text.push_str(member);
            }
            for one in self.known.get(number).into_iter().flatten() {
                text.push('|');
                text.push_str(one);
            }
            text.push('\n');
        }
        text
    }

    /// Returns the layout of the type, if it has one.
    #[cfg(feature = "inspect")]
    pub(super) fn layout(&self) -> Option<Layout> {
        self.draft
            .layout(self.types.iter().map(|(_, name, _)| *name))
    }

    fn number(&mut self, named: Named) -> usize {
        self.types
            .iter()
            .position(|known| *known == named)
            .unwrap_or_else(|| {
                self.types.push(named);
                self.types.len() - 1
            })
    }

    /// Adds a description to those of a type, once.
    fn keep(&mut self, number: usize, noted: String) {
        if self.known.len() <= number {
            self.known.resize(number + 1, Vec::new());
        }
        let known = &mut self.known[number];
        if let Err(at) = known.binary_search(&noted) {
            known.insert(at, noted);
        }
    }

    /// Counts a question for an enum. Returns how often it was asked for before.
    fn meet(&mut self, named: Named) -> usize {
        match self.met.iter_mut().find(|(known, _)| *known == named) {
            Some((_, met)) => {
                *met += 1;
                *met - 1
            }
            None => {
                self.met.push((named, 1));
                0
            }
        }
    }

    /// Names a type. Returns `false` inside itself, where it is not described.
    fn enter(&mut self, named: Named) -> bool {
        let number = self.number(named);
        self.note(&format!("{}#{number}", named.1));
        self.sketch(Event::Type(number));
        let first = !self.inside.contains(&named);
        self.inside.push(named);
        first
    }
}
