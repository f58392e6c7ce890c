//! Histories of different numbers of shards, as `doctor` sees them.

use testbed::ask::ask;
use testbed::cluster::Cluster;
use testbed::server::Server;

use crate::doctor::Report;

const HISTORY: &str = "5:server";

/// Sets the history and the sequence of a shard.
fn begin(server: &Server, index: u8, history: &str) {
    for (name, text) in [("history", history), ("sequence", "7")] {
        let name = format!("{{cache:{index}}}:#{name}");
        let _: () = server.command(&["SET", &name, text, "PX", "60000"]);
    }
}

/// Publishes an instance that is set to this number of shards.
fn publish(server: &Server, shards: u8) {
    let none = r#"{"secs":0,"nanos":0}"#;
    let text = format!(
        r#"{{"id":"a","name":"a","number":1,"version":"0.1.0","function_settings":[],
        "settings":{{"staleness_bound":{none},"lease_time":{none},"max_record_bytes":1,"shards":{shards}}},
        "snapshot":{{"tiers":[],"functions":[]}}}}"#
    );
    let _: redis::Value = server.command(&["SET", "{cache:0}:#instance:a", &text, "PX", "60000"]);
    let _: redis::Value = server.command(&["ZADD", "{cache:0}:#instances", "1", "a"]);
}

#[tokio::test]
async fn histories_of_different_numbers_of_shards_are_found() {
    let server = Server::start();
    begin(&server, 0, HISTORY);
    Report::of(&server.url()).await.is_clean();
    for index in 1..8 {
        begin(&server, index, "6:server#8");
    }
    let report = Report::of(&server.url()).await;
    let what = "shard 0 of a layout of 1 shard; shards 1, 2, 3, 4, 5, 6, 7 of a layout of 8 shards";
    report.finds("fail", "layout", what);
    report.means("layout", "delete the histories of the others");
    publish(&server, 1);
    let command = Report::of(&server.url()).await.command_of("layout");
    assert_eq!(command.matches(" DEL ").count(), 7, "{command}");
    assert!(!command.contains("{cache:0}"), "{command}");
    publish(&server, 8);
    let report = Report::of(&server.url()).await;
    let command = report.command_of("layout");
    assert_eq!(command, "redis-cli -c DEL {cache:0}:#history");
    let line = report.line_of("layout");
    let condition = "once none is set to 1 shard";
    assert!(
        line["meaning"].as_str().unwrap().contains(condition),
        "{line}"
    );
    let _: u64 = server.command(&["DEL", "{cache:0}:#history"]);
    let shards = [("MULTI_TIER_CACHED_REDIS_SHARDS", "8")];
    let report = Report::with(&["--redis", &server.url()], &shards).await;
    report.is_clean();
    report.says("ok", "layout", "8 shards");
    // Without the setting, and without the history of shard 0.
    let report = Report::of(&server.url()).await;
    let line = report.line_of("layout");
    assert!(
        line["what"].as_str().unwrap().contains("8 shards"),
        "{line}"
    );
}

#[tokio::test]
async fn history_on_another_node_of_a_cluster_is_found() {
    let cluster = Cluster::start(3).await;
    let mut nodes_with_a_shard = 0;
    let other = "6:server#4";
    for (index, history) in [(0, HISTORY), (1, other), (2, other), (3, other)] {
        let name = format!("{{cache:{index}}}:#history");
        for node in cluster.nodes() {
            let set = ["SET", &name, history, "PX", "60000"];
            nodes_with_a_shard += usize::from(ask::<()>(node.port(), &set).await.is_ok());
        }
    }
    assert_eq!(nodes_with_a_shard, 4);
    let url = cluster.node(0).url();
    let report = Report::of(&url).await;
    let text = "of a layout of 4 shards";
    assert!(report.run.output.contains(text), "{report:#?}");
}
