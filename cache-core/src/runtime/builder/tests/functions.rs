//! Functions that a runtime cannot serve.

use super::*;
use crate::level::Levels;

/// Checks that a runtime with memory alone refuses functions.
#[track_caller]
fn check(definitions: &[Definition], expected: &[&str]) {
    let state = memory().into_state().unwrap();
    let error = check_functions(&state, &definitions.iter().collect::<Vec<_>>());
    let error = error.unwrap_err().to_string();
    for expected in expected {
        assert_contains(&error, expected);
    }
}

#[test]
fn function_with_missing_tier_is_named_with_file_and_line() {
    let function = Definition {
        tiers: Some(Levels::of(&[Level::L1, Level::L2])),
        ..definition("a::get", 7)
    };
    check(
        &[function],
        &[
            "the runtime has no l2: its tiers are l1",
            "function `a::get` (src/users.rs:7)",
        ],
    );
}

#[test]
fn two_functions_of_one_name_are_both_named() {
    check(
        &[
            definition("a::get", 7),
            definition("b::get", 8),
            definition("a::get", 9),
        ],
        &["src/users.rs:7", "src/users.rs:9", "one name"],
    );
}

/// The path of a function inside another one does not contain the name of the other one.
#[test]
fn two_generic_functions_of_one_path_are_both_named() {
    check(
        &[definition("a::find", 3), definition("a::find", 9)],
        &["src/users.rs:3", "src/users.rs:9"],
    );
}

#[test]
fn two_methods_of_one_given_name_are_both_named_and_of_one_path_are_accepted() {
    let method = |is_named, line| Definition {
        is_named,
        in_impl: true,
        has_instances: true,
        ..definition("a::get", line)
    };
    let state = memory().into_state().unwrap();
    assert!(check_functions(&state, &[&method(false, 1), &method(false, 2)]).is_ok());
    check(
        &[method(true, 3), method(true, 4)],
        &["src/users.rs:3", "src/users.rs:4"],
    );
}

#[test]
fn all_wrong_functions_are_reported_at_once() {
    let ttl = Definition {
        ttl: Ttl::everywhere(Duration::ZERO),
        ..definition("a::zero", 1)
    };
    let codec = Definition {
        codec: Some("yaml".into()),
        ..definition("a::yaml", 2)
    };
    let each = Definition {
        ttl: Ttl::each(&[(Level::L2, SECOND)]),
        ..definition("a::each", 3)
    };
    check(
        &[ttl, codec, each],
        &[
            "3 reasons",
            "a::zero",
            "ttl is zero",
            "a::yaml",
            "`yaml`",
            "a::each",
            "ttl has no time for it",
        ],
    );
}

#[test]
fn ttl_for_a_tier_that_the_runtime_lacks_is_an_error() {
    let each = Definition {
        ttl: Ttl::each(&[(Level::L1, SECOND), (Level::L3, SECOND)]),
        ..definition("a::each", 1)
    };
    check(
        &[each],
        &["ttl has a time for l3", "`a::each`", "does not have"],
    );
}

/// A policy serves many functions, so it may name tiers that one of them does not use.
#[test]
fn policy_with_a_ttl_for_a_tier_that_the_runtime_lacks_is_accepted() {
    let policy = Ttl::each(&[(Level::L1, SECOND), (Level::L3, SECOND)]);
    let state = memory().policy("mine", policy).into_state().unwrap();
    let function = Definition {
        ttl: Ttl::policy("mine"),
        ..definition("a::get", 1)
    };
    check_functions(&state, &[&function]).unwrap();
}
