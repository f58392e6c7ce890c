//! Lines of `doctor` about instances whose functions have other settings.

use std::time::Duration;

use multi_tier_cached::inspect::{PublishedInstance, keys};
use multi_tier_cached::{CacheRuntime, Memory, Redis, RuntimeBuilder, multi_tier_cached};
use redis::Value;
use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{Instance, until};

use crate::data::{Shop, user};
use crate::doctor::Report;

#[multi_tier_cached(policy = "short", name = "cli::price")]
async fn price(id: u64) -> u64 {
    id
}

/// The settings of an instance that publishes itself under this name.
fn named(server: &Server, name: &str) -> RuntimeBuilder {
    let redis = Redis::new(server.url()).observe(name);
    CacheRuntime::builder().l1(Memory::builder()).l2(redis)
}

/// Runs `doctor` when both instances have called the functions and publish their settings.
async fn report_of(server: &Server, builders: [RuntimeBuilder; 2]) -> Report {
    let mut instances = Vec::new();
    for builder in builders {
        let instance = Instance::build(builder).await;
        instance.until_coherent().await;
        instance.call(user(1)).await;
        instance.call(price(1)).await;
        instances.push(instance);
    }
    until("both instances publish their functions", || {
        published(server).iter().filter(|of| of.len() == 2).count() == 2
    })
    .await;
    Report::of(&server.url()).await
}

/// The functions of each instance whose settings are published.
fn published(server: &Server) -> Vec<Vec<String>> {
    let names = server.keys().into_iter();
    let names = names.filter(|name| name.contains(keys::INSTANCE));
    let functions = names.filter_map(|name| {
        let text: Option<String> = server.command(&["GET", &name]);
        let instance: PublishedInstance = serde_json::from_str(&text?).unwrap();
        let settings = instance.function_settings.unwrap().into_iter();
        Some(settings.flat_map(|settings| settings.functions).collect())
    });
    functions.collect()
}

#[tokio::test]
async fn instances_with_equal_settings_agree() {
    let server = Server::start();
    let both = ["shop-1", "shop-2"].map(|name| named(&server, name));
    let report = report_of(&server, both).await;
    report.is_clean();
    let agreed = "2 instances agree on 2 functions";
    assert!(report.run.output.contains(agreed), "{report:#?}");
}

#[tokio::test]
async fn override_of_one_instance_is_found() {
    let server = Server::start();
    let directory = Directory::new("overrides");
    let file = directory.path().join("functions.toml");
    let overrides = "[functions.\"cli::user\"]\nttl = { l1 = \"1h\", l2 = \"90s\" }\n";
    std::fs::write(&file, overrides).unwrap();
    let both = [
        named(&server, "shop-1"),
        named(&server, "shop-2").functions_file(&file),
    ];
    let report = report_of(&server, both).await;
    let line = "cli::user:1: ttl of l2 1h (shop-1), 90s (shop-2); overridden by ";
    report.finds("warn", "functions", line);
    report.means("functions", "set the same overrides");
}

/// The two programs differ, as during a deploy.
#[tokio::test]
async fn other_policy_of_one_instance_is_found() {
    let server = Server::start();
    let both = [
        named(&server, "shop-1"),
        named(&server, "shop-2").policy("short", Duration::from_secs(60)),
    ];
    let report = report_of(&server, both).await;
    let line = "cli::price:1: ttl of l1 1m (shop-2), 5m (shop-1); \
                ttl of l2 1m (shop-2), 5m (shop-1)";
    report.finds("warn", "functions", line);
    report.means("functions", "finish the deploy");
}

/// Publishes an instance of another version, which has published `age` milliseconds ago.
fn publish_other(server: &Server, age: u64) {
    let time: Vec<u64> = server.command(&["TIME"]);
    let now = time[0] * 1_000 + time[1] / 1_000;
    let text = format!(
        "{{\"id\":\"other\",\"name\":\"other\",\"number\":1,\"version\":\"0.0.9\",\"published\":{},\
         \"period\":{{\"secs\":5,\"nanos\":0}},\"snapshot\":{{\"tiers\":[],\"functions\":[]}}}}",
        now - age
    );
    let key = "{cache:0}:#instance:other";
    let _: Value = server.command(&["SET", key, &text, "PX", "60000"]);
    let list = ["ZADD", "{cache:0}:#instances", &now.to_string(), "other"];
    let _: Value = server.command(&list);
}

#[tokio::test]
async fn instance_that_no_longer_publishes_is_not_compared() {
    let shop = Shop::with_users(&[1]).await;
    shop.until_published().await;
    let url = shop.server.url();
    publish_other(&shop.server, 1_000);
    let report = Report::of(&url).await;
    report.says("warn", "versions", "0.0.9 (other)");
    publish_other(&shop.server, 7_000);
    Report::of(&url).await.is_clean();
}

#[tokio::test]
async fn instance_that_was_shut_down_is_no_longer_published() {
    let shop = Shop::with_users(&[1]).await;
    shop.until_published().await;
    let is_published = || {
        let keys = shop.server.keys();
        keys.iter().any(|key| key.contains(keys::INSTANCE))
    };
    assert!(is_published());
    shop.instance.runtime.shutdown().await.unwrap();
    assert!(!is_published());
}

/// Its field stays in the hash while any instance publishes.
#[tokio::test]
async fn function_that_no_instance_has_is_not_reported() {
    let shop = Shop::with_users(&[1]).await;
    shop.until_published().await;
    let field = |name: &str, function: &str| {
        let text = format!("{{\"name\":\"{name}\",\"version\":1,\"problem\":\"no tier l9\"}}");
        let _: Value = shop
            .server
            .command(&["HSET", "{cache:0}:#functions", function, &text]);
    };
    field("cli::gone", "cli::gone:1");
    let url = shop.server.url();
    Report::of(&url).await.is_clean();
    field("cli::user", "cli::user:1");
    let report = Report::of(&url).await;
    report.finds("warn", "functions", "cli::user:1: no tier l9");
}
