//! Width of comments: rustfmt breaks code at 100 columns, and leaves comments as they are.

use crate::sources::{EVERYTHING, Source, assert_none, sources};
use crate::text::{Comment, line_comments, scan};

/// Width of code in `rustfmt.toml`.
const COLUMNS: usize = 100;

fn too_wide(source: &Source, comments: &[Comment]) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let too_wide = comments.iter().filter(|comment| {
        // A row of a Markdown table and a single long word, such as an address, cannot be broken.
        let text = comment.text.trim();
        let is_breakable = text.contains(' ') && !text.starts_with('|');
        is_breakable && lines[comment.line - 1].chars().count() > COLUMNS
    });
    let report = |comment: &Comment| {
        let line = lines[comment.line - 1];
        let width = line.chars().count();
        format!(
            "{}:{}: {width} columns: {}",
            source.path,
            comment.line,
            line.trim()
        )
    };
    too_wide.map(report).collect()
}

#[test]
fn comments_keep_to_the_width_of_code() {
    let mut violations = Vec::new();
    for source in sources(EVERYTHING, "rs", 300) {
        violations.extend(too_wide(&source, &scan(&source.text).comments));
    }
    for source in sources(&["cache-redis"], "lua", 8) {
        violations.extend(too_wide(&source, &line_comments(&source.text, "--")));
    }
    for source in sources(&["scripts"], "sh", 8) {
        violations.extend(too_wide(&source, &line_comments(&source.text, "#")));
    }
    assert_none(&violations);
}

#[test]
fn wide_comment_is_reported_and_wide_string_is_not() {
    let long = "word ".repeat(20);
    let text =
        format!("fn f() {{}}\n/// {long}\nlet s = \"{long}\";\n    // {long}\n/// | {long} |\n");
    let source = Source::new("a.rs", &text);
    let found = too_wide(&source, &scan(&source.text).comments);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with("a.rs:2: 104 columns: /// word"),
        "{found:#?}"
    );
    assert!(found[1].starts_with("a.rs:4: "), "{found:#?}");
}

#[test]
fn wide_comment_of_a_script_is_reported() {
    let source = Source::new("a.lua", &format!("local a\n-- {}", "word ".repeat(20)));
    let found = too_wide(&source, &line_comments(&source.text, "--"));
    assert_eq!(found.len(), 1, "{found:#?}");
}
