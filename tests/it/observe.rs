//! The state that an instance publishes for tools, if its tier is set to publish it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::inspect::{
    Layout, PublishedFunction, PublishedInstance, Record, keys, owner_of_token,
};
use multi_tier_cached::{Function, Redis, multi_tier_cached};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use testbed::server::Server;
use testbed::{Gate, Instance, until};

const PREFIX: &str = "{shop:0}:";

#[derive(Clone, Serialize, Deserialize)]
enum Plan {
    Free,
    Paid { until: u32, seats: Option<u8> },
}

#[derive(Clone, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    plans: BTreeMap<String, Plan>,
}

fn user(id: u64) -> User {
    let paid = Plan::Paid {
        until: 2030,
        seats: None,
    };
    let plans = [("a".to_owned(), paid), ("b".to_owned(), Plan::Free)];
    User {
        id,
        name: format!("user {id}"),
        plans: plans.into(),
    }
}

#[multi_tier_cached(
    ttl(l1 = "1m", l2 = "1h"),
    name = "observed::user",
    version = 3,
    key = "{tenant}:{id}"
)]
async fn read(id: u64, tenant: &str) -> User {
    let _ = tenant;
    user(id)
}

#[multi_tier_cached(ttl = "1h", name = "observed::gated", skip(gate))]
async fn gated(gate: &Gate, _id: u64) -> u64 {
    gate.pass().await
}

fn redis(server: &Server) -> Redis {
    Redis::new(server.url()).namespace("shop")
}

/// An instance that publishes itself under this name.
async fn observed(server: &Server, name: &str) -> Instance {
    Instance::with_redis(redis(server).observe(name)).await
}

fn parsed<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A field of a hash that is published.
fn field<T: DeserializeOwned>(server: &Server, hash: &str, field: &str) -> Option<T> {
    let text: Option<String> = server.command(&["HGET", &format!("{PREFIX}{hash}"), field]);
    text.map(|text| parsed(&text))
}

/// The instances that publish.
fn instances(server: &Server) -> Vec<PublishedInstance> {
    let list = format!("{PREFIX}{}", keys::INSTANCES);
    let ids: Vec<String> = server.command(&["ZRANGE", &list, "0", "-1"]);
    let states = ids.iter().filter_map(|id| {
        let key = format!("{PREFIX}{}", keys::instance(id));
        server.command::<Option<String>>(&["GET", &key])
    });
    states.map(|state| parsed(&state)).collect()
}

/// The keys that are published for tools.
fn published(server: &Server) -> Vec<String> {
    let names = [
        keys::FUNCTIONS,
        keys::SHAPES,
        keys::INSTANCE,
        keys::INSTANCES,
    ];
    let is_published = |key: &String| names.iter().any(|name| key.contains(name));
    server.keys().into_iter().filter(is_published).collect()
}

fn published_user(server: &Server) -> Option<PublishedFunction> {
    field(server, keys::FUNCTIONS, "observed::user:3")
}

fn layout(server: &Server, fingerprint: u64) -> Option<Layout> {
    field(server, keys::SHAPES, &keys::fingerprint(fingerprint))
}

#[tokio::test]
async fn published_function_says_how_its_records_are_named_and_read() {
    let server = Server::start();
    let here = observed(&server, "shop-1").await;
    here.call(read(42, "acme")).await;
    until("the function is published with its value type", || {
        published_user(&server).is_some_and(|function| function.fingerprint.is_some())
    })
    .await;
    let function = published_user(&server).unwrap();
    assert_eq!((&*function.name, function.version), ("observed::user", 3));
    assert_eq!(function.template, "{tenant}:{id}");
    assert_eq!(function.arguments, ["tenant", "id"]);
    assert!(function.file.ends_with("observe.rs"), "{function:?}");
    let ttls: Vec<_> = function
        .tiers
        .iter()
        .map(|tier| (tier.level.name(), tier.ttl))
        .collect();
    let minute = Duration::from_secs(60);
    assert_eq!(ttls, [("l1", minute), ("l2", minute * 60)]);

    let key = format!("{PREFIX}observed::user:3:acme:42");
    let bytes: Vec<u8> = server.command(&["GET", &key]);
    let record = Record::read(&bytes).unwrap();
    assert_eq!(
        (record.version, Some(record.fingerprint)),
        (3, function.fingerprint)
    );
    until("the layout is published", || {
        layout(&server, record.fingerprint).is_some()
    })
    .await;
    let layout = layout(&server, record.fingerprint);
    let value = record.value(layout.as_ref()).unwrap();
    assert_eq!(value, serde_json::to_value(user(42)).unwrap());
}

