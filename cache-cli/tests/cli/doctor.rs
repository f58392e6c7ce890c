//! The lines of `doctor`, as tests read them.

use serde_json::Value;
use testbed::server::Server;

use crate::program::{self, Run};

/// The beginnings of commands that a line may name. Advice is not one.
const COMMANDS: [&str; 7] = [
    "ACL SETUSER ",
    "CONFIG SET ",
    "MULTI_TIER_CACHED_REDIS_SHARDS=",
    "multi-tier-cached ",
    "redis-cli --bigkeys",
    "redis-cli -c DEL ",
    "timedatectl ",
];

/// A report of `doctor`.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) run: Run,
    lines: Vec<Value>,
}

impl Report {
    /// Runs `doctor` with these options.
    pub(crate) async fn with(options: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = program::command(&[&["doctor", "--json"], options].concat());
        // A machine that is busy with tests answers some pings late.
        command.env("MULTI_TIER_CACHED_REDIS_TIME_LIMIT", "2s");
        command.envs(variables.iter().copied());
        let run = program::finish(command).await;
        let mut lines = run.documents();
        lines.pop();
        for command in lines.iter().filter_map(|line| line["command"].as_str()) {
            let is_one = COMMANDS.iter().any(|begin| command.starts_with(begin));
            assert!(is_one, "{command}");
        }
        Self { run, lines }
    }

    pub(crate) async fn of(url: &str) -> Self {
        Self::with(&["--redis", url], &[]).await
    }

    /// The checks that ended so, each once, without those of a server that no instance uses.
    pub(crate) fn checks(&self, state: &str) -> Vec<&str> {
        let lines = self.lines.iter().filter(|line| line["state"] == state);
        let mut checks: Vec<&str> = lines.filter_map(|line| line["check"].as_str()).collect();
        checks.dedup();
        checks
    }

    /// Asserts that one check alone ended with a warning or a failure, and that its line says what
    /// it means.
    #[track_caller]
    pub(crate) fn finds(&self, state: &str, check: &str, what: &str) {
        let found: Vec<&Value> = self.lines.iter().filter(|line| is_wrong(line)).collect();
        let [line] = found[..] else {
            panic!("one line was expected, of {check}: {found:#?}");
        };
        assert_eq!(
            (&line["state"], &line["check"]),
            (&state.into(), &check.into()),
            "{line}"
        );
        assert!(
            line["what"].as_str().unwrap().contains(what),
            "`{what}` is not in {line}"
        );
        assert!(line["meaning"].is_string(), "{line}");
        assert_eq!(self.run.code, Some(1), "{self:?}");
    }

    /// Asserts that there is neither a warning nor a failure.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        let found: Vec<&Value> = self.lines.iter().filter(|line| is_wrong(line)).collect();
        assert!(found.is_empty() && self.lines.len() > 15, "{self:#?}");
        assert_eq!(self.run.code, Some(0), "{self:?}");
    }

    /// Asserts that the line of a check that went wrong says what to do, and names no command.
    #[track_caller]
    pub(crate) fn means(&self, check: &str, text: &str) {
        let mut lines = self.lines.iter().filter(|line| is_wrong(line));
        let line = lines.find(|line| line["check"] == check);
        let line = line.unwrap_or_else(|| panic!("no line of {check}: {self:#?}"));
        let meaning = line["meaning"].as_str().unwrap_or_default();
        assert!(
            meaning.contains(text) && line["command"].is_null(),
            "{line}"
        );
    }

    /// The command that a line of this check names.
    #[track_caller]
    pub(crate) fn command_of(&self, check: &str) -> String {
        let lines = self.lines.iter().filter(|line| is_wrong(line));
        let mut lines = lines.filter(|line| line["check"] == check);
        let command = lines.find_map(|line| line["command"].as_str());
        command
            .unwrap_or_else(|| panic!("no command of {check}: {self:#?}"))
            .to_owned()
    }
}

impl Report {
    /// The first line of a check.
    #[track_caller]
    pub(crate) fn line_of(&self, check: &str) -> &Value {
        let mut lines = self.lines.iter();
        let line = lines.find(|line| line["check"] == check);
        line.unwrap_or_else(|| panic!("no line of {check}: {self:#?}"))
    }

    /// Asserts that a check ended so, and that its line contains a text.
    #[track_caller]
    pub(crate) fn says(&self, state: &str, check: &str, text: &str) {
        let is_meant = |line: &&Value| {
            let what = line["what"].as_str().unwrap_or_default();
            line["state"] == state && line["check"] == check && what.contains(text)
        };
        assert!(self.lines.iter().any(|line| is_meant(&line)), "{self:#?}");
    }
}

/// Runs the command that a line names.
pub(crate) fn mend(server: &Server, command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    let _: () = server.command(&words);
}

fn is_wrong(line: &Value) -> bool {
    line["state"] == "warn" || line["state"] == "fail"
}
