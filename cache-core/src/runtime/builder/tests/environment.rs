//! Settings that the environment makes.

use super::*;

/// Checks that the settings in the environment are refused.
#[track_caller]
fn check(pairs: &[(&str, &str)], expected: &[&str]) {
    let built = RuntimeBuilder::from_pairs(pairs).and_then(RuntimeBuilder::into_state);
    let error = built.map(drop).unwrap_err().to_string();
    for expected in expected {
        assert_contains(&error, expected);
    }
}

#[test]
fn wrong_variable_is_an_error_that_names_it() {
    RuntimeBuilder::from_pairs(&[("L1_MAX_ENTRIES", "5"), ("L1_ENGINE", "moka")])
        .unwrap()
        .into_state()
        .unwrap();
    check(
        &[("L1_MAX_ENTRIES", "many")],
        &["MULTI_TIER_CACHED_L1_MAX_ENTRIES is `many`"],
    );
    check(
        &[("L1_MAX_BYTES", "0")],
        &["MULTI_TIER_CACHED_L1_MAX_BYTES is 0: nothing would be kept"],
    );
    check(
        &[("L1_ENGINE", "lru")],
        &["MULTI_TIER_CACHED_L1_ENGINE is `lru`"],
    );
    check(
        &[("L1_MAX_ENTRY", "5")],
        &["MULTI_TIER_CACHED_L1_MAX_ENTRY"],
    );
    check(
        &[("L1_MAX_ENTRIES", "5"), ("L1_MAX_BYTES", "5")],
        &["are both set"],
    );
}

#[test]
fn all_wrong_variables_are_reported_at_once() {
    check(
        &[
            ("L1_MAX_ENTRIES", "10k"),
            ("WHEN_ISOLATED", "maybe"),
            ("TTL", "1s"),
        ],
        &[
            "for 3 reasons",
            "such as `10000`",
            "MULTI_TIER_CACHED_WHEN_ISOLATED",
            "unknown setting MULTI_TIER_CACHED_TTL; help: the settings are",
        ],
    );
}

#[test]
fn error_about_a_setting_names_the_variable_that_made_it() {
    check(
        &[("WHEN_ISOLATED", "load")],
        &["(set by MULTI_TIER_CACHED_WHEN_ISOLATED)"],
    );
    check(&[("CODEC", "json")], &["(set by MULTI_TIER_CACHED_CODEC)"]);
    check(
        &[("BACKGROUND_LOADS", "0")],
        &[
            "`background_loads` is 0",
            "MULTI_TIER_CACHED_BACKGROUND_LOADS",
        ],
    );
    check(
        &[("BACKGROUND_LOADS", "many")],
        &["MULTI_TIER_CACHED_BACKGROUND_LOADS is `many`, not a number of loads"],
    );
    check(&[("CODEC", "yaml")], &["`yaml`", "MULTI_TIER_CACHED_CODEC"]);
    check(
        &[("FUNCTIONS", "a ttl=soon")],
        &["(set by MULTI_TIER_CACHED_FUNCTIONS)"],
    );
    let set = RuntimeBuilder::from_pairs(&[("L1_MAX_ENTRIES", "5")]).unwrap();
    let twice = set.l1(Memory::builder()).into_state().map(drop);
    assert_eq!(
        twice.unwrap_err().to_string(),
        "l1 is set twice (set by MULTI_TIER_CACHED_L1_MAX_ENTRIES)"
    );
}

/// In another environment, a variable may add a shared tier to this program.
#[test]
fn default_for_tiers_of_another_environment_is_accepted() {
    let builder = memory()
        .default_codec("postcard")
        .when_isolated(WhenIsolated::Load);
    let builder = builder.with_environment(&Environment::of(&[])).unwrap();
    builder.into_state().unwrap();
}

#[test]
fn settings_that_the_environment_lacks_stay_as_the_program_made_them() {
    let half = TierConfig::as_l1().ttl_scale(0.5);
    let builder = RuntimeBuilder::new().tier(Memory::builder().max_bytes(1 << 20), half);
    let env = Environment::of(&[("L1_ENGINE", "moka")]);
    let (config, memory) = builder.with_environment(&env).unwrap().memory.unwrap();
    assert_eq!(config, half);
    assert_eq!(
        format!("{memory:?}"),
        format!("{:?}", Memory::builder().max_bytes(1 << 20))
    );
    let builder = RuntimeBuilder::new().l1(Memory::builder().max_bytes(1 << 20));
    let env = Environment::of(&[("L1_MAX_ENTRIES", "7")]);
    let (_, memory) = builder.with_environment(&env).unwrap().memory.unwrap();
    assert_eq!(
        format!("{memory:?}"),
        format!("{:?}", Memory::builder().max_entries(7))
    );
}