#[tokio::test]
async fn published_instance_has_its_numbers_and_a_life() {
    let server = Server::start();
    let here = observed(&server, "shop-1").await;
    here.call(read(1, "acme")).await;
    here.call(read(1, "acme")).await;
    let loads = || {
        let instances = instances(&server);
        let functions = instances.first()?.snapshot.functions.clone();
        functions
            .into_iter()
            .find(|stats| stats.name == "observed::user")
    };
    let expected = here.stats().functions;
    let expected = expected
        .into_iter()
        .find(|stats| stats.name == "observed::user");
    assert!(expected.is_some());
    until("all calls are published", || loads() == expected).await;
    let instance = instances(&server).remove(0);
    assert_eq!((&*instance.name, instance.settings.shards), ("shop-1", 1));
    assert_eq!(
        instance.settings.staleness_bound,
        Duration::from_millis(500)
    );
    assert_eq!(instance.snapshot.tiers[0].kind, "redis");
    for key in published(&server) {
        let left: i64 = server.command(&["PTTL", &key]);
        let most = if key.contains("#instance") {
            15_000
        } else {
            86_400_000
        };
        assert!((1..=most).contains(&left), "{key}: {left}");
    }
}

#[tokio::test]
async fn instance_that_was_shut_down_no_longer_publishes() {
    let server = Server::start();
    let (here, there) = (observed(&server, "a").await, observed(&server, "b").await);
    until("both are published", || instances(&server).len() == 2).await;
    here.shutdown().await.unwrap();
    let names = || -> Vec<String> {
        let instances = instances(&server).into_iter();
        instances.map(|instance| instance.name).collect()
    };
    assert_eq!(names(), ["b"], "its state is removed at once");
    let before = instances(&server)
        .into_iter()
        .find(|instance| instance.name == "b")
        .unwrap();
    until("the other has published again", || {
        let now = instances(&server)
            .into_iter()
            .find(|instance| instance.name == "b");
        now.is_some_and(|now| now.published > before.published)
    })
    .await;
    assert_eq!(names(), ["b"]);
    drop(there);
}

#[tokio::test]
async fn everything_is_published_again_after_the_server_lost_it() {
    let server = Server::start();
    let here = observed(&server, "shop-1").await;
    here.call(read(1, "acme")).await;
    let all = || {
        let fingerprint = published_user(&server)?.fingerprint?;
        layout(&server, fingerprint)?;
        instances(&server).pop()
    };
    until("everything is published", || all().is_some()).await;
    let _: () = server.command(&["FLUSHALL"]);
    until("everything is published again", || all().is_some()).await;
}

#[tokio::test]
async fn layouts_are_published_again_after_the_server_lost_them_alone() {
    let server = Server::start();
    let here = observed(&server, "shop-1").await;
    here.call(read(1, "acme")).await;
    let published =
        || published_user(&server).and_then(|function| layout(&server, function.fingerprint?));
    until("the layout is published", || published().is_some()).await;
    let _: i64 = server.command(&["DEL", &format!("{PREFIX}{}", keys::SHAPES)]);
    until("the layout is published again", || published().is_some()).await;
}

