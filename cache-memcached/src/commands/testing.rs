//! A memcached server of a test's own.

use std::net::TcpListener;
use std::process::{Child, Command as Program, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_memcached::{Client, MetaProtocol as _};
use cache_core::tier::kit::{OwnedTarget, Placement};
use cache_core::tier::{FillResult, FunctionKey, LeaseMode, RecordKey};
use tokio::time::{sleep, timeout};

use super::command::Command;
use super::fill::StoreRecord;
use super::granted::GrantedLease;
use super::guard::PlaceGuard;
use super::invalidate::Invalidate;
use super::items;
use super::lease::{Reply, TakeLease};
use super::log::{Effect, Message, ReadLog};
use super::release::{Release, ReleaseReason};
use crate::item::Item;
use crate::keys::Keys;

/// The time limit of each step. A step takes milliseconds, on a machine that does nothing else.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// The function of all keys.
fn function() -> FunctionKey {
    FunctionKey::new("f", 1)
}

/// A key of the function.
pub(super) fn key(arguments: &str) -> RecordKey {
    RecordKey::new(Arc::new(function()), arguments.to_owned(), 7)
}

/// A server that ends when it is dropped, with a connection to it.
pub(super) struct TestServer {
    process: Process,
    client: Client,
    pub(super) keys: Keys,
}

struct Process {
    child: Child,
    port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a server and connects to it; `None` if another process took its port.
    async fn start(arguments: &[&str]) -> Option<(Self, Client)> {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let child = Program::new("memcached")
            .args(["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0"])
            .args(["-m", "16", "-t", "1", "-u", "nobody"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("memcached cannot be run ({error}); install memcached"));
        let mut process = Self { child, port };
        let connected = async {
            loop {
                if let Ok(mut client) = process.connect().await
                    && process.is_behind(&mut client).await
                {
                    return Some(client);
                }
                if !matches!(process.child.try_wait(), Ok(None)) {
                    return None;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let client = timeout(LIMIT, connected).await;
        let client = client.expect("the server accepts connections")?;
        Some((process, client))
    }

    /// Returns `true` if a connection leads to this server, and not to one of another test that
    /// took the port.
    async fn is_behind(&self, client: &mut Client) -> bool {
        let stats = client.stats().await;
        let pid = stats.ok().and_then(|stats| stats.get("pid").cloned());
        pid == Some(self.child.id().to_string())
    }

    async fn connect(&self) -> Result<Client, async_memcached::Error> {
        Client::new(format!("tcp://127.0.0.1:{}", self.port)).await
    }
}

impl TestServer {
    pub(super) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(super) async fn start_with(arguments: &[&str]) -> Self {
        for _ in 0..5 {
            if let Some((process, client)) = Process::start(arguments).await {
                return Self {
                    process,
                    client,
                    keys: Keys::new("test"),
                };
            }
        }
        panic!("memcached does not start");
    }

    /// Replaces the connection by another one.
    pub(super) async fn connect_again(&mut self) {
        self.client = self.process.connect().await.expect("a connection");
    }

    /// Runs a command of this crate.
    pub(super) async fn send<C: Command>(&mut self, command: C) -> C::Reply {
        let reply = timeout(LIMIT, command.run(&mut self.client)).await;
        let reply = reply.unwrap_or_else(|_| panic!("{}: no reply within {LIMIT:?}", C::NAME));
        reply.unwrap_or_else(|error| panic!("{}: {error}", C::NAME))
    }

    /// Takes an exclusive lease, which must be granted.
    pub(super) async fn lease(&mut self, key: &RecordKey) -> GrantedLease {
        let take = TakeLease {
            names: self.keys.names(key),
            mode: LeaseMode::Exclusive,
            expected_header: Vec::new(),
            life: MINUTE,
        };
        match self.send(take).await {
            Reply::Granted(lease) => lease,
            other => panic!("the lease was not granted: {other:?}"),
        }
    }

    pub(super) async fn store(&mut self, lease: GrantedLease, record: &[u8]) -> FillResult {
        let record = record.to_vec();
        let life = MINUTE;
        self.send(StoreRecord {
            lease,
            record,
            life,
        })
        .await
    }

    pub(super) async fn release(&mut self, lease: &GrantedLease, reason: ReleaseReason) {
        let lease = lease.clone();
        self.send(Release { lease, reason }).await;
    }

    pub(super) async fn guard(&mut self, key: &RecordKey, number: u64) -> Placement {
        let keys = self.keys.clone();
        let key = key.clone();
        let life = MINUTE;
        self.send(PlaceGuard {
            keys,
            key,
            number,
            life,
        })
        .await
    }

    pub(super) async fn invalidate(&mut self, target: OwnedTarget) {
        let keys = self.keys.clone();
        let effect = Effect::Invalidated;
        let invalidate = Invalidate {
            keys,
            target,
            effect,
        };
        self.send(invalidate).await;
    }

    pub(super) async fn invalidate_key(&mut self, key: &RecordKey) {
        self.invalidate(OwnedTarget::Key(key.clone())).await;
    }

    /// Invalidates the function of all keys.
    pub(super) async fn invalidate_function(&mut self) {
        self.invalidate(OwnedTarget::Function(function())).await;
    }

    /// The number of the last message of the log.
    pub(super) async fn last_message(&mut self) -> u64 {
        let keys = self.keys.clone();
        self.send(ReadLog { keys, last: None }).await.last
    }

    /// The messages of the log after this number.
    pub(super) async fn messages_since(&mut self, last: u64) -> Option<Vec<Message>> {
        let keys = self.keys.clone();
        let last = Some(last);
        self.send(ReadLog { keys, last }).await.messages
    }

    /// The item under a name.
    pub(super) async fn item(&mut self, name: &str) -> Option<Item> {
        let item = items::get(&mut self.client, name).await;
        item.expect("a reply")
    }

    /// The number of seconds until an item expires.
    pub(super) async fn seconds_left(&mut self, name: &str) -> i64 {
        let found = self.client.meta_get(name, false, None, Some(&["t"])).await;
        let item = found.expect("a reply").expect("an item");
        item.ttl_remaining.expect("the time that is left")
    }

    /// Writes an item that is not of this cache.
    pub(super) async fn set_foreign(&mut self, name: &str, text: &str) {
        let set = self.client.meta_set(name, text, false, None, None).await;
        set.expect("a reply");
    }

    pub(super) async fn delete(&mut self, name: &str) {
        let deleted = items::delete(&mut self.client, name).await;
        deleted.expect("a reply");
    }
}
