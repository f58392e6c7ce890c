use std::time::Duration;

use super::*;
use crate::Promotion;
use crate::cached_function::Resolved;
use crate::function::definition::Declaration;
use crate::function::ttl::{CoherencePolicy, Consistency, SingleFlight, Ttl};

const DEFAULT: CoherencePolicy = CoherencePolicy {
    when_isolated: None,
    single_flight: SingleFlight::Cluster,
    consistency: Consistency::Bounded,
};

const fn declaration(name: &'static str, line: u32) -> Declaration {
    Declaration {
        name,
        file: "src/users.rs",
        line,
        named: false,
        in_impl: false,
        has_instances: false,
        version: 1,
        ttl: Ttl::everywhere(Duration::from_secs(60)),
        tiers: None,
        codec: None,
        template: &[],
        coherence: DEFAULT,
        is_blocking: false,
    }
}

fn memory() -> RuntimeBuilder {
    RuntimeBuilder::new().l1(Memory::builder())
}

#[track_caller]
fn check(declarations: Vec<Declaration>, expected: &[&str]) {
    let state = memory().into_stack().unwrap();
    let definitions: Vec<_> = declarations.into_iter().map(Definition::declared).collect();
    let error = check_functions(&state, &definitions.iter().collect::<Vec<_>>())
        .unwrap_err()
        .to_string();
    for part in expected {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn tiers_that_cannot_be_placed_are_errors() {
    #[track_caller]
    fn wrong(builder: RuntimeBuilder, expected: &str) {
        let error = builder.into_stack().map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
    let memory = Memory::default;
    let builder = RuntimeBuilder::new;
    let config = TierConfig::new;
    wrong(
        builder().tier(memory(), config(Level::L2)),
        "memory is configured as l2",
    );
    wrong(
        builder().tier(memory(), config(Level::L1).ttl_scale(0.0)),
        "ttl scale of l1 is 0",
    );
    wrong(
        builder().l1(memory()).tier(memory(), config(Level::L1)),
        "l1 is set twice",
    );
    let half = builder().tier(memory(), config(Level::L1).ttl_scale(0.5));
    let definition = Definition::declared(declaration("a::get", 1));
    let state = half.into_stack().unwrap();
    let debug = format!("{:?}", Resolved::new(&definition, &state).unwrap());
    assert!(
        debug.contains("memory: Some(Lives { filled: 30s, copied: 30s })"),
        "{debug}"
    );
}

#[test]
fn a_function_whose_tier_is_missing_is_named_with_file_and_line() {
    let asks = Declaration {
        tiers: Some(&[Level::L1, Level::L2]),
        ..declaration("a::get", 7)
    };
    check(
        vec![asks],
        &[
            "the runtime has no l2: its tiers are l1",
            "function `a::get` (src/users.rs:7)",
        ],
    );
}

#[test]
fn two_functions_of_one_name_are_both_named() {
    check(
        vec![
            declaration("a::get", 7),
            declaration("b::get", 8),
            declaration("a::get", 9),
        ],
        &["src/users.rs:7", "src/users.rs:9", "one name"],
    );
}

/// The path of a function inside another does not name that one.
#[test]
fn two_generic_functions_of_one_path_are_both_named() {
    check(
        vec![declaration("a::find", 3), declaration("a::find", 9)],
        &["src/users.rs:3", "src/users.rs:9"],
    );
}

/// Methods of one path are told apart by their types; a name that was given twice is not.
#[test]
fn two_methods_of_one_given_name_are_both_named() {
    let method = |named, line| Declaration {
        named,
        in_impl: true,
        has_instances: true,
        ..declaration("a::get", line)
    };
    let state = memory().into_stack().unwrap();
    let by_path = [
        Definition::declared(method(false, 1)),
        Definition::declared(method(false, 2)),
    ];
    assert!(check_functions(&state, &by_path.iter().collect::<Vec<_>>()).is_ok());
    check(
        vec![method(true, 3), method(true, 4)],
        &["src/users.rs:3", "src/users.rs:4"],
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let ttl = Declaration {
        ttl: Ttl::everywhere(Duration::ZERO),
        ..declaration("a::zero", 1)
    };
    let codec = Declaration {
        codec: Some("yaml"),
        ..declaration("a::yaml", 2)
    };
    let each = Declaration {
        ttl: Ttl::each(&[(Level::L2, Duration::from_secs(1))]),
        ..declaration("a::each", 3)
    };
    check(
        vec![ttl, codec, each],
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

/// A function that names no tiers has those that there are.
#[test]
fn a_time_for_a_tier_that_is_not_there_is_an_error() {
    let second = Duration::from_secs(1);
    let each = Declaration {
        ttl: Ttl::each(&[(Level::L1, second), (Level::L3, second)]),
        ..declaration("a::each", 1)
    };
    check(
        vec![each],
        &["ttl has a time for l3", "`a::each`", "does not have"],
    );
}

#[test]
fn settings_come_from_the_environment_and_wrong_ones_are_named() {
    #[track_caller]
    fn wrong(pairs: &[(&str, &str)], expected: &str) {
        let error = RuntimeBuilder::from_pairs(pairs).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
    RuntimeBuilder::from_pairs(&[("L1_MAX_ENTRIES", "5"), ("L1_ENGINE", "moka")])
        .unwrap()
        .into_stack()
        .unwrap();
    wrong(
        &[("L1_MAX_ENTRIES", "many")],
        "MULTI_TIER_CACHED_L1_MAX_ENTRIES is `many`",
    );
    wrong(
        &[("L1_ENGINE", "lru")],
        "MULTI_TIER_CACHED_L1_ENGINE is `lru`",
    );
    wrong(&[("L1_MAX_ENTRY", "5")], "MULTI_TIER_CACHED_L1_MAX_ENTRY");
    wrong(
        &[("L1_MAX_ENTRIES", "5"), ("L1_MAX_BYTES", "5")],
        "are both set",
    );
    // Whether a codec is known shows when all are registered.
    let unknown = RuntimeBuilder::from_pairs(&[("CODEC", "yaml")])
        .unwrap()
        .into_stack()
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("`yaml`") && unknown.contains("MULTI_TIER_CACHED_CODEC"),
        "{unknown}"
    );
}

#[test]
fn wrong_settings_are_errors_when_the_runtime_is_built() {
    #[track_caller]
    fn wrong(builder: RuntimeBuilder, expected: &str) {
        let error = builder.into_stack().unwrap_err().to_string();
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
    wrong(
        RuntimeBuilder::new().l1(Memory::builder().max_entries(0)),
        "capacity of memory is zero",
    );
    wrong(
        RuntimeBuilder::new()
            .l1(Memory::builder())
            .l1(Memory::builder()),
        "l1 is set twice",
    );
    wrong(
        memory().default_codec("json"),
        "default codec `json` has no effect: there is no tier below memory",
    );
    wrong(
        memory().default_codec("json").default_codec("json"),
        "the default codec is set twice",
    );
    wrong(
        memory().when_isolated(WhenIsolated::Load),
        "`when_isolated` has no effect: no tier is shared",
    );
    wrong(
        memory()
            .when_isolated(WhenIsolated::Load)
            .when_isolated(WhenIsolated::Load),
        "`when_isolated` is set twice",
    );
    wrong(RuntimeBuilder::new(), "the runtime has no tier");
    let both = Memory::builder().max_entries(5).max_bytes(5);
    wrong(RuntimeBuilder::new().l1(both), "only one of them");
    let uppermost = TierConfig::as_l1().promotion(Promotion::Always);
    wrong(
        RuntimeBuilder::new().tier(Memory::builder(), uppermost),
        "l1 has a promotion, but no tier is above it",
    );
    let minute = Duration::from_secs(60);
    let policy = |name: &'static str, ttl: Ttl| memory().policy(name, ttl);
    wrong(policy("", minute.into()), "a policy has no name");
    wrong(
        policy("a", Duration::ZERO.into()),
        "policy `a`: ttl is zero: no call could ever hit",
    );
    wrong(
        policy("a", Ttl::policy("short")),
        "the name of another policy",
    );
    wrong(
        policy("a", minute.into()).policy("a", minute),
        "policy `a` is set twice",
    );
}

/// As a function asks it in the end.
fn asked(builder: RuntimeBuilder, name: &'static str) -> Result<String, String> {
    let state = builder.into_stack().map_err(|error| error.to_string())?;
    let definition = Definition::declared(declaration(name, 1));
    check_functions(&state, &[&definition]).map_err(|error| error.to_string())?;
    let resolved = Resolved::new(&definition, &state).map_err(|error| error.to_string())?;
    Ok(format!("{:?}", resolved.memory_life()))
}

#[test]
fn what_operators_say_takes_the_place_of_what_functions_say() {
    let from = |text| RuntimeBuilder::from_pairs(&[("FUNCTIONS", text)]);
    assert_eq!(asked(memory(), "a::get").unwrap(), "Some(60s)");
    let said = from("a::get ttl=5s").unwrap();
    assert_eq!(asked(said, "a::get").unwrap(), "Some(5s)");
    let said = from("a::get policy=mine").unwrap();
    let said = said.policy("mine", Duration::from_secs(7));
    assert_eq!(asked(said, "a::get").unwrap(), "Some(7s)");
    for (text, says) in [
        (
            "a::got ttl=5s",
            "unknown function `a::got` (set by MULTI_TIER_CACHED_FUNCTIONS); help: the functions are a::get",
        ),
        ("a::get policy=none", "set by MULTI_TIER_CACHED_FUNCTIONS"),
        (
            "a::get tiers=l1,l2",
            "no l2: its tiers are l1 (function `a::get` (src/users.rs:1), set by MULTI_TIER_CACHED_FUNCTIONS)",
        ),
        ("a::get ttl=0s", "ttl is zero"),
    ] {
        let error = asked(from(text).unwrap(), "a::get").unwrap_err();
        assert!(error.contains(says), "{says:?} is not in {error:?}");
    }
    let state = from("a::get tiers=l1,l2").unwrap().into_stack().unwrap();
    let memory = Declaration {
        tiers: Some(&[Level::L1]),
        ..declaration("a::get", 1)
    };
    let error = Resolved::new(&Definition::declared(memory), &state).map(drop);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("an override adds a tier"), "{error}");
    let two = Declaration {
        tiers: Some(&[Level::L1, Level::L2]),
        ..declaration("a::get", 1)
    };
    let state = from("a::get tiers=l1,l3").unwrap().into_stack().unwrap();
    let error = Resolved::new(&Definition::declared(two), &state).map(drop);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("has `tiers = \"l1,l2\"`"), "{error}");
    let strong = Declaration {
        coherence: CoherencePolicy {
            consistency: Consistency::Strong,
            ..DEFAULT
        },
        ..declaration("a::get", 1)
    };
    let state = from("a::get tiers=l1").unwrap().into_stack().unwrap();
    let error = Resolved::new(&Definition::declared(strong), &state).map(drop);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("needs one"), "{error}");
    let error = from("a::get ttl=soon").unwrap_err().to_string();
    assert!(
        error.contains("(set by MULTI_TIER_CACHED_FUNCTIONS)"),
        "{error}"
    );
}

#[test]
fn what_the_environment_does_not_speak_of_stays_as_the_program_says_it() {
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

#[cfg(feature = "toml")]
#[test]
fn a_file_says_it_too_and_the_environment_goes_before() {
    let path = std::env::temp_dir().join(format!("mtc-functions-{}.toml", std::process::id()));
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let file = path.display().to_string();
    let builder = || memory().functions_file(&path);
    write("[policies]\nmine = \"8s\"\n[functions.\"a::get\"]\npolicy = \"mine\"\n");
    assert_eq!(asked(builder(), "a::get").unwrap(), "Some(8s)");
    // In the place of the program's, whatever comes first.
    let minute = Duration::from_secs(60);
    let after = builder().policy("mine", minute);
    assert_eq!(asked(after, "a::get").unwrap(), "Some(8s)");
    let before = memory().policy("mine", minute).functions_file(&path);
    assert_eq!(asked(before, "a::get").unwrap(), "Some(8s)");
    write("[functions.\"a::get\"]\nttl = { l1 = \"9s\" }\ntiers = \"l1\"\n");
    assert_eq!(asked(builder(), "a::get").unwrap(), "Some(9s)");
    let both = [("FUNCTIONS", "a::get ttl=10s"), ("FUNCTIONS_FILE", &*file)];
    let both = RuntimeBuilder::from_pairs(&both).unwrap();
    assert_eq!(asked(both, "a::get").unwrap(), "Some(10s)");
    write("[functions.\"a::get\"]\ntiers = \"l1,l2\"\n");
    let both = [("FUNCTIONS", "a::get ttl=10s"), ("FUNCTIONS_FILE", &*file)];
    let error = asked(RuntimeBuilder::from_pairs(&both).unwrap(), "a::get").unwrap_err();
    let who = format!(
        "set by `{file}` (MULTI_TIER_CACHED_FUNCTIONS_FILE) and MULTI_TIER_CACHED_FUNCTIONS"
    );
    assert!(error.contains("no l2") && error.contains(&who), "{error}");
    for (text, says) in [
        (
            "[functions.\"a::get\"]\nage = \"1s\"",
            "unknown field `age`",
        ),
        ("[function.\"a::get\"]", "unknown field `function`"),
        ("[functions.\"a::get\"]\nttl = 5", "a duration such as"),
        (
            "[functions.\"a::get\"]\nttl = \"soon\"",
            "(function `a::get`, set by",
        ),
        ("[functions.\"a::get\"]", "the function has no setting"),
        (
            "[functions.\"a::get\"]\nttl = { l1 = \"9s\", l2 = \"1h\" }\ntiers = \"l1\"",
            "ttl has a time for l2",
        ),
        (
            "[functions.\"a::get\"]\nttl = \"1s\"\npolicy = \"short\"",
            "are both set",
        ),
        (
            "[functions.\"a::get\"]\ntiers = [\"l1\"]",
            "tiers in one text",
        ),
        ("[policies]\nmine = \"0s\"", "policy `mine`: ttl is zero"),
        (
            "[policies]\na = \"soon\"\n[functions.\"a::get\"]",
            "for 2 reasons",
        ),
        (
            "[functions.\"a::gone\"]\nttl = \"1s\"",
            "unknown function `a::gone`",
        ),
    ] {
        write(text);
        let error = asked(builder(), "a::get").unwrap_err();
        assert!(error.contains(says), "{says:?} is not in {error:?}");
    }
    std::fs::remove_file(&path).unwrap();
    let error = asked(builder(), "a::get").unwrap_err();
    assert!(error.contains(&file), "{error}");
}

#[test]
fn what_the_environment_says_is_named_and_all_that_is_wrong_with_it() {
    let says = |pairs: &[(&str, &str)], expected: &[&str]| {
        let built = RuntimeBuilder::from_pairs(pairs).and_then(RuntimeBuilder::into_stack);
        let error = built.map(drop).unwrap_err().to_string();
        for expected in expected {
            assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        }
    };
    says(
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
    says(
        &[("WHEN_ISOLATED", "load")],
        &["(set by MULTI_TIER_CACHED_WHEN_ISOLATED)"],
    );
    says(&[("CODEC", "json")], &["(set by MULTI_TIER_CACHED_CODEC)"]);
    for (functions, expected) in [
        ("a ttl={l1=1s}", "has a time for each tier"),
        ("a tiers=l1, l2", "write them in one word"),
    ] {
        says(&[("FUNCTIONS", functions)], &[expected]);
    }
    let elsewhere = memory()
        .default_codec("postcard")
        .when_isolated(WhenIsolated::Load);
    let elsewhere = elsewhere.with_environment(&Environment::of(&[])).unwrap();
    elsewhere.into_stack().unwrap();
    let set = RuntimeBuilder::from_pairs(&[("L1_MAX_ENTRIES", "5")]).unwrap();
    let twice = set.l1(Memory::builder()).into_stack().map(drop);
    let error = twice.unwrap_err().to_string();
    let expected = "l1 is set twice (set by MULTI_TIER_CACHED_L1_MAX_ENTRIES)";
    assert_eq!(error, expected);
}

#[test]
fn a_function_with_instances_is_meant_with_all_of_them() {
    let generic = Definition::declared(Declaration {
        has_instances: true,
        ..declaration("a::get", 1)
    });
    let builder = RuntimeBuilder::from_pairs(&[("FUNCTIONS", "a::get<u8> ttl=1s")]).unwrap();
    let state = builder.into_stack().unwrap();
    let error = check_functions(&state, &[&generic])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("name `a::get`: an override is for all its instances"),
        "{error}"
    );
}
