//! Servers as the docs ask for them, on which `doctor` finds nothing.

use std::path::Path;

use multi_tier_cached::{Redis, multi_tier_cached};
use testbed::cluster::{self, Cluster};
use testbed::sentinel::{PRIMARY, Sentinels};
use testbed::server::Server;
use testbed::{Instance, until};

use crate::doctor::Report;

#[multi_tier_cached(ttl = "1h", name = "cli::clean")]
async fn value(key: u64) -> u64 {
    key
}

/// The program of Valkey, which `scripts/servers.sh` installs.
fn valkey() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/valkey/valkey-server");
    assert!(
        path.exists(),
        "there is no {}; run scripts/servers.sh",
        path.display()
    );
    path.display().to_string()
}

/// An instance with some records, whose tier is connected.
async fn instance(redis: Redis) -> Instance {
    let instance = Instance::with_redis(redis).await;
    instance.until_coherent().await;
    for key in 0..10 {
        instance.call(value(key)).await;
    }
    instance
}

/// The check without an answer if no instance publishes itself.
const NOT_PUBLISHED: [&str; 1] = ["settings"];

#[tokio::test]
async fn doctor_finds_nothing_on_redis_and_on_valkey() {
    for server in [Server::start(), Server::start_binary(&valkey(), &[])] {
        let _instance = instance(Redis::new(server.url()).observe("shop-1")).await;
        server.until_records(10).await;
        until("the instance publishes itself", || {
            server.keys().contains(&"{cache:0}:#instances".to_owned())
        })
        .await;
        let report = Report::of(&server.url()).await;
        report.is_clean();
        assert_eq!(report.checks("not known"), [""; 0], "{report:#?}");
        let by_socket = Report::of(&server.socket_url()).await;
        by_socket.is_clean();
    }
}

#[tokio::test]
async fn doctor_finds_nothing_on_a_cluster_and_a_setting_that_stops_it() {
    for binary in [testbed::server::program(), valkey()] {
        let mut options = cluster::Options::new(3);
        options.binary = binary;
        let arguments = [
            "--cluster-require-full-coverage",
            "no",
            "--min-replicas-to-write",
            "1",
        ];
        options.arguments = arguments.map(str::to_owned).to_vec();
        let cluster = Cluster::start_with(&options).await;
        let _instance = instance(Redis::cluster(cluster.urls()).shards(4)).await;
        let seeds = cluster.urls().join(",");
        let report = Report::with(&["--cluster", &seeds], &[]).await;
        report.is_clean();
        assert_eq!(report.checks("not known"), NOT_PUBLISHED, "{report:#?}");
        assert!(report.run.output.contains("cache, shard 3"), "{report:#?}");

        for node in cluster.nodes() {
            let _: () = node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "yes"]);
        }
        let report = Report::with(&["--cluster", &seeds], &[]).await;
        assert_eq!(report.checks("warn"), ["coverage"], "{report:#?}");
    }
}

/// The URL of any node leads to the node of the only shard.
#[tokio::test]
async fn any_node_of_a_cluster_leads_to_the_node_of_a_namespace_with_one_shard() {
    let cluster = Cluster::start(3).await;
    let _instance = instance(Redis::new(cluster.node(0).url())).await;
    let owner = cluster.primary_of("{cache:0}").await;
    let address = format!("127.0.0.1:{}", cluster.node(owner).port());
    for node in 0..3 {
        let report = Report::of(&cluster.node(node).url()).await;
        let place = format!("shard 0 at {address}");
        assert!(report.run.output.contains(&place), "{node}: {report:#?}");
    }
}

#[tokio::test]
async fn doctor_finds_nothing_behind_sentinels() {
    let mut options = testbed::sentinel::Options::new();
    options.arguments = ["--min-replicas-to-write", "1"].map(str::to_owned).to_vec();
    for binary in [testbed::server::program(), valkey()] {
        options.binary = binary;
        let sentinels = Sentinels::start_with(&options).await;
        let _instance = instance(Redis::sentinel(sentinels.addresses(), PRIMARY)).await;
        let addresses = sentinels.addresses().join(",");
        let options = ["--sentinels", &addresses, "--sentinel-master", PRIMARY];
        let report = Report::with(&options, &[]).await;
        report.is_clean();
        assert_eq!(report.checks("not known"), NOT_PUBLISHED, "{report:#?}");
    }
}
