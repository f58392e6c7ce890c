//! Options, exit codes, and the end of the output.

use testbed::server::Server;
use tokio::process::Command;

use crate::program::{self, finish, run};

#[tokio::test]
async fn exit_codes_say_what_kind_of_problem_there_is() {
    let server = Server::start();
    let url = server.url();
    for (arguments, code, text) in [
        (&["doctor", "--redis", &*url][..], 0, ""),
        (
            &["get", "f:1", "x", "--redis", &url],
            1,
            "no record of `f:1:x`; help: ",
        ),
        (&["keys"], 2, "no server is named; help: "),
        (&["keys", "--redis", "http://a"], 2, "help: "),
        (
            &["keys", "--redis", &url, "--namespace", "a{b}"],
            2,
            "namespace",
        ),
        (
            &["keys", "--redis", &url, "--sentinel-master", "a"],
            2,
            "SENTINELS",
        ),
        (&["invalidate"], 2, "--help"),
        (&["invalidate", "f", "--all"], 2, "cannot be used with"),
        (&["unknown"], 2, "--help"),
        (
            &["keys", "--redis", "redis://127.0.0.1:1"],
            3,
            "help: check the address",
        ),
    ] {
        let run = run(arguments).await;
        assert_eq!(run.code, Some(code), "{arguments:?}: {run:?}");
        assert!(run.errors.contains(text), "{arguments:?}: {run:?}");
    }
}

#[tokio::test]
async fn server_is_named_by_the_variable_and_an_option_takes_precedence() {
    let server = Server::start();
    let set = |arguments: &[&str], url: &str| {
        let mut command = program::command(arguments);
        command.env("MULTI_TIER_CACHED_REDIS_URL", url);
        command
    };
    let by_variable = finish(set(&["keys"], &server.url())).await;
    assert_eq!(by_variable.code, Some(0), "{by_variable:?}");
    let wrong = "redis://127.0.0.1:1";
    let by_option = finish(set(&["keys", "--redis", &server.url()], wrong)).await;
    assert_eq!(by_option.code, Some(0), "{by_option:?}");
    let before = finish(set(&["--redis", &server.url(), "keys"], wrong)).await;
    assert_eq!(before.code, Some(0), "{before:?}");
    // Another kind of place replaces the one of the variable too.
    let seeds = format!("127.0.0.1:{}", server.port());
    let cluster = finish(set(&["keys", "--cluster", &seeds], wrong)).await;
    assert_eq!(cluster.code, Some(0), "{cluster:?}");
}

#[tokio::test]
async fn secrets_are_not_printed() {
    let run = run(&["keys", "--redis", "redis://app:s3cret@127.0.0.1:1"]).await;
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(!run.errors.contains("s3cret"), "{run:?}");
    let help = finish({
        let mut command = program::command(&["--help"]);
        command.env("MULTI_TIER_CACHED_REDIS_URL", "redis://:s3cret@a");
        command
    });
    let help = help.await;
    assert!(
        help.output.contains("MULTI_TIER_CACHED_REDIS_URL"),
        "{help:?}"
    );
    assert!(!help.output.contains("s3cret"), "{help:?}");
}

/// A reader that has seen enough closes the pipe.
#[tokio::test]
async fn closed_pipe_ends_the_program_without_an_error() {
    let server = Server::start();
    let program = env!("CARGO_BIN_EXE_multi-tier-cached");
    let script = format!(
        "{program} doctor --redis {} | head -n 1; echo ${{PIPESTATUS[0]}}",
        server.url()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]);
    let run = finish(command).await;
    let lines: Vec<&str> = run.output.lines().collect();
    assert_eq!((lines.len(), lines[1]), (2, "0"), "{run:?}");
    assert_eq!(run.errors, "");
}
