//! The cost of the sample of records that `doctor` reads, and what it says of the rest.

use testbed::server::Server;

use crate::doctor::Report;
use crate::program;

#[tokio::test]
async fn sample_of_large_records_is_cheap_and_the_rest_is_not_called_whole() {
    let server = Server::start();
    let fill = "for i = 1, 300 do redis.call('SET', '{cache:0}:f:1:' .. i, string.rep('x', 1e6), 'EX', 60) end \
                redis.call('SET', '{cache:0}:f:1:0', string.rep('x', 2e6), 'EX', 60)";
    let _: redis::Value = server.command(&["EVAL", fill, "0"]);
    let before = server.sent_bytes();
    let report = Report::of(&server.url()).await;
    let sent = server.sent_bytes() - before;
    assert!(sent < 40_000_000, "{sent} bytes");
    report.finds("warn", "records", "f:1: 33 of 301 are damaged");
    report.says(
        "info",
        "records",
        "33 records of 1 functions were read, 268 were not",
    );
    let _: redis::Value = server.command(&["FLUSHALL"]);
    let large = "x".repeat(2_000_000);
    let _: () = server.command(&["SET", "{cache:0}:f:1:0", &large, "EX", "60"]);
    let report = Report::of(&server.url()).await;
    report.is_clean();
    report.says(
        "not known",
        "records",
        "1 were not: they are larger than 1 MiB",
    );
}

#[tokio::test]
async fn sample_has_records_of_each_shard() {
    let server = Server::start();
    let fill = "for i = 1, 12000 do redis.call('SET', '{cache:0}:f:1:' .. i .. '#lease', 'x', 'EX', 60) end \
                redis.call('SET', '{cache:1}:f:1:7', 'changed', 'EX', 60)";
    let _: redis::Value = server.command(&["EVAL", fill, "0"]);
    let shards = [("MULTI_TIER_CACHED_REDIS_SHARDS", "2")];
    let report = Report::with(&["--redis", &server.url()], &shards).await;
    report.finds("warn", "records", "f:1: 1 of 1 are damaged");
}

#[tokio::test]
async fn search_among_many_keys_of_other_programs_ends_and_says_so() {
    let server = Server::start_with(&["--enable-debug-command", "local"]);
    let _: () = server.command(&["DEBUG", "POPULATE", "600000", "k", "1"]);
    let report = Report::of(&server.url()).await;
    report.is_clean();
    report.says("not known", "records", "more keys than the 512000");
}

/// All shards are looked for by one walk.
#[tokio::test]
async fn keys_of_other_programs_are_counted_once_for_all_shards() {
    let server = Server::start_with(&["--enable-debug-command", "local"]);
    let _: () = server.command(&["DEBUG", "POPULATE", "100000", "k", "1"]);
    let fill =
        "for i = 0, 7 do redis.call('SET', '{cache:' .. i .. '}:f:1:7', 'changed', 'EX', 60) end";
    let _: redis::Value = server.command(&["EVAL", fill, "0"]);
    let shards = [("MULTI_TIER_CACHED_REDIS_SHARDS", "8")];
    let before = server.calls("scan");
    let report = Report::with(&["--redis", &server.url()], &shards).await;
    let scans = server.calls("scan") - before;
    assert!((190..=210).contains(&scans), "{scans}");
    report.finds("warn", "records", "f:1: 8 of 8 are damaged");
    assert!(!report.run.output.contains("more keys"), "{report:#?}");
}

#[tokio::test]
async fn name_with_the_end_of_a_line_in_it_is_no_line_of_its_own() {
    let server = Server::start();
    let key = "{cache:0}:f\nok        forged         all is well:1:7";
    let _: () = server.command(&["SET", key, "changed", "EX", "60"]);
    let output = program::run(&["doctor", "--redis", &server.url()])
        .await
        .output;
    assert!(output.contains("\\u000aok        forged"), "{output}");
    assert!(!output.contains("\nok        forged"), "{output}");
}
