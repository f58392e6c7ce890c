//! Servers that are set wrongly: each line of `doctor` about a server.

use std::time::Duration;

use testbed::proxy::{NetworkFault, Proxy};
use testbed::server::Server;
use testbed::until;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::doctor::Report;
use crate::rewriter::{Replacement, Rewriter};

fn set(server: &Server, setting: &str, value: &str) {
    let _: () = server.command(&["CONFIG", "SET", setting, value]);
}

#[tokio::test]
async fn settings_that_harm_are_found_and_the_named_command_mends_them() {
    let server = Server::start();
    set(&server, "maxmemory", "100mb");
    set(&server, "maxmemory-policy", "allkeys-lru");
    Report::of(&server.url()).await.is_clean();
    for (setting, value, check, what) in [
        ("timeout", "60", "timeout", "60 s"),
        ("tcp-keepalive", "0", "tcp-keepalive", "does not probe"),
        ("maxmemory-policy", "noeviction", "eviction", "noeviction"),
        (
            "maxmemory-policy",
            "allkeys-random",
            "eviction",
            "allkeys-random",
        ),
        (
            "maxmemory-policy",
            "volatile-random",
            "eviction",
            "volatile-random",
        ),
        (
            "maxmemory-policy",
            "volatile-ttl",
            "eviction",
            "volatile-ttl",
        ),
    ] {
        set(&server, setting, value);
        let report = Report::of(&server.url()).await;
        report.finds("warn", check, what);
        let command = report.command_of(check);
        let words: Vec<&str> = command.split(' ').collect();
        let _: () = server.command(&words);
        Report::of(&server.url()).await.is_clean();
    }
}

#[tokio::test]
async fn evictions_while_other_keys_have_no_expiry_are_found() {
    let server = Server::start_with(&["--maxmemory-policy", "volatile-lru"]);
    let fill = "for i = 1, 2000 do redis.call('SET', 'forever' .. i, string.rep('x', 500)) end \
                for i = 1, 1000 do redis.call('SET', 'short' .. i, string.rep('x', 500), 'EX', 3600) end";
    let _: redis::Value = server.command(&["EVAL", fill, "0"]);
    Report::of(&server.url()).await.is_clean();
    let info: String = server.command(&["INFO", "memory"]);
    let used = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"))
        .unwrap();
    let used: u64 = used.trim().parse().unwrap();
    set(&server, "maxmemory", &(used - 200_000).to_string());
    let _: redis::Value = server.command(&["SET", "one", "more"]);
    until("keys are evicted", || server.stat("evicted_keys") > 0).await;
    set(&server, "maxmemory", "0");
    let report = Report::of(&server.url()).await;
    report.finds("warn", "evictions", "2001 of");
}

#[tokio::test]
async fn replica_is_found_and_so_is_a_primary_that_may_be_cut_off_from_it() {
    let primary = Server::start();
    let port = primary.port().to_string();
    let replica = Server::start_with(&["--replicaof", "127.0.0.1", &port]);
    until("the replica is connected", || {
        let info: String = primary.command(&["INFO", "replication"]);
        info.contains("state=online")
    })
    .await;
    let report = Report::of(&replica.url()).await;
    report.finds("fail", "role", &format!("a replica of 127.0.0.1:{port}"));
    let report = Report::of(&primary.url()).await;
    report.finds("warn", "replicas", "`min-replicas-to-write` is 0");
    set(&primary, "min-replicas-to-write", "1");
    Report::of(&primary.url()).await.is_clean();
}

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
        let words: Vec<&str> = command.split(' ').collect();
        let _: () = server.command(&words);
        Report::of(&url).await.is_clean();
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

/// A proxy stands for a server of an older version.
#[tokio::test]
async fn server_that_is_too_old_is_found() {
    const OLD: &[Replacement] = &[("redis_version:7.", "redis_version:6.")];
    let server = Server::start();
    let old = Rewriter::start(&[server.port()], OLD).await;
    Report::of(&old.url())
        .await
        .finds("fail", "version", "too old");
}

#[tokio::test]
async fn server_that_may_not_be_identified_is_found() {
    let server = Server::start_with(&["--rename-command", "INFO", ""]);
    Report::of(&server.url())
        .await
        .finds("fail", "version", "does not answer `INFO`");
}

/// The proxy delivers no message, as one does that has a connection of its own for them.
#[tokio::test]
async fn proxy_that_does_not_deliver_messages_in_order_is_found() {
    const UNKNOWN: &[Replacement] = &[("smessage", "dmessage")];
    let server = Server::start();
    let proxy = Rewriter::start(&[server.port()], UNKNOWN).await;
    Report::of(&proxy.url())
        .await
        .finds("fail", "messages", "message 1 arrives after");
}

#[tokio::test]
async fn address_of_a_balancer_is_found() {
    let (one, other) = (Server::start(), Server::start());
    let ports = [one.port(), other.port()];
    let balancer = Rewriter::start(&ports, &[]).await;
    let report = Report::of(&balancer.url()).await;
    assert!(report.checks("fail").contains(&"identity"), "{report:#?}");
}

#[tokio::test]
async fn server_that_is_slow_for_the_time_limit_is_found() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    proxy.set(NetworkFault::Delay(Duration::from_millis(3)));
    let url = proxy.url();
    let report = async |limit: &str| {
        let limit = [("MULTI_TIER_CACHED_REDIS_TIME_LIMIT", limit)];
        Report::with(&["--redis", &url], &limit).await
    };
    report("5ms").await.finds("fail", "latency", "p99");
    // Each ping takes more than a quarter of the limit. On a busy machine, some take more than it.
    let report = report("24ms").await;
    assert!(!report.checks("ok").contains(&"latency"), "{report:#?}");
}

#[tokio::test]
async fn subscriber_that_is_about_to_be_disconnected_is_found() {
    let server = Server::start();
    set(&server, "client-output-buffer-limit", "pubsub 50000000 0 0");
    // It never reads.
    let mut subscriber = TcpStream::connect(("127.0.0.1", server.port()))
        .await
        .unwrap();
    subscriber.write_all(b"SUBSCRIBE full\r\n").await.unwrap();
    until("it is subscribed", || {
        let (_, number): (String, u64) = server.command(&["PUBSUB", "NUMSUB", "full"]);
        number == 1
    })
    .await;
    let payload = "x".repeat(1_000_000);
    for _ in 0..40 {
        let _: u64 = server.command(&["PUBLISH", "full", &payload]);
    }
    let report = Report::of(&server.url()).await;
    report.finds("warn", "output buffer", "of 50000000 bytes");
}
