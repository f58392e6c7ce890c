//! Functions that a runtime cannot serve.

use super::*;
use crate::function::options::Consistency;
use crate::function::times::{RefreshAhead, Times};
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

/// Each rule has its own test beside the rules; here is that `install` applies them.
#[test]
fn times_that_cannot_be_used_are_reported_with_their_functions() {
    let function = |name, line, times| Definition {
        times,
        ..definition(name, line)
    };
    let soft = Times {
        soft_timeout: Some(SECOND),
        ..Times::NONE
    };
    let window = Times {
        stale_while_revalidate: Some(SECOND),
        ..Times::NONE
    };
    let strong = Definition {
        consistency: Consistency::Strong,
        ..function("a::strong", 2, window)
    };
    let plain = Definition {
        is_blocking: true,
        ..function("a::plain", 3, window)
    };
    let ahead = Times {
        refresh_ahead: Some(RefreshAhead::AtLeast(MINUTE)),
        ..Times::NONE
    };
    check(
        &[
            function("a::soft", 1, soft),
            strong,
            plain,
            function("a::ahead", 4, ahead),
        ],
        &[
            "4 reasons",
            "`soft_timeout` needs `stale_if_error`",
            "(function `a::soft` (src/users.rs:1))",
            "`consistency = \"strong\"` exclude each other",
            "(function `a::strong` (src/users.rs:2))",
            "`stale_while_revalidate` needs the async runtime",
            "(function `a::plain` (src/users.rs:3))",
            "`refresh_ahead` is 1m, and the shortest ttl is 1m",
            "(function `a::ahead` (src/users.rs:4))",
        ],
    );
}

/// A call of such a function has to work, because only `install` checks annotated functions.
#[test]
fn fallback_of_a_function_whose_times_cannot_be_used_has_no_times() {
    let state = memory().into_state().unwrap();
    let fallback = |times| {
        let function = Definition {
            times,
            ..definition("a::get", 1)
        };
        let problem = Error::configuration("a problem");
        Plan::memory_alone(&function, &state, problem)
            .definition
            .times
    };
    let wrong = Times {
        jitter: Some(200),
        ..Times::NONE
    };
    assert_eq!(fallback(wrong), Times::NONE);
    let valid = Times {
        jitter: Some(20),
        ..Times::NONE
    };
    assert_eq!(fallback(valid), valid);
}
