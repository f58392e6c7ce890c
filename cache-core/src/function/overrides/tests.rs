use std::time::Duration;

use super::*;
use crate::function::times::{RefreshAhead, Times};
use crate::level::Level;

const SECOND: Duration = Duration::from_secs(1);

fn declared() -> Definition {
    Definition {
        name: "a::get".into(),
        file: "src/users.rs",
        line: 1,
        ttl: Ttl::each(&[(Level::L1, SECOND), (Level::L2, SECOND * 2)]),
        tiers: Some(Levels::of(&[Level::L1, Level::L2])),
        ..Definition::DEFAULT
    }
}

fn overrides(line: &str, origin: &str) -> Overrides {
    let mut overrides = Overrides::default();
    for (name, settings) in line::parse(line, origin).unwrap() {
        overrides.add(name, settings);
    }
    overrides
}

fn apply(line: &str, declared: &Definition) -> Result<Definition, Error> {
    overrides(line, "here").apply(declared, &Policies::built_in())
}

#[track_caller]
fn check_refused(line: &str, declared: &Definition, expected: &str) {
    let error = apply(line, declared).unwrap_err();
    assert!(
        error.to_string().contains(expected),
        "{expected:?} is not in {error}"
    );
    assert_eq!(error.setting(), Some("here"));
}

#[test]
fn function_without_override_keeps_its_settings() {
    let definition = apply("b::get ttl=5s", &declared()).unwrap();
    assert_eq!(definition.ttl, declared().ttl);
    assert_eq!(definition.tiers, declared().tiers);
    assert_eq!(definition.origins.ttl, None);
}

#[test]
fn later_override_replaces_only_the_settings_that_it_has() {
    let mut both = overrides("a::get ttl=5s tiers=l1", "file");
    let later = line::parse("a::get ttl=6s", "line").unwrap();
    for (name, settings) in later {
        both.add(name, settings);
    }
    let definition = both.apply(&declared(), &Policies::built_in()).unwrap();
    assert_eq!(definition.ttl, Ttl::everywhere(SECOND * 6));
    assert_eq!(definition.tiers, Some(Levels::MEMORY));
    assert_eq!(definition.origins.ttl.as_deref(), Some("line"));
    assert_eq!(definition.origins.tiers.as_deref(), Some("file"));
}

#[test]
fn override_that_adds_a_tier_is_refused() {
    let memory = Definition {
        ttl: SECOND.into(),
        tiers: Some(Levels::MEMORY),
        ..declared()
    };
    check_refused(
        "a::get tiers=l1,l2",
        &memory,
        "an override adds a tier that the function does not list: its code has `tiers = \"l1\"`",
    );
    check_refused("a::get tiers=l1,l3", &declared(), "has `tiers = \"l1,l2\"`");
}

#[test]
fn override_that_removes_every_shared_tier_of_a_strong_function_is_refused() {
    let strong = Definition {
        tiers: None,
        ttl: SECOND.into(),
        consistency: Consistency::Strong,
        ..declared()
    };
    check_refused("a::get tiers=l1", &strong, "needs one");
    assert!(apply("a::get tiers=l1,l2", &strong).is_ok());
}

#[test]
fn times_for_removed_tiers_are_accepted_in_the_code_and_refused_in_the_override() {
    let definition = apply("a::get tiers=l1", &declared()).unwrap();
    assert_eq!(definition.ttl.of(Level::L1), Some(SECOND));
    let settings = Override {
        ttl: Some(Setting::from_origin(
            TtlOverride::Ttl(declared().ttl),
            "file",
        )),
        tiers: Some(Setting::from_origin(Levels::MEMORY, "line")),
        ..Override::default()
    };
    let mut both = Overrides::default();
    both.add("a::get".to_owned(), settings);
    let error = both.apply(&declared(), &Policies::built_in()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ttl has a time for l2, which `tiers` does not list (function `a::get` (src/users.rs:1), \
         set by file and line)"
    );
}

/// A function with every option of [`Times`].
fn timed() -> Definition {
    Definition {
        times: Times {
            stale_while_revalidate: Some(SECOND),
            stale_if_error: Some(SECOND * 2),
            soft_timeout: Some(SECOND * 3),
            hard_timeout: Some(SECOND * 4),
            load_limit: Some(SECOND * 5),
            refresh_ahead: Some(RefreshAhead::Measured),
            jitter: Some(10),
            none_ttl: Some(SECOND * 6),
            error_ttl: Some(SECOND * 7),
        },
        ..declared()
    }
}

#[test]
fn override_changes_each_time_that_the_code_has() {
    let line = "a::get stale_while_revalidate=11s stale_if_error=12s soft_timeout=13s \
                hard_timeout=14s load_limit=15s refresh_ahead=500ms jitter=0% none_ttl=16s \
                error_ttl=17s";
    let definition = apply(line, &timed()).unwrap();
    let expected = Times {
        stale_while_revalidate: Some(SECOND * 11),
        stale_if_error: Some(SECOND * 12),
        soft_timeout: Some(SECOND * 13),
        hard_timeout: Some(SECOND * 14),
        load_limit: Some(SECOND * 15),
        refresh_ahead: Some(RefreshAhead::AtLeast(SECOND / 2)),
        jitter: Some(0),
        none_ttl: Some(SECOND * 16),
        error_ttl: Some(SECOND * 17),
    };
    assert_eq!(definition.times, expected);
    for (option, origin) in TimeOption::ALL.iter().zip(&definition.origins.times) {
        assert_eq!(origin.as_deref(), Some("here"), "{option:?}");
    }
}

#[test]
fn override_that_adds_an_option_is_refused() {
    for option in TimeOption::ALL {
        let name = option.name();
        let expected = format!(
            "an override sets `{name}`, and the code of the function does not have it (function \
             `a::get` (src/users.rs:1), set by here); help: an override can only change an option \
             that the code has; add `{name}` in the code"
        );
        check_refused(&format!("a::get {name}=off"), &declared(), &expected);
    }
    check_refused("a::get jitter=5%", &declared(), "sets `jitter`");
    check_refused("a::get none_ttl=5s", &declared(), "sets `none_ttl`");
}

#[test]
fn option_that_an_override_turns_off_is_as_if_the_code_did_not_have_it() {
    let line = |option: &TimeOption| format!("{}=off", option.name());
    let line = TimeOption::ALL.iter().map(line).collect::<Vec<_>>();
    let definition = apply(&format!("a::get {}", line.join(" ")), &timed()).unwrap();
    assert_eq!(definition.times, Times::NONE);
}

#[test]
fn later_override_replaces_only_the_times_that_it_has() {
    let mut both = overrides("a::get stale_if_error=20s none_ttl=off", "file");
    for (name, settings) in line::parse("a::get none_ttl=9s jitter=1%", "line").unwrap() {
        both.add(name, settings);
    }
    let definition = both.apply(&timed(), &Policies::built_in()).unwrap();
    let expected = Times {
        stale_if_error: Some(SECOND * 20),
        none_ttl: Some(SECOND * 9),
        jitter: Some(1),
        ..timed().times
    };
    assert_eq!(definition.times, expected);
    let origin = |option| definition.origins.times[option as usize].as_deref();
    assert_eq!(origin(TimeOption::StaleIfError), Some("file"));
    assert_eq!(origin(TimeOption::NoneTtl), Some("line"));
    assert_eq!(origin(TimeOption::SoftTimeout), None);
}
