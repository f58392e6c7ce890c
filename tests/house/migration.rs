//! Completeness of the migration page.

use std::collections::HashSet;

use crate::sources::{assert_none, read};

/// Returns the names in a name: `A::{b, c}` is `A::b` and `A::c`, and `A { b, c }` is `A` as well.
/// Arguments are left out.
fn expanded(name: &str) -> Vec<String> {
    let (owner, members, is_named) = match (name.split_once("::{"), name.split_once(" { ")) {
        (Some((owner, members)), _) => (owner, members, false),
        (None, Some((owner, members))) => (owner, members, true),
        (None, None) => return vec![name.split('(').next().unwrap_or_default().to_owned()],
    };
    let members = members.trim_end_matches([' ', '}']).split(',');
    let members = members.map(|member| format!("{owner}::{}", member.trim()));
    members.chain(is_named.then(|| owner.to_owned())).collect()
}

/// Returns the items that no row of the page names in its first column.
fn missing<'a>(page: &str, items: &'a str) -> Vec<&'a str> {
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let named: HashSet<String> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .flat_map(expanded)
        .collect();
    // A row may leave out the module in front of a name: its section says which one is meant.
    let has_row = |item: &str| {
        let segments: Vec<&str> = item.split("::").collect();
        let is_name = |segment: &&str| segment.starts_with(char::is_uppercase);
        let at = segments.iter().position(is_name);
        let bare = segments[at.unwrap_or(segments.len() - 1)..].join("::");
        named.contains(&bare) || named.contains(item)
    };
    items.lines().filter(|item| !has_row(item)).collect()
}

/// The items are the public ones of multi-tier-cache 0.6.5, as its rustdoc lists them with all
/// features.
#[test]
fn the_migration_page_leaves_nothing_out() {
    let (page, items) = (read("docs/migration.md"), read("tests/migration-items.txt"));
    let count = items.text.lines().count();
    assert!(
        count > 200,
        "tests/migration-items.txt has only {count} items"
    );
    let missing = missing(&page.text, &items.text);
    let report = |item: &&str| format!("docs/migration.md:1: no row for {item}");
    assert_none(&missing.iter().map(report).collect::<Vec<_>>());
}

#[test]
fn item_without_a_row_is_reported() {
    let page = "| `A::{b, c}` | x |\n| `D { e }`, `f(..)` | y |\n| z | `G` |\n";
    let items = "m::A::b\nA::c\nD\nD::e\nm::f\nG\nA::d";
    assert_eq!(missing(page, items), ["G", "A::d"]);
}
