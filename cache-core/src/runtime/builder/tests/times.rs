//! Overrides of the times besides the ttl, in the environment and in a file.

#[cfg(feature = "toml")]
use super::file::File;
use super::*;
use crate::function::times::{RefreshAhead, Times};

/// A function whose code has these options.
fn timed() -> Definition {
    Definition {
        times: Times {
            stale_if_error: Some(MINUTE),
            soft_timeout: Some(SECOND),
            hard_timeout: Some(SECOND * 2),
            refresh_ahead: Some(RefreshAhead::Measured),
            error_ttl: Some(SECOND),
            ..Times::NONE
        },
        ..definition("a::get", 1)
    }
}

/// Times of the function in a runtime, or the error that refuses them.
fn times(builder: RuntimeBuilder) -> Result<Times, String> {
    let text = |error: Error| error.to_string();
    let state = builder.into_state().map_err(text)?;
    check_functions(&state, &[&timed()]).map_err(text)?;
    let plan = Plan::new(&timed(), &state).map_err(text)?;
    Ok(plan.definition.times)
}

fn environment(line: &str) -> Result<Times, String> {
    times(RuntimeBuilder::from_pairs(&[("FUNCTIONS", line)]).map_err(|error| error.to_string())?)
}

#[track_caller]
fn check_line_refused(line: &str, expected: &[&str]) {
    let error = environment(line).unwrap_err();
    for expected in expected {
        assert_contains(&error, expected);
    }
}

#[test]
fn environment_replaces_times_of_the_code() {
    let line = "a::get stale_if_error=1h soft_timeout=off refresh_ahead=5s";
    let expected = Times {
        stale_if_error: Some(MINUTE * 60),
        soft_timeout: None,
        refresh_ahead: Some(RefreshAhead::AtLeast(SECOND * 5)),
        ..timed().times
    };
    assert_eq!(environment(line), Ok(expected));
}

#[test]
fn time_of_an_override_that_cannot_be_used_is_an_error_that_names_its_origin() {
    const SET_BY: &str = "(function `a::get` (src/users.rs:1), set by MULTI_TIER_CACHED_FUNCTIONS)";
    for (line, expected) in [
        ("a::get load_limit=1m", "an override sets `load_limit`"),
        (
            "a::get error_ttl=2m",
            "`error_ttl` is 2m: the maximum is 60s",
        ),
        ("a::get soft_timeout=0s", "`soft_timeout` is zero"),
        (
            "a::get hard_timeout=1s",
            "`soft_timeout` is 1s, and `hard_timeout` is 1s",
        ),
        (
            "a::get stale_if_error=off",
            "`soft_timeout` needs `stale_if_error`",
        ),
        (
            "a::get refresh_ahead=1m",
            "`refresh_ahead` is 1m, and the shortest ttl is 1m",
        ),
    ] {
        check_line_refused(line, &[expected, SET_BY]);
    }
    check_line_refused(
        "a::get stale_if_error=soon",
        &["FUNCTIONS", "`stale_if_error`: `soon` is not a duration"],
    );
}

/// The ttl of the override was written for a function without the option.
#[test]
fn ttl_of_an_override_that_is_shorter_than_refresh_ahead_is_an_error() {
    let ahead = Definition {
        times: Times {
            refresh_ahead: Some(RefreshAhead::AtLeast(SECOND * 10)),
            ..Times::NONE
        },
        ..definition("a::get", 1)
    };
    let pairs = [("FUNCTIONS", "a::get ttl=5s")];
    let state = RuntimeBuilder::from_pairs(&pairs).unwrap();
    let error = Plan::new(&ahead, &state.into_state().unwrap()).unwrap_err();
    assert_contains(
        &error.to_string(),
        "`refresh_ahead` is 10s, and the shortest ttl is 5s",
    );
    assert_eq!(error.setting(), Some("MULTI_TIER_CACHED_FUNCTIONS"));
}

#[test]
fn error_ttl_of_a_function_without_memory_is_an_error() {
    use crate::level::Levels;

    let function = Definition {
        times: Times {
            error_ttl: Some(SECOND),
            ..Times::NONE
        },
        ..definition("a::get", 1)
    };
    let error = function.check_times(Levels::of(&[Level::L2])).unwrap_err();
    assert_contains(&error.to_string(), "`error_ttl` needs l1");
    function.check_times(Levels::MEMORY).unwrap();
}

#[cfg(feature = "toml")]
#[test]
fn file_replaces_times_of_the_code_and_the_environment_those_of_the_file() {
    let file = File::new("times");
    let text = "[functions.\"a::get\"]\nstale_if_error = \"2h\"\nhard_timeout = \"off\"\n\
                error_ttl = \"9s\"\n";
    let expected = Times {
        stale_if_error: Some(MINUTE * 120),
        hard_timeout: None,
        error_ttl: Some(SECOND * 9),
        ..timed().times
    };
    assert_eq!(times(file.with(text)), Ok(expected));
    let path = file.path();
    let both = [
        ("FUNCTIONS", "a::get hard_timeout=3s"),
        ("FUNCTIONS_FILE", &*path),
    ];
    let expected = Times {
        hard_timeout: Some(SECOND * 3),
        ..expected
    };
    let both = RuntimeBuilder::from_pairs(&both).unwrap();
    assert_eq!(times(both), Ok(expected));
}

#[cfg(feature = "toml")]
#[test]
fn times_of_a_file_that_cannot_be_used_are_errors_that_name_the_file() {
    let file = File::new("wrong-times");
    let path = file.path();
    for (text, expected) in [
        ("jitter = \"5%\"", "an override sets `jitter`"),
        ("error_ttl = 5", "one text: a duration such as \"30s\""),
        ("error_ttl = \"5%\"", "`error_ttl`: `5%` is not a duration"),
        ("soft_time = \"5s\"", "unknown field `soft_time`"),
        ("soft_time = \"5s\"", "`soft_timeout`"),
    ] {
        let text = format!("[functions.\"a::get\"]\n{text}\n");
        let error = times(file.with(&text)).unwrap_err();
        assert_contains(&error, expected);
        assert_contains(&error, &path);
    }
}
