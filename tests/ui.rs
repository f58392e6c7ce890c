//! Errors of the attribute: one file for each rule, with the error at the place of the mistake.
//!
//! The texts are those of the toolchain that CI runs (rustc 1.95). `TRYBUILD=overwrite` writes them
//! again.

#[test]
fn mistakes_are_reported_where_they_are() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*.rs");
}
