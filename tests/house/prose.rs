//! Prose of a file, as words with their lines.

use syn::visit::{self, Visit};

use crate::sources::Source;
use crate::text::{Comment, Kind, line_comments, scan};

/// A word in lowercase, without the punctuation around it.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) line: usize,
    pub(crate) begins_sentence: bool,
    /// Punctuation follows, so a phrase does not continue.
    pub(crate) ends_clause: bool,
    ends_sentence: bool,
    is_question: bool,
}

/// Origin of words, which decides how they may begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// First paragraph of a doc comment.
    Doc,
    Paragraph,
    /// A heading or a row of a table.
    Fragment,
    TestName,
}

/// Words that belong together: a paragraph, a literal, or the name of a test.
#[derive(Debug)]
pub(crate) struct Prose {
    pub(crate) place: Place,
    pub(crate) words: Vec<Word>,
    is_in_code: bool,
}

impl Prose {
    fn new(place: Place) -> Self {
        Self {
            place,
            words: Vec::new(),
            is_in_code: false,
        }
    }

    fn of_line(place: Place, line: usize, text: &str) -> Self {
        let mut prose = Self::new(place);
        prose.add(line, text);
        prose
    }

    /// Returns the words around one of them, to show where it was found.
    pub(crate) fn around(&self, at: usize) -> String {
        let nearby = &self.words[at.saturating_sub(4)..(at + 6).min(self.words.len())];
        let nearby: Vec<_> = nearby.iter().map(|word| word.text.as_str()).collect();
        nearby.join(" ")
    }

    /// Returns `true` if the sentence of a word ends with a question mark.
    pub(crate) fn is_question(&self, at: usize) -> bool {
        let end = self.words[at..].iter().find(|word| word.ends_sentence);
        end.is_some_and(|word| word.is_question)
    }

    fn add(&mut self, line: usize, text: &str) {
        for raw in text.split_whitespace() {
            // A span of code is no word of a phrase, even if white space divides it.
            let is_code = self.is_in_code || raw.contains('`');
            self.is_in_code ^= raw.matches('`').count() % 2 == 1;
            let end = raw.trim_end_matches(['`', '"', '\'', ')', '*', '_', ']', '}']);
            let text = raw
                .trim_matches(|c: char| !c.is_alphanumeric())
                .to_lowercase();
            if text.is_empty() {
                // A dash or a bar between words.
                if let Some(last) = self.words.last_mut() {
                    last.ends_clause = true;
                }
                continue;
            }
            self.words.push(Word {
                text: if is_code { "`…`".to_owned() } else { text },
                line,
                begins_sentence: self.words.last().is_none_or(|last| last.ends_sentence),
                ends_clause: end.ends_with(|c: char| c.is_ascii_punctuation()),
                ends_sentence: end.ends_with(['.', '!', '?']),
                is_question: end.ends_with('?'),
            });
        }
    }
}

/// Returns the comments, string literals and test names of a Rust source.
pub(crate) fn rust_prose(source: &Source) -> Vec<Prose> {
    let found = scan(&source.text);
    let mut texts = paragraphs(&found.comments);
    for literal in &found.literals {
        // A literal of one word is a name or a value.
        if literal.text.contains(' ') {
            let text = literal.text.replace("\\n", " ");
            texts.push(Prose::of_line(Place::Paragraph, literal.line, &text));
        }
    }
    // Some inputs of the UI tests are invalid Rust on purpose. They contain no tests.
    if let Ok(file) = syn::parse_file(&source.text) {
        let mut names = TestNames(Vec::new());
        names.visit_file(&file);
        texts.extend(names.0);
    }
    texts.retain(|text| !text.words.is_empty());
    texts
}

/// Returns the comments of a script.
pub(crate) fn script_prose(source: &Source, marker: &str) -> Vec<Prose> {
    paragraphs(&line_comments(&source.text, marker))
}

/// Returns the paragraphs of a page, without code and without tables of wrong examples.
pub(crate) fn markdown(source: &Source) -> Vec<Prose> {
    let lines = source.text.lines().enumerate();
    let lines = lines.map(|(at, line)| (at + 1, line));
    in_paragraphs(lines, Place::Paragraph)
}

fn paragraphs(comments: &[Comment]) -> Vec<Prose> {
    let blocks = comments
        .chunk_by(|a, b| a.kind == b.kind && a.line + 1 == b.line && a.kind != Kind::Trailing);
    let texts = blocks.flat_map(|block| {
        let place = match block[0].kind {
            Kind::Doc | Kind::ModuleDoc => Place::Doc,
            Kind::Plain | Kind::Trailing => Place::Paragraph,
        };
        let lines = block
            .iter()
            .map(|comment| (comment.line, comment.text.as_str()));
        in_paragraphs(lines, place)
    });
    texts.collect()
}

/// Divides lines into paragraphs. `first` is the place of the first one.
fn in_paragraphs<'a>(lines: impl Iterator<Item = (usize, &'a str)>, first: Place) -> Vec<Prose> {
    let (mut texts, mut open) = (Vec::new(), Prose::new(first));
    let (mut is_code, mut is_wrong_table) = (false, false);
    for (number, line) in lines {
        let line = line.trim();
        if line.starts_with("```") {
            is_code = !is_code;
        }
        let is_row = line.starts_with('|');
        is_wrong_table = is_row && (is_wrong_table || line.starts_with("| wrong |"));
        let is_heading = line.starts_with('#');
        let is_item = line.starts_with("- ") || line.starts_with("* ");
        if line.is_empty() || line.starts_with("```") || is_row || is_heading || is_item {
            texts.push(std::mem::replace(&mut open, Prose::new(Place::Paragraph)));
        }
        if is_code || is_wrong_table {
            continue;
        }
        if is_row || is_heading {
            texts.push(Prose::of_line(Place::Fragment, number, line));
        } else {
            open.add(number, line);
        }
    }
    texts.push(open);
    texts.retain(|text| !text.words.is_empty());
    texts
}

struct TestNames(Vec<Prose>);

impl<'ast> Visit<'ast> for TestNames {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        let is_test = |attribute: &syn::Attribute| {
            let segments = &attribute.path().segments;
            segments
                .last()
                .is_some_and(|segment| segment.ident == "test")
        };
        if function.attrs.iter().any(is_test) {
            let line = function.sig.ident.span().start().line;
            let words = function.sig.ident.to_string().replace('_', " ");
            self.0.push(Prose::of_line(Place::TestName, line, &words));
        }
        visit::visit_item_fn(self, function);
    }
}
