//! Servers that are set wrongly: each line of `doctor` about a server.

use std::time::Duration;

use testbed::proxy::{NetworkFault, Proxy};
use testbed::server::Server;
use testbed::until;

use crate::doctor::{Report, mend};
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
    set(&server, "timeout", "5");
    let report = Report::of(&server.url()).await;
    report.is_clean();
    report.says("ok", "timeout", "closed after 5 s");
    for (setting, value, check, what) in [
        ("timeout", "4", "timeout", "4 s"),
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
        mend(&server, &report.command_of(check));
        Report::of(&server.url()).await.is_clean();
    }
}

#[tokio::test]
async fn named_policy_evicts_no_key_that_the_present_one_keeps() {
    let server = Server::start_with(&["--maxmemory", "100mb"]);
    for (before, after) in [
        ("noeviction", "volatile-lru"),
        ("volatile-ttl", "volatile-lru"),
        ("volatile-random", "volatile-lru"),
        ("allkeys-random", "allkeys-lru"),
    ] {
        set(&server, "maxmemory-policy", before);
        let report = Report::of(&server.url()).await;
        mend(&server, &report.command_of("eviction"));
        let (_, policy): (String, String) = server.command(&["CONFIG", "GET", "maxmemory-policy"]);
        assert_eq!(policy, after, "in place of {before}");
    }
}

#[tokio::test]
async fn keys_of_all_databases_are_counted() {
    let server = Server::start_with(&["--databases", "20"]);
    let fill = "redis.call('SELECT', 17) for i = 1, 5 do redis.call('SET', i, i) end";
    let _: redis::Value = server.command(&["EVAL", fill, "0"]);
    let report = Report::of(&server.url()).await;
    report.says("ok", "evictions", "5 of 5 keys have no expiry");
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
    mend(&primary, &report.command_of("replicas"));
    Report::of(&primary.url()).await.is_clean();
    set(&primary, "min-replicas-max-lag", "0");
    let report = Report::of(&primary.url()).await;
    report.finds("warn", "replicas", "1, and `min-replicas-max-lag` is 0");
    mend(&primary, &report.command_of("replicas"));
    Report::of(&primary.url()).await.is_clean();
}

/// One line is about the role, and the others about what the replica has.
#[tokio::test]
async fn failure_of_one_check_leaves_out_no_other_one() {
    let primary = Server::start();
    let port = primary.port().to_string();
    let replica = Server::start_with(&["--replicaof", "127.0.0.1", &port]);
    let _: () = primary.command(&["SET", "{cache:0}:#history", "5:server", "PX", "60000"]);
    until("the replica has the key", || {
        let has: u64 = replica.command(&["EXISTS", "{cache:0}:#history"]);
        has == 1
    })
    .await;
    let report = Report::of(&replica.url()).await;
    assert!(report.checks("fail").contains(&"role"), "{report:#?}");
    report.says("warn", "history", "no sequence");
    for check in ["namespace", "layout", "heartbeat", "audit", "records"] {
        report.line_of(check);
    }
}

#[tokio::test]
async fn checks_that_a_server_cannot_answer_are_not_known() {
    let server = Server::start_with(&["--rename-command", "INFO", ""]);
    let report = Report::of(&server.url()).await;
    report.says("not known", "usable", "of this server were not made");
    report.says("not known", "usable", "of the namespace were not made");
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
