//! What is known of a type from the runs so far, and what the next run is to ask.

/// Texts offered where a type asks for one, until it takes one: free text, numbers, dates, identifiers, addresses.
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

/// A struct or an enum: its Rust type, which tells instances of a generic type apart and is not part of the shape, and what
/// serde names, which is.
pub(super) type Named = (&'static str, &'static str, &'static [&'static str]);

#[derive(Default)]
pub(super) struct Tracer {
    /// All that were met, in the order they were: by their numbers they name each other.
    types: Vec<Named>,
    /// What is known of each, by its number and in order: of a struct one description, of an enum one for each variant.
    known: Vec<Vec<String>>,
    /// The unnamed part above them.
    root: String,
    /// How often each enum was met. The n-th time it shows its n-th variant, so that an enum which only one variant of
    /// another holds shows all of its own as well.
    met: Vec<(Named, usize)>,
    /// The same when this run began, to run again with another text.
    met_before: Vec<(Named, usize)>,
    /// Structs and enums that this run is inside of; inside itself a type is only named.
    pub(super) inside: Vec<Named>,
    /// Where descriptions are written: the innermost last.
    pub(super) writing: Vec<String>,
    /// Which text the n-th question for one gets, and how many were asked in this run.
    texts: Vec<usize>,
    texts_asked: usize,
    pub(super) depth: usize,
    pub(super) described: usize,
}

impl Tracer {
    pub(super) fn begin(&mut self) {
        self.met_before.clone_from(&self.met);
        self.inside.clear();
        self.writing = vec![String::new()];
        self.texts_asked = 0;
        self.depth = 0;
    }

    pub(super) fn note(&mut self, what: &str) {
        if let Some(writing) = self.writing.last_mut() {
            writing.push_str(what);
            writing.push(' ');
        }
    }

    pub(super) fn next_text(&mut self) -> &'static str {
        if self.texts.len() == self.texts_asked {
            self.texts.push(0);
        }
        let text = TEXTS[self.texts[self.texts_asked]];
        self.texts_asked += 1;
        text
    }

    /// Lets the last text that was asked for be another in the next run.
    pub(super) fn offer_another_text(&mut self) -> bool {
        self.met.clone_from(&self.met_before);
        self.texts.truncate(self.texts_asked);
        while let Some(last) = self.texts.last_mut() {
            *last += 1;
            if *last < TEXTS.len() {
                return true;
            }
            // Every text was refused here: the mistake lies earlier.
            self.texts.pop();
        }
        false
    }

    /// Ends a run that came through; `true` when every enum has shown all its variants.
    pub(super) fn end(&mut self) -> bool {
        if let Some(root) = self.writing.pop() {
            self.root = root;
        }
        self.texts.clear();
        self.met
            .iter()
            .all(|((.., variants), met)| *met >= variants.len())
    }

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

    pub(super) fn number(&mut self, named: Named) -> usize {
        self.types
            .iter()
            .position(|known| *known == named)
            .unwrap_or_else(|| {
                self.types.push(named);
                self.types.len() - 1
            })
    }

    /// Keeps what is known of a type, once.
    pub(super) fn keep(&mut self, number: usize, noted: String) {
        if self.known.len() <= number {
            self.known.resize(number + 1, Vec::new());
        }
        let known = &mut self.known[number];
        if let Err(at) = known.binary_search(&noted) {
            known.insert(at, noted);
        }
    }

    /// Meets an enum once more; how often it was met before.
    pub(super) fn meet(&mut self, named: Named) -> usize {
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

    pub(super) fn enter(&mut self, named: Named) -> bool {
        let number = self.number(named);
        self.note(&format!("{}#{number}", named.1));
        let first = !self.inside.contains(&named);
        self.inside.push(named);
        first
    }
}
