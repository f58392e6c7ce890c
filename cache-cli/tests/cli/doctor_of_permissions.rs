//! Commands and settings that the user of `doctor` may not use, and answers that a server lacks.

use testbed::server::Server;

use crate::doctor::{Report, mend};
use crate::rewriter::{Replacement, Rewriter};

#[tokio::test]
async fn missing_permissions_are_named_and_the_named_command_grants_them() {
    let server = Server::start();
    let url = format!("redis://app:secret@127.0.0.1:{}", server.port());
    let rule = |rule: &[&str]| {
        let _: () = server.command(&[&["ACL", "SETUSER", "app"], rule].concat());
    };
    rule(&["on", ">secret", "~{cache:0}:*", "&{cache:0}:*", "+@all"]);
    Report::of(&url).await.is_clean();
    for (taken, state) in [("set", "fail"), ("zscore", "warn"), ("evalsha", "fail")] {
        rule(&[&format!("-{taken}")]);
        let report = Report::of(&url).await;
        report.finds(state, "permissions", "");
        assert!(!report.run.output.contains("secret"), "{report:?}");
        let command = report.command_of("permissions");
        assert!(command.contains(&format!("+{taken}")), "{command}");
        mend(&server, &command);
        Report::of(&url).await.is_clean();
    }
}

#[tokio::test]
async fn keys_of_one_shard_are_not_the_permissions_of_all() {
    let server = Server::start();
    let url = format!("redis://app:secret@127.0.0.1:{}", server.port());
    let rules = ["on", ">secret", "~{cache:0}:*", "&{cache:0}:*", "+@all"];
    let _: () = server.command(&[&["ACL", "SETUSER", "app"][..], &rules].concat());
    let of_shards = async |shards: &str| {
        let shards = [("MULTI_TIER_CACHED_REDIS_SHARDS", shards)];
        Report::with(&["--redis", &url], &shards).await
    };
    let report = of_shards("4").await;
    let what = "shard 1, 2, 3: user `app` may not run the scripts";
    report.finds("fail", "permissions", what);
    // The keys of a shard without the histories of the others.
    let report = of_shards("1").await;
    report.is_clean();
    report.says("info", "permissions", "getrange");
    let line = report.line_of("permissions");
    mend(&server, line["command"].as_str().unwrap());
    let report = of_shards("1").await;
    report.says("ok", "permissions", "every command");
    report.says("ok", "layout", "no history of another number");
    let report = of_shards("4").await;
    mend(&server, &report.command_of("permissions"));
    let report = of_shards("4").await;
    report.is_clean();
    report.says("ok", "permissions", "every command");
}

/// The proxy has the server run a script that does not find `redis.acl_check_cmd`.
#[tokio::test]
async fn permissions_are_not_known_on_a_server_that_cannot_be_asked_for_them() {
    const COMMON: &str = include_str!("../../../cache-redis/src/commands/lua/common.lua");
    const ASK: &str = include_str!("../../../cache-redis/src/commands/lua/permissions.lua");
    let server = Server::start();
    let script = format!("\n{COMMON}\n{ASK}");
    let without = script.replace("acl_check_cmd", "acl_check_not");
    let load = |script: &str| server.command::<String>(&["SCRIPT", "LOAD", script]);
    let proxy = Rewriter::of_requests(server.port(), &load(&script), &load(&without)).await;
    let report = Report::of(&proxy.url()).await;
    report.is_clean();
    report.says("not known", "permissions", "cannot be asked");
}

#[tokio::test]
async fn fields_and_replies_that_a_server_does_not_give_are_not_known() {
    const HIDDEN: &[Replacement] = &[
        ("connected_slaves:", "_onnected_slaves:"),
        ("# Keyspace", "# _eyspace"),
        ("evicted_keys:0", "evicted_keys:7"),
    ];
    let server = Server::start();
    let rules = ["on", "nopass", "~*", "&*", "+@all", "-xlen", "-strlen"];
    let _: () = server.command(&[&["ACL", "SETUSER", "app"][..], &rules].concat());
    let _: () = server.command(&["SET", "{cache:0}:f:1:1", "a", "EX", "60"]);
    let proxy = Rewriter::start(&[server.port()], HIDDEN).await;
    let url = proxy.url().replace("//", "//app:any@");
    let report = Report::of(&url).await;
    report.is_clean();
    for check in ["replicas", "evictions", "audit", "records"] {
        assert!(report.checks("not known").contains(&check), "{report:#?}");
        assert!(!report.checks("ok").contains(&check), "{report:#?}");
    }
}

#[tokio::test]
async fn hidden_settings_are_not_known_and_never_ok() {
    let server = Server::start();
    let rules = [
        "on",
        "nopass",
        "~*",
        "&*",
        "+@all",
        "-config",
        "-client|list",
    ];
    let _: () = server.command(&[&["ACL", "SETUSER", "app"][..], &rules].concat());
    let report = Report::of(&format!("redis://app:any@127.0.0.1:{}", server.port())).await;
    report.is_clean();
    let hidden = ["output buffer", "timeout", "tcp-keepalive"];
    for check in hidden {
        assert!(report.checks("not known").contains(&check), "{report:#?}");
        assert!(!report.checks("ok").contains(&check), "{report:#?}");
    }
}