#[tokio::test]
async fn nothing_is_published_unless_the_tier_is_set_to() {
    let server = Server::start();
    let silent = Instance::with_redis(redis(&server)).await;
    silent.call(read(1, "acme")).await;
    let loud = Redis::new(server.url()).namespace("other").observe("loud");
    let loud = Instance::with_redis(loud).await;
    loud.call(read(1, "acme")).await;
    let functions = format!("{{other:0}}:{}", keys::FUNCTIONS);
    until("the other namespace is published", || {
        published(&server).contains(&functions)
    })
    .await;
    let of_silent = published(&server)
        .into_iter()
        .find(|key| key.starts_with(PREFIX));
    assert_eq!(of_silent, None);
}

#[tokio::test]
async fn lease_names_the_instance_that_loads() {
    let server = Server::start();
    let (here, there) = (observed(&server, "a").await, observed(&server, "b").await);
    until("both are published", || instances(&server).len() == 2).await;
    let gate = Arc::new(Gate::default());
    for (instance, name, id) in [(&here, "a", 1), (&there, "b", 2)] {
        let entered = gate.entered();
        let load = instance.spawn({
            let gate = Arc::clone(&gate);
            async move { gated(&gate, id).await }
        });
        gate.until_entered(entered + 1).await;
        let lease = format!("{PREFIX}observed::gated:1:{id}#lease");
        let lease: String = server.command(&["GET", &lease]);
        let token: u64 = lease.split(':').next().unwrap().parse().unwrap();
        let owner = instances(&server)
            .into_iter()
            .find(|instance| instance.number == owner_of_token(token));
        assert_eq!(owner.unwrap().name, name);
        gate.let_through(1);
        load.await.unwrap();
    }
}

#[tokio::test]
async fn guard_is_audited_before_the_invalidation_that_ends_it() {
    let server = Server::start();
    let here = observed(&server, "shop-1").await;
    let guard = here
        .call(read::entry(7, "acme").write_guard())
        .await
        .unwrap();
    let audited = || {
        let stream = format!("{PREFIX}#stream:#invalidations");
        let entries: Vec<(String, BTreeMap<String, String>)> =
            server.command(&["XRANGE", &stream, "-", "+"]);
        let entries = entries.into_iter();
        entries
            .map(|(_, fields)| fields["what"].clone())
            .collect::<Vec<_>>()
    };
    assert!(audited().contains(&"guarded observed::user:3:acme:7".to_owned()));
    drop(guard);
    until("the end of the guard is audited", || {
        audited().contains(&"observed::user:3:acme:7".to_owned())
    })
    .await;
}

#[tokio::test]
async fn function_of_a_builder_is_published_with_its_names_as_long_as_it_exists() {
    let server = Server::start();
    let here = observed(&server, "shop-1").await;
    let function = Function::<u64>::builder("observed::built")
        .ttl(Duration::from_secs(60))
        .argument_names(&["id"])
        .build()
        .unwrap();
    here.call(function.get_or_load((1_u64,), || async { 7 }))
        .await;
    let published =
        || -> Option<PublishedFunction> { field(&server, keys::FUNCTIONS, "observed::built:1") };
    until("the function is published", || published().is_some()).await;
    assert_eq!(published().unwrap().arguments, ["id"]);

    here.call(read(1, "acme")).await;
    until("another one is published", || {
        published_user(&server).is_some()
    })
    .await;
    drop(function);
    until("the function is removed", || published().is_none()).await;
    assert!(published_user(&server).is_some());
}

#[tokio::test]
async fn missing_permission_is_named_and_the_cache_works_without_it() {
    let server = Server::start();
    let _: () = server.command(&[
        "ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-zadd",
    ]);
    let url = format!("redis://app:pw@127.0.0.1:{}", server.port());
    let redis = Redis::new(url).namespace("shop").observe("shop-1");
    let here = Instance::with_redis(redis).await;
    here.call(read(1, "acme")).await;
    server.until_records(1).await;
    let health = here.health().await;
    assert!(health.is_well(), "{health}");
    assert!(health.to_string().contains("`observe`"), "{health}");
}
