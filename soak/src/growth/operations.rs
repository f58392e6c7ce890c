//! The cost of each kind of operation for a server: commands by name, bytes, and time.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use multi_tier_cached::{Redis, invalidate, multi_tier_cached};
use testbed::Instance;
use testbed::server::Server;
use tokio::time::{Instant, sleep};

use super::usage::{Usage, info, usage};

/// Number of operations of each kind.
const OPERATIONS: u64 = 2_000;

/// Number of keys that are called again and again.
const KEYS: u64 = 500;

/// Bytes of a value.
const VALUE: usize = 200;

/// Time after which the last fills have been stored, and the last messages sent.
const LAST: Duration = Duration::from_millis(200);

/// Has memory.
#[multi_tier_cached(ttl = "1h", name = "soak::growth_near")]
async fn near(_key: u64) -> Vec<u8> {
    vec![7; VALUE]
}

/// Has no memory, so every call goes to the server.
#[multi_tier_cached(ttl = "1h", tiers = "l2", name = "soak::growth_far")]
async fn far(_key: u64) -> Vec<u8> {
    vec![7; VALUE]
}

#[multi_tier_cached(ttl = "1h", name = "soak::growth_strong", consistency = "strong")]
async fn strong(_key: u64) -> Vec<u8> {
    vec![7; VALUE]
}

/// The cost of one operation of a kind.
#[derive(Clone, Debug)]
pub struct Cost {
    /// The kind.
    pub operation: &'static str,
    /// Commands, bytes and time.
    pub usage: Usage,
    /// Calls of each command, by clients and by scripts.
    pub calls: BTreeMap<String, f64>,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:30} | {:11.0} {:7.0} {:8.1} |",
            self.operation,
            self.usage.received,
            self.usage.sent,
            self.usage.cpu * 1e6
        )?;
        // Less is noise of the barriers.
        for (command, calls) in self.calls.iter().filter(|(_, calls)| **calls >= 0.05) {
            write!(f, " {command} {calls:.1}")?;
        }
        Ok(())
    }
}

/// Usage and calls of a server since its start.
struct Counted {
    usage: Usage,
    calls: BTreeMap<String, f64>,
}

async fn counted(server: &Server) -> io::Result<Counted> {
    let info = info(server).await?;
    let calls = info.lines().filter_map(|line| {
        let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let (calls, _) = figures.split_once(',')?;
        Some((name.to_owned(), calls.parse().ok()?))
    });
    Ok(Counted {
        usage: usage(&info),
        calls: calls.collect(),
    })
}

/// Counts what each kind of operation costs, on a server of its own.
///
/// # Errors
/// The server does not reply.
pub(super) async fn costs(binary: &str) -> io::Result<Vec<Cost>> {
    let server = Server::start_binary(binary, &[]);
    let instance = Instance::with_redis(Redis::new(server.url())).await;
    instance.until_coherent().await;
    for key in 0..KEYS {
        instance.call(near(key)).await;
        instance.call(far(key)).await;
        instance.call(strong(key)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let (before, began) = (counted(&server).await?, Instant::now());
    sleep(Duration::from_secs(3)).await;
    let idle = between(&before, &counted(&server).await?, began.elapsed(), None);
    let meter = Meter {
        server: &server,
        idle,
    };
    Ok(vec![
        meter
            .count("hit in memory", async |number| {
                instance.call(near(number % KEYS)).await;
            })
            .await?,
        meter
            .count("hit in Redis", async |number| {
                instance.call(far(number % KEYS)).await;
            })
            .await?,
        meter
            .count("strong call, value in memory", async |number| {
                instance.call(strong(number % KEYS)).await;
            })
            .await?,
        meter
            .count("miss, with lease and fill", async |number| {
                instance.call(near(KEYS + number)).await;
            })
            .await?,
        meter
            .count("invalidation of a key", async |number| {
                instance.invalidate(invalidate!(near, KEYS + number)).await;
            })
            .await?,
    ])
}

/// Counts operations, without what an idle instance sends besides.
struct Meter<'s> {
    server: &'s Server,
    /// The work of a server in each second without a call.
    idle: Counted,
}

impl Meter<'_> {
    async fn count(
        &self,
        operation: &'static str,
        mut run: impl AsyncFnMut(u64),
    ) -> io::Result<Cost> {
        let (before, began) = (counted(self.server).await?, Instant::now());
        for number in 0..OPERATIONS {
            run(number).await;
        }
        sleep(LAST).await;
        let (after, lasted) = (counted(self.server).await?, began.elapsed());
        let Counted { usage, calls } = between(&before, &after, lasted, Some(&self.idle));
        let number = OPERATIONS as f64;
        let calls = calls.into_iter();
        Ok(Cost {
            operation,
            usage: usage.times(lasted.as_secs_f64()).per(number),
            calls: calls
                .map(|(name, calls)| (name, calls * lasted.as_secs_f64() / number))
                .collect(),
        })
    }
}

/// Returns what a server did in each second of `lasted`, less what it does `idle`.
fn between(before: &Counted, after: &Counted, lasted: Duration, idle: Option<&Counted>) -> Counted {
    let seconds = lasted.as_secs_f64();
    let mut usage = (after.usage - before.usage).per(seconds);
    let mut calls = after.calls.clone();
    for (name, calls) in &mut calls {
        let earlier = before.calls.get(name).copied().unwrap_or_default();
        let idle = idle.and_then(|idle| idle.calls.get(name)).copied();
        *calls = (*calls - earlier) / seconds - idle.unwrap_or_default();
    }
    if let Some(idle) = idle {
        usage = usage - idle.usage;
    }
    Counted { usage, calls }
}
