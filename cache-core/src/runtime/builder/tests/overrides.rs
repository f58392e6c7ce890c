//! Overrides in the environment and in a file, and the functions that they are for.

use super::*;

fn functions(line: &str) -> RuntimeBuilder {
    RuntimeBuilder::from_pairs(&[("FUNCTIONS", line)]).unwrap()
}

#[test]
fn override_replaces_the_ttl_of_the_code() {
    assert_eq!(ttl_in_memory(memory(), "a::get"), Ok(MINUTE));
    let overridden = functions("a::get ttl=5s");
    assert_eq!(ttl_in_memory(overridden, "a::get"), Ok(SECOND * 5));
    let overridden = functions("a::get policy=mine").policy("mine", SECOND * 7);
    assert_eq!(ttl_in_memory(overridden, "a::get"), Ok(SECOND * 7));
}

#[test]
fn override_that_cannot_be_used_is_an_error_that_names_its_origin() {
    for (line, expected) in [
        (
            "a::got ttl=5s",
            "unknown function `a::got` (set by MULTI_TIER_CACHED_FUNCTIONS); help: \
             the functions are a::get",
        ),
        ("a::get policy=none", "set by MULTI_TIER_CACHED_FUNCTIONS"),
        (
            "a::get tiers=l1,l2",
            "no l2: its tiers are l1 (function `a::get` (src/users.rs:1), set by \
             MULTI_TIER_CACHED_FUNCTIONS)",
        ),
        ("a::get ttl=0s", "ttl is zero"),
    ] {
        assert_contains(
            &ttl_in_memory(functions(line), "a::get").unwrap_err(),
            expected,
        );
    }
}

#[test]
fn override_of_one_instance_is_an_error() {
    let generic = Definition {
        has_instances: true,
        ..definition("a::get", 1)
    };
    let state = functions("a::get<u8> ttl=1s").into_state().unwrap();
    let error = check_functions(&state, &[&generic]).unwrap_err();
    assert_contains(
        &error.to_string(),
        "name `a::get`: an override is for all its instances",
    );
}

#[cfg(feature = "toml")]
mod file {
    use super::super::file::File;
    use super::*;

    #[test]
    fn file_replaces_the_ttl_of_the_code_and_the_environment_that_of_the_file() {
        let file = File::new("precedence");
        let text = "[functions.\"a::get\"]\nttl = { l1 = \"9s\" }\ntiers = \"l1\"\n";
        assert_eq!(ttl_in_memory(file.with(text), "a::get"), Ok(SECOND * 9));
        let path = file.path();
        let both = [("FUNCTIONS", "a::get ttl=10s"), ("FUNCTIONS_FILE", &*path)];
        let both = RuntimeBuilder::from_pairs(&both).unwrap();
        assert_eq!(ttl_in_memory(both, "a::get"), Ok(SECOND * 10));
    }

    #[test]
    fn policy_of_a_file_replaces_that_of_the_program_in_either_order() {
        let file = File::new("policies");
        let text = "[policies]\nmine = \"8s\"\n[functions.\"a::get\"]\npolicy = \"mine\"\n";
        assert_eq!(ttl_in_memory(file.with(text), "a::get"), Ok(SECOND * 8));
        let file_first = file.with(text).policy("mine", MINUTE);
        assert_eq!(ttl_in_memory(file_first, "a::get"), Ok(SECOND * 8));
        let program_first = memory().policy("mine", MINUTE).functions_file(&file.0);
        assert_eq!(ttl_in_memory(program_first, "a::get"), Ok(SECOND * 8));
    }

    /// The ttl of the environment has no part in the problem, so the error does not name it.
    #[test]
    fn error_names_the_origin_of_the_setting_that_it_is_about() {
        let file = File::new("origins");
        let path = file.path();
        drop(file.with("[functions.\"a::get\"]\ntiers = \"l1,l2\"\n"));
        let error = |line| {
            let both = [("FUNCTIONS", line), ("FUNCTIONS_FILE", &*path)];
            ttl_in_memory(RuntimeBuilder::from_pairs(&both).unwrap(), "a::get").unwrap_err()
        };
        let file = format!("set by `{path}` (MULTI_TIER_CACHED_FUNCTIONS_FILE))");
        let missing = error("a::get ttl=10s");
        assert_contains(&missing, "no l2");
        assert_contains(&missing, &file);
        assert_contains(
            &error("a::get ttl=0s"),
            "set by MULTI_TIER_CACHED_FUNCTIONS)",
        );
    }

    #[test]
    fn file_that_cannot_be_used_is_an_error_that_states_the_problem() {
        let file = File::new("problems");
        for (text, expected) in [
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
            let error = ttl_in_memory(file.with(text), "a::get").unwrap_err();
            assert_contains(&error, expected);
        }
        let path = file.path();
        drop(file);
        let missing = memory().functions_file(&path);
        assert_contains(&ttl_in_memory(missing, "a::get").unwrap_err(), &path);
    }
}
