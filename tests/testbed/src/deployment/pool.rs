//! Servers that take seconds to start, used by one test after another.

use std::fmt::{self, Debug};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::ask::ask;
use crate::server::Server;

/// Servers that a test can use after another test.
pub(super) trait Reusable: Debug + Sized + Send + 'static {
    /// Starts servers without data.
    async fn start() -> Self;

    /// All servers with data.
    fn servers(&self) -> &[Server];

    /// Waits until they can be used.
    async fn until_ready(&self);
}

/// Servers that no test uses now. They end when no test uses others of their kind, so that none is
/// left when the process ends.
#[derive(Debug)]
pub(super) struct Pool<T> {
    idle: Vec<T>,
    used: usize,
}

impl<T> Pool<T> {
    pub(super) const fn new() -> Self {
        Self {
            idle: Vec::new(),
            used: 0,
        }
    }
}

/// Servers that one test uses. They return to their pool when this value is dropped.
pub(super) struct Pooled<T: Reusable> {
    servers: Option<T>,
    pool: &'static Mutex<Pool<T>>,
}

impl<T: Reusable> Pooled<T> {
    /// Takes servers from the pool, or starts some.
    pub(super) async fn take(pool: &'static Mutex<Pool<T>>) -> Self {
        let idle = {
            let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
            pool.used += 1;
            pool.idle.pop()
        };
        let mut taken = Self {
            servers: None,
            pool,
        };
        taken.servers = Some(match idle {
            Some(servers) if empty(&servers).await => servers,
            _ => T::start().await,
        });
        let servers: &T = &taken;
        servers.until_ready().await;
        taken
    }
}

/// Removes what another test has left on the servers. Returns `false` if one does not run.
async fn empty<T: Reusable>(servers: &T) -> bool {
    for server in servers.servers() {
        server.watch();
        // What a test has saved must not return with a restart.
        let _ = std::fs::remove_file(server.directory().join("dump.rdb"));
        let permit = ["ACL", "SETUSER", "default", "+@all"];
        let stats = ["CONFIG", "RESETSTAT"];
        for command in [&permit[..], &stats] {
            if ask::<String>(server.port(), command).await.is_err() {
                return false;
            }
        }
        // A replica refuses this.
        let _ = ask::<String>(server.port(), &["FLUSHALL"]).await;
    }
    true
}

impl<T: Reusable> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.servers.as_ref().expect("servers until the drop")
    }
}

impl<T: Reusable> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.servers.as_mut().expect("servers until the drop")
    }
}

impl<T: Reusable> Debug for Pooled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.servers.fmt(f)
    }
}

impl<T: Reusable> Drop for Pooled<T> {
    fn drop(&mut self) {
        let servers = self.servers.take();
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.used -= 1;
        // A test that fails may leave anything behind.
        let can_be_used = !std::thread::panicking();
        let is_up = |servers: &T| servers.servers().iter().all(Server::is_up);
        if let Some(servers) = servers.filter(|servers| can_be_used && is_up(servers)) {
            pool.idle.push(servers);
        }
        if pool.used == 0 {
            pool.idle.clear();
        }
    }
}
