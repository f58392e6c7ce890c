//! An instance with values, and the program that looks at it.

use std::collections::BTreeMap;

use multi_tier_cached::{Redis, multi_tier_cached};
use serde::{Deserialize, Serialize};
use testbed::server::Server;
use testbed::{Gate, Instance, until};

use crate::program::{self, Run};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: u64,
    name: String,
    balance: f64,
    addresses: Vec<Address>,
    plan: Plan,
    limits: BTreeMap<String, Option<i32>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Address {
    city: String,
    zip: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Plan {
    Free,
    Paid { cents: i64 },
    Team(String, u8),
}

/// The value of `user`.
pub(crate) fn user_of(id: u64) -> User {
    let address = |city: &str, zip| Address {
        city: city.to_owned(),
        zip,
    };
    User {
        id,
        name: format!("Zoë \u{1b}[2J\u{9b}{id}"),
        balance: -0.5,
        addresses: vec![address("Køln", None), address("Bern", Some(3000))],
        plan: match id % 3 {
            0 => Plan::Free,
            1 => Plan::Paid { cents: -7 },
            _ => Plan::Team("a".to_owned(), 5),
        },
        limits: BTreeMap::from([("calls".to_owned(), Some(-3)), ("none".to_owned(), None)]),
    }
}

#[multi_tier_cached(ttl = "1h", name = "cli::user")]
pub(crate) async fn user(id: u64) -> User {
    user_of(id)
}

#[multi_tier_cached(ttl = "1h", name = "cli::score")]
pub(crate) async fn score(game: i32, player: &str) -> u64 {
    u64::from(game.unsigned_abs()) * player.len() as u64
}

#[multi_tier_cached(ttl = "1h", name = "cli::page", tags = ["page:{id}"])]
pub(crate) async fn page(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "1h", name = "cli::offer", stale_while_revalidate = "1h")]
pub(crate) async fn offer(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "1h", name = "cli::gated", skip(gate))]
pub(crate) async fn gated(gate: &Gate, _key: u64) -> u64 {
    gate.pass().await
}

/// A server, and an instance that publishes itself under the name `shop-1`.
pub(crate) struct Shop {
    pub(crate) server: Server,
    pub(crate) instance: Instance,
}

impl Shop {
    /// Starts both, without values.
    pub(crate) async fn open() -> Self {
        let server = Server::start();
        let instance = Instance::with_redis(Redis::new(server.url()).observe("shop-1")).await;
        instance.until_coherent().await;
        Self { server, instance }
    }

    /// Calls `user` with these ids, and waits for the records.
    pub(crate) async fn with_users(ids: &[u64]) -> Self {
        let shop = Self::open().await;
        for id in ids {
            shop.instance.call(user(*id)).await;
        }
        shop.server.until_records(ids.len()).await;
        shop
    }

    /// Waits until the layouts of the values that were stored are published.
    pub(crate) async fn until_published(&self) {
        let is_there = |name: &str| self.server.keys().iter().any(|key| key == name);
        until("layouts are published", || is_there("{cache:0}:#shapes")).await;
    }

    /// Runs the program to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Run {
        let url = self.server.url();
        program::run(&[arguments, &["--redis", &url]].concat()).await
    }

    /// The name of the record of a user.
    pub(crate) fn record(id: u64) -> String {
        format!("{{cache:0}}:cli::user:1:{id}")
    }
}
