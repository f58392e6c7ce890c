//! Compile errors of the attribute: one file for each rule, with the error at the mistake.
//!
//! The texts are those of the toolchain that CI uses (rustc 1.95). `TRYBUILD=overwrite` writes them
//! again.

#[test]
fn each_mistake_is_one_error_at_its_place() {
    let cases = trybuild::TestCases::new();
    cases.pass("pass/*.rs");
    cases.compile_fail("fail/*.rs");
}
