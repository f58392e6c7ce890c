//! Shape of the examples.

use crate::sources::{Source, assert_none, sources};

/// Lines of a file, so that an example is read in one go.
const LINES: usize = 120;

fn violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let path = &source.path;
    if !source.text.starts_with("//! ") {
        found.push(format!(
            "{path}:1: does not begin with its idea: {}",
            source.line(1)
        ));
    }
    let lines = source.text.lines().count();
    if lines > LINES {
        found.push(format!(
            "{path}:1: example has {lines} lines, at most {LINES} are allowed"
        ));
    }
    found
}

#[test]
fn examples_are_short_and_begin_with_their_idea() {
    let sources = sources(&["examples"], "rs", 15);
    let found: Vec<_> = sources.iter().flat_map(violations).collect();
    assert_none(&found);
}

#[test]
fn long_example_without_an_idea_is_reported_twice() {
    let example = Source::new("a.rs", &format!("fn main() {{}}{}", "\n".repeat(121)));
    let found = violations(&example);
    assert_eq!(found.len(), 2, "{found:#?}");
}
