//! The page of races names tests that exist.

use std::collections::HashSet;

use crate::sources::{EVERYTHING, assert_none, read, sources};

/// Returns the tests that the page names and that are not among the functions.
///
/// A test is named in code quotes, with its module (`bus::tests::…`) or without. `…` stands for any
/// characters.
fn unknown_tests<'a>(page: &'a str, functions: &HashSet<&str>) -> Vec<&'a str> {
    let quoted = page.split('`').skip(1).step_by(2);
    let names = quoted.filter_map(|name| {
        let last = name.rsplit("::").next()?;
        let is_test = last.matches('_').count() >= 2;
        let is_name = last
            .chars()
            .all(|sign| "…_".contains(sign) || sign.is_ascii_alphanumeric());
        (is_test && is_name).then_some(last)
    });
    let is_known = |name: &str| match name.contains('…') {
        false => functions.contains(name),
        true => {
            let mut parts = name.split('…').filter(|part| !part.is_empty()).peekable();
            parts.peek().is_some()
                && functions
                    .iter()
                    .any(|function| parts.clone().all(|part| function.contains(part)))
        }
    };
    names.filter(|name| !is_known(name)).collect()
}

/// Returns the names of the functions in a source.
fn functions(source: &str) -> impl Iterator<Item = &str> {
    source.split("fn ").skip(1).filter_map(|rest| {
        let end = rest.find(|sign: char| sign != '_' && !sign.is_ascii_alphanumeric())?;
        Some(&rest[..end])
    })
}

#[test]
fn tests_that_the_page_of_races_names_exist() {
    let (page, sources) = (read("tests/RACES.md"), sources(EVERYTHING, "rs", 300));
    assert!(
        page.text.lines().count() > 40,
        "tests/RACES.md is too short"
    );
    let known: HashSet<&str> = sources
        .iter()
        .flat_map(|file| functions(&file.text))
        .collect();
    let unknown = unknown_tests(&page.text, &known);
    let report = |test: &&str| format!("tests/RACES.md:1: no test is named {test}");
    assert_none(&unknown.iter().map(report).collect::<Vec<_>>());
}

#[test]
fn test_that_does_not_exist_is_reported() {
    let known: HashSet<&str> = functions("fn a_b_c() {} async fn call_ends_in_time()").collect();
    let page = "| `m::tests::a_b_c`, `…_ends_in_…`, `Type::a_b` | `a_b_d`, `…_ends_at_…`, `x` |";
    assert_eq!(unknown_tests(page, &known), ["a_b_d", "…_ends_at_…"]);
}
