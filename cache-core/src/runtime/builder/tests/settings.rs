//! Settings that the program makes.

use super::*;
use crate::Promotion;

#[test]
fn tier_at_a_wrong_level_is_an_error() {
    let config = TierConfig::new;
    check_refused(
        RuntimeBuilder::new().tier(Memory::default(), config(Level::L2)),
        "memory is configured as l2",
    );
    check_refused(
        memory().tier(Memory::default(), config(Level::L1)),
        "l1 is set twice",
    );
    check_refused(RuntimeBuilder::new(), "the runtime has no tier");
}

#[test]
fn tier_setting_that_cannot_be_used_is_an_error() {
    let as_l1 = |config: TierConfig| RuntimeBuilder::new().tier(Memory::builder(), config);
    check_refused(
        as_l1(TierConfig::as_l1().ttl_scale(0.0)),
        "ttl scale of l1 is 0",
    );
    check_refused(
        as_l1(TierConfig::as_l1().promotion(Promotion::Always)),
        "l1 has a promotion, but no tier is above it",
    );
    check_refused(
        RuntimeBuilder::new().l1(Memory::builder().max_entries(0)),
        "capacity of memory is zero",
    );
    check_refused(
        RuntimeBuilder::new().l1(Memory::builder().max_entries(5).max_bytes(5)),
        "only one of them",
    );
}

#[test]
fn scale_of_memory_shortens_the_ttl() {
    let half = TierConfig::new(Level::L1).ttl_scale(0.5);
    let state = RuntimeBuilder::new().tier(Memory::default(), half);
    let plan = Plan::new(&definition("a::get", 1), &state.into_state().unwrap());
    let lives = plan.unwrap().memory.unwrap();
    assert_eq!((lives.filled, lives.copied), (MINUTE / 2, MINUTE / 2));
}

#[test]
fn default_that_is_set_twice_or_has_no_effect_is_an_error() {
    check_refused(
        memory().default_codec("json"),
        "default codec `json` has no effect: there is no tier below memory",
    );
    check_refused(
        memory().default_codec("json").default_codec("json"),
        "the default codec is set twice",
    );
    let load = |builder: RuntimeBuilder| builder.when_isolated(WhenIsolated::Load);
    check_refused(
        load(memory()),
        "`when_isolated` has no effect: no tier is shared",
    );
    check_refused(load(load(memory())), "`when_isolated` is set twice");
}

#[test]
fn policy_that_cannot_be_used_is_an_error() {
    let policy = |name: &'static str, ttl: Ttl| memory().policy(name, ttl);
    check_refused(policy("", MINUTE.into()), "a policy has no name");
    check_refused(
        policy("a", Duration::ZERO.into()),
        "policy `a`: ttl is zero: no call could ever hit",
    );
    check_refused(
        policy("a", Ttl::policy("short")),
        "the name of another policy",
    );
    check_refused(
        policy("a", MINUTE.into()).policy("a", MINUTE),
        "policy `a` is set twice",
    );
}

#[test]
fn number_of_background_loads_that_is_out_of_range_or_set_twice_is_an_error() {
    for loads in [0, 4097] {
        check_refused(
            memory().background_loads(loads),
            &format!("`background_loads` is {loads}; help: set it from 1 to 4096"),
        );
    }
    check_refused(
        memory().background_loads(5).background_loads(5),
        "`background_loads` is set twice",
    );
    for loads in [1, 4096] {
        memory().background_loads(loads).into_state().unwrap();
    }
}
