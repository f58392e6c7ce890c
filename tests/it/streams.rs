//! Streams of an application, on the same server as the cache.

mod audit;
mod connections;
mod groups;
mod reads;

use std::time::Duration;

use multi_tier_cached::stream::{StreamEntry, StreamLog};
use multi_tier_cached::{Redis, Streams};
use testbed::server::Server;
use testbed::until;

/// A read that returns at once if there is no entry.
const NO_WAIT: Duration = Duration::ZERO;

/// Key of the stream `orders`.
const ORDERS: &str = "{shop:0}:#stream:orders";

fn redis(server: &Server) -> Redis {
    Redis::new(server.url()).namespace("shop")
}

fn streams(server: &Server) -> Streams {
    redis(server).streams().unwrap()
}

/// Publishes an entry with a text and with bytes that are not UTF-8, and returns its id.
async fn publish(streams: &Streams, text: &str) -> String {
    let fields: [(&str, &[u8]); 2] = [("text", text.as_bytes()), ("raw", &[0, 255, 10])];
    streams.publish("orders", &fields, None).await.unwrap()
}

/// Texts of entries that [`publish`] made.
fn texts(entries: &[StreamEntry]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| std::str::from_utf8(entry.field("text").unwrap()).unwrap())
        .collect()
}

/// Clients that wait in a blocking command, as `CLIENT LIST` describes them.
fn blocked_clients(server: &Server) -> Vec<String> {
    let clients: String = server.command(&["CLIENT", "LIST"]);
    let blocked = clients.lines().filter(|client| client.contains("flags=b"));
    blocked.map(str::to_owned).collect()
}

async fn until_blocked(server: &Server, reads: usize) {
    until("the reads wait at the server", || {
        blocked_clients(server).len() == reads
    })
    .await;
}
