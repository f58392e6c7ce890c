//! What the attribute refuses, and how: one file for each rule, the error where the mistake is.
//!
//! The texts are those of the toolchain that CI runs (rustc 1.95); `TRYBUILD=overwrite` writes them anew.

#[test]
fn mistakes_are_reported_where_they_are() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*.rs");
}
