//! A Redis server of a test's own, on a Unix socket.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command as Program, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cache_core::tier::{FunctionKey, LeaseMode, RecordKey, Shard};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, PushInfo, PushKind, Value};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

use super::attach::{self, Attach, Attached};
use super::command::Command;
use super::lease::{Reply, TakeLease};
use crate::keys::Keys;
use crate::server::Identity;

/// The time limit of each step. A step takes milliseconds, on a machine that does nothing else.
const LIMIT: Duration = Duration::from_secs(20);

/// A server that ends when it is dropped, with a connection for commands and one for the channel.
pub(crate) struct TestServer {
    process: Process,
    pub(crate) connection: MultiplexedConnection,
    pub(crate) keys: Arc<Keys>,
    channel: MultiplexedConnection,
    pushes: UnboundedReceiver<PushInfo>,
}

/// The process and its directory, which are removed when this is dropped.
struct Process {
    child: Child,
    directory: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cache-redis-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).expect("a directory for the server");
        let binary = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".into());
        let child = Program::new(&binary)
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--unixsocket", "socket", "--dir"])
            .arg(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{binary} cannot be run ({error}); install redis-server")
            });
        let process = Process { child, directory };
        let keys = Arc::new(Keys::new("test", Shard::ONLY, 0));
        let (sender, pushes) = unbounded_channel();
        let plain = AsyncConnectionConfig::new().set_response_timeout(Some(LIMIT));
        let connection = process.connect(plain.clone()).await;
        let mut channel = process.connect(plain.set_push_sender(sender)).await;
        redis::cmd("SSUBSCRIBE")
            .arg(keys.channel())
            .exec_async(&mut channel)
            .await
            .expect("a subscription");
        Self {
            process,
            connection,
            keys,
            channel,
            pushes,
        }
    }

    /// The path of its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.process.socket()
    }

    /// Runs a command of this crate.
    pub(crate) async fn send<C: Command>(&mut self, command: C) -> C::Reply {
        let reply = super::send(&mut self.connection, &self.keys, command).await;
        reply.expect("a reply")
    }

    /// Runs a command of the server.
    pub(crate) async fn ask<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut command = Cmd::new();
        command.arg(words);
        let reply = command.query_async(&mut self.connection).await;
        reply.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The text under a key; empty if there is none.
    pub(crate) async fn text(&mut self, name: &str) -> String {
        self.ask(&["GETRANGE", name, "0", "-1"]).await
    }

    /// The messages that were published since the last call, without their numbers.
    pub(crate) async fn messages(&mut self) -> Vec<String> {
        // The reply arrives behind all messages that the server published before.
        let ping = redis::cmd("PING").exec_async(&mut self.channel).await;
        ping.expect("a reply on the channel's connection");
        let mut messages = Vec::new();
        while let Ok(push) = self.pushes.try_recv() {
            if let (PushKind::SMessage, Some(Value::BulkString(text))) =
                (push.kind, push.data.last())
            {
                let text = String::from_utf8_lossy(text);
                let (_, message) = text.split_once(':').expect("a numbered message");
                messages.push(message.to_owned());
            }
        }
        messages
    }

    /// Begins [`HISTORY`].
    pub(crate) async fn attach(&mut self) -> Attached {
        let reply = self
            .send(Attach {
                identity: &Identity::named("server"),
                fresh_history: HISTORY,
                last_message: 0,
                may_begin: true,
            })
            .await;
        self.messages().await;
        match reply {
            attach::Reply::Attached(attached) => attached,
            reply => panic!("not attached: {reply:?}"),
        }
    }
}

/// The history that [`TestServer::lease`] asks under.
pub(crate) const HISTORY: u64 = 5;

/// The epoch that a function gets by [`TestServer::lease`] if it has none.
pub(crate) const EPOCH: u64 = 11;

/// A minute.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

impl TestServer {
    /// Asks for the exclusive lease on a key, for a minute.
    pub(crate) async fn lease(&mut self, key: &RecordKey, token: u64) -> Reply {
        self.send(take_lease(key, token)).await
    }
}

/// A request for the exclusive lease on a key, for a minute.
pub(crate) fn take_lease(key: &RecordKey, token: u64) -> TakeLease<'_> {
    TakeLease {
        key,
        mode: LeaseMode::Exclusive,
        token,
        life: MINUTE,
        fresh_epoch: EPOCH,
        history: HISTORY,
        expected_header: b"",
        known_epoch: None,
        last_message: 0,
        fresh_base: None,
    }
}

impl Process {
    fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    async fn connect(&self, config: AsyncConnectionConfig) -> MultiplexedConnection {
        let socket = self.socket();
        let url = format!("redis+unix://{}?protocol=resp3", socket.display());
        let client = Client::open(url).expect("a URL");
        let connecting = async {
            loop {
                let config = config.clone();
                match client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await
                {
                    Ok(connection) => return connection,
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(LIMIT, connecting)
            .await
            .expect("a server that starts")
    }
}

/// The key of a function `f` with these arguments, and 7 as its digest.
pub(crate) fn key(arguments: &str) -> RecordKey {
    RecordKey::new(Arc::new(FunctionKey::new("f", 1)), arguments.into(), 7)
}
