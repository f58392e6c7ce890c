use std::time::Duration;

use super::*;
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
