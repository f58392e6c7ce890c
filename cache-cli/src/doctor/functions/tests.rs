//! Which differences have a line, and what it says.

use serde_json::{Value, json};

use super::*;

/// Settings of a function with a ttl in seconds for each tier.
fn settings(function: &str, ttls: &[(&str, u64)]) -> Value {
    let tiers: Vec<Value> = ttls
        .iter()
        .map(|(level, seconds)| json!({"level": level, "ttl": {"secs": seconds, "nanos": 0}}))
        .collect();
    json!({"functions": [function], "tiers": tiers, "codec": "postcard"})
}

fn instance(name: &str, number: u32, settings: &Value) -> PublishedInstance {
    let snapshot = json!({"tiers": [], "functions": []});
    let of = json!({
        "id": format!("{name}-{number}"), "name": name, "number": number,
        "function_settings": settings, "snapshot": snapshot,
    });
    serde_json::from_value(of).unwrap()
}

/// The lines of two instances that have a function with these settings.
fn lines(one: &Value, other: &Value) -> Vec<Finding> {
    let one = instance("shop-1", 1, &json!([one]));
    let other = instance("shop-2", 2, &json!([other]));
    check("shop", &[one, other])
}

/// The only line, as text.
#[track_caller]
fn line(one: &Value, other: &Value) -> String {
    let [line] = &lines(one, other)[..] else {
        panic!("one line was expected: {:#?}", lines(one, other));
    };
    assert_eq!(line.state, State::Warn);
    line.text()
}

#[test]
fn equal_settings_are_fine_also_if_an_override_makes_them_equal() {
    let one = settings("f:1", &[("l1", 60), ("l2", 3_600)]);
    let mut other = one.clone();
    other["overridden_by"] = json!(["MULTI_TIER_CACHED_FUNCTIONS"]);
    let [line] = &lines(&one, &other)[..] else {
        panic!("one line was expected");
    };
    assert_eq!(line.state, State::Ok);
    assert!(line.text().contains("2 instances agree on 1 functions"));
    let elsewhere = settings("g:1", &[("l1", 1)]);
    let [line] = &lines(&one, &elsewhere)[..] else {
        panic!("one line was expected");
    };
    assert_eq!(line.state, State::Ok, "no instance has both");
}

#[test]
fn each_setting_that_differs_is_named_with_its_instances() {
    let one = settings("f:1", &[("l1", 60), ("l2", 3_600)]);
    let of = |other: &Value| line(&one, other);
    let ttl = of(&settings("f:1", &[("l1", 60), ("l2", 90)]));
    assert!(
        ttl.contains("f:1: ttl of l2 1h (shop-1), 90s (shop-2)\n"),
        "{ttl}"
    );
    assert!(ttl.contains("the life of a value depends on"), "{ttl}");
    assert!(ttl.contains("under way: finish the deploy"), "{ttl}");
    let tiers = of(&settings("f:1", &[("l1", 60)]));
    assert!(
        tiers.contains("f:1: tiers l1 (shop-2), l1 and l2 (shop-1)\n"),
        "{tiers}"
    );
    let mut other = one.clone();
    other["codec"] = json!("json");
    let codec = of(&other);
    assert!(
        codec.contains("f:1: codec json (shop-2), postcard (shop-1)\n"),
        "{codec}"
    );
    let mut other = one.clone();
    other["times"] = json!({"jitter": "10%"});
    let times = of(&other);
    assert!(
        times.contains("f:1: jitter 10% (shop-2), off (shop-1)\n"),
        "{times}"
    );
    let version = of(&settings("f:2", &[("l1", 60), ("l2", 90)]));
    assert!(
        version.contains("f: version 1 (shop-1), 2 (shop-2)\n"),
        "{version}"
    );
    assert!(version.contains("share no records"), "{version}");
}

#[test]
fn override_of_one_instance_is_named_with_what_it_changes() {
    let one = settings("f:1", &[("l2", 3_600)]);
    let mut other = settings("f:1", &[("l2", 60)]);
    other["overridden_by"] = json!(["`limits.toml`"]);
    let text = line(&one, &other);
    let expected =
        "f:1: ttl of l2 1h (shop-1), 1m (shop-2); overridden by `limits.toml` (shop-2)\n";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("under way: set the same overrides"), "{text}");
}

#[test]
fn instances_of_one_name_are_named_by_their_ids() {
    let all = [60, 90].map(|ttl| json!([settings("f:1", &[("l2", ttl)])]));
    let all = [instance("shop", 1, &all[0]), instance("shop", 2, &all[1])];
    let text = check("shop", &all)[0].text();
    assert!(text.contains("1m (shop-1), 90s (shop-2)"), "{text}");
}

#[test]
fn settings_that_are_not_published_are_not_known() {
    let states = |all: &[PublishedInstance]| -> Vec<State> {
        check("shop", all).iter().map(|line| line.state).collect()
    };
    let older = instance("shop-2", 2, &Value::Null);
    assert_eq!(states(std::slice::from_ref(&older)), [State::NotKnown]);
    let one = instance("shop-1", 1, &json!([settings("f:1", &[])]));
    assert_eq!(states(&[one.clone(), older]), [State::Ok, State::NotKnown]);
    let mut part = one.clone();
    part.settings_left_out = 3;
    assert_eq!(states(&[one, part]), [State::Ok, State::NotKnown]);
}

#[test]
fn lines_of_many_functions_are_limited() {
    let all = |ttl: u64| -> Value {
        let functions: Vec<String> = (0..500).map(|n| format!("f{n}:1")).collect();
        let mut settings = settings("f:1", &[("l2", ttl)]);
        settings["functions"] = json!(functions);
        json!([settings])
    };
    let all = [
        instance("shop-1", 1, &all(1)),
        instance("shop-2", 2, &all(2)),
    ];
    let lines = check("shop", &all);
    assert_eq!(lines.len(), MOST_LINES + 1);
    assert!(lines[MOST_LINES].text().contains("490 more differences"));
}
