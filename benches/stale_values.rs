//! Callers of a hot key at the end of each ttl, and while its source is down: our crate beside
//! `cached` and moka, in one process.
//!
//! `cargo bench -p benches --bench stale_values` prints the tables of `docs/performance.md`. The
//! ttl is 200 ms, and the body takes 50 ms. Engines read clocks of their own, so the time is real.
//!
//! The program fails if a call of ours with a window fails, or waits for a load.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cached::CloneCached;
use cached::claim::ClaimRegistry;
use cached::macros::cached;
use multi_tier_cached::{CacheRuntime, Memory, multi_tier_cached};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const TTL: Duration = Duration::from_millis(200);
const LOAD: Duration = Duration::from_millis(50);

/// Wait from which on a call is counted as one that waited for a load.
const LONG_WAIT: Duration = Duration::from_millis(25);

/// The hot key.
const KEY: u64 = 1;

/// Callers, each of which pauses between two calls.
const CALLERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(2);

const UP: Duration = Duration::from_secs(5);
const DOWN: Duration = Duration::from_secs(5);

static IS_DOWN: AtomicBool = AtomicBool::new(false);
static BODIES: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Debug)]
struct SourceDown;

/// The value is the time at which it was loaded.
async fn body() -> Result<Instant, SourceDown> {
    BODIES.fetch_add(1, Ordering::Relaxed);
    let is_down = IS_DOWN.load(Ordering::Relaxed);
    sleep(LOAD).await;
    match is_down {
        true => Err(SourceDown),
        false => Ok(Instant::now()),
    }
}

mod ours {
    use super::{Instant, SourceDown, body, multi_tier_cached};

    #[multi_tier_cached(ttl = "200ms", tiers = "l1")]
    pub(crate) async fn plain(_key: u64) -> Result<Instant, SourceDown> {
        body().await
    }

    #[multi_tier_cached(
        ttl = "200ms",
        tiers = "l1",
        stale_while_revalidate = "1h",
        stale_if_error = "1h"
    )]
    pub(crate) async fn revalidated(_key: u64) -> Result<Instant, SourceDown> {
        body().await
    }

    #[multi_tier_cached(
        ttl = "200ms",
        tiers = "l1",
        refresh_ahead,
        stale_while_revalidate = "1h",
        stale_if_error = "1h"
    )]
    pub(crate) async fn ahead(_key: u64) -> Result<Instant, SourceDown> {
        body().await
    }
}

// The macro recognizes a `Result` by this literal name only.
#[cached(max_size = 1_000, ttl_millis = 200, sync_writes = "by_key")]
async fn cached_by_key(_key: u64) -> Result<Instant, SourceDown> {
    body().await
}

#[cached(max_size = 1_000, ttl_millis = 200, result_fallback = true)]
async fn cached_fallback(_key: u64) -> Result<Instant, SourceDown> {
    body().await
}

#[cached(max_size = 1_000, ttl_millis = 200, refresh = true)]
async fn cached_refresh(_key: u64) -> Result<Instant, SourceDown> {
    body().await
}

#[cached(max_size = 1_000, ttl_millis = 200, sync_writes = "by_key")]
async fn cached_stale(_key: u64) -> Result<Instant, SourceDown> {
    body().await
}

static REFRESHING: LazyLock<ClaimRegistry<u64>> = LazyLock::new(ClaimRegistry::new);

/// The example `stale_while_revalidate` of `cached`.
async fn cached_by_hand(key: u64) -> Result<Instant, SourceDown> {
    let (value, is_expired) = {
        let cache = CACHED_STALE.read().await;
        cache.cache_peek_with_expiry_status(&key)
    };
    let Some(value) = value else {
        return cached_stale(key).await;
    };
    if is_expired && let Some(claim) = REFRESHING.claim(key) {
        tokio::spawn(async move {
            let _ = cached_stale_prime_cache(*claim.key()).await;
        });
    }
    Ok(value)
}

/// A value in moka that is refreshed by hand.
struct Refreshed {
    value: Instant,
    is_refreshing: AtomicBool,
}

type Moka<V> = moka::future::Cache<u64, V>;

async fn moka_by_hand(moka: Moka<Arc<Refreshed>>, key: u64) -> Result<Instant, Arc<SourceDown>> {
    let load = async || {
        let value = body().await?;
        Ok::<_, SourceDown>(Arc::new(Refreshed {
            value,
            is_refreshing: AtomicBool::new(false),
        }))
    };
    let Some(found) = moka.get(&key).await else {
        return Ok(moka.try_get_with(key, load()).await?.value);
    };
    if found.value.elapsed() >= TTL && !found.is_refreshing.swap(true, Ordering::AcqRel) {
        let found = Arc::clone(&found);
        tokio::spawn(async move {
            match load().await {
                Ok(loaded) => moka.insert(key, loaded).await,
                Err(SourceDown) => found.is_refreshing.store(false, Ordering::Release),
            }
        });
    }
    Ok(found.value)
}

/// A call that returns when its value was loaded. `None` if it failed.
type Call = Pin<Box<dyn Future<Output = Option<Instant>> + Send>>;

struct Contender {
    name: &'static str,
    /// Set for a function of ours with windows: no call may fail or wait for a load.
    has_windows: bool,
    call: Arc<dyn Fn() -> Call + Send + Sync>,
}

fn contender<E, F>(
    name: &'static str,
    has_windows: bool,
    call: impl Fn(u64) -> F + Send + Sync + 'static,
) -> Contender
where
    F: Future<Output = Result<Instant, E>> + Send + 'static,
{
    let call = move || -> Call {
        let call = call(KEY);
        Box::pin(async move { call.await.ok() })
    };
    Contender {
        name,
        has_windows,
        call: Arc::new(call),
    }
}

fn contenders() -> Vec<Contender> {
    let moka = Moka::builder().time_to_live(TTL).build();
    let by_hand = Moka::builder()
        .time_to_live(Duration::from_secs(3600))
        .build();
    vec![
        contender("ours, without windows", false, ours::plain),
        contender("ours, `stale_while_revalidate`", true, ours::revalidated),
        contender("ours, with `refresh_ahead` too", true, ours::ahead),
        contender("moka, `try_get_with`", false, move |key| {
            let moka = moka.clone();
            async move { moka.try_get_with(key, body()).await }
        }),
        contender("moka, refreshed by hand", false, move |key| {
            moka_by_hand(by_hand.clone(), key)
        }),
        contender("`cached`, `sync_writes = \"by_key\"`", false, cached_by_key),
        contender("`cached`, `result_fallback`", false, cached_fallback),
        contender("`cached`, `refresh`", false, cached_refresh),
        contender("`cached`, refreshed by hand", false, cached_by_hand),
    ]
}

#[derive(Default)]
struct Answers {
    waits: Vec<Duration>,
    failed: usize,
    oldest: Duration,
    bodies: u64,
}

async fn measure(contender: &Contender, time: Duration) -> Answers {
    let before = BODIES.load(Ordering::Relaxed);
    let end = Instant::now() + time;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let call = Arc::clone(&contender.call);
        callers.spawn(async move {
            let mut answers = Answers::default();
            while Instant::now() < end {
                let began = Instant::now();
                let value = call().await;
                answers.waits.push(began.elapsed());
                match value {
                    Some(loaded) => answers.oldest = answers.oldest.max(loaded.elapsed()),
                    None => answers.failed += 1,
                }
                sleep(PAUSE).await;
            }
            answers
        });
    }
    let mut all = Answers::default();
    for answers in callers.join_all().await {
        all.waits.extend(answers.waits);
        all.failed += answers.failed;
        all.oldest = all.oldest.max(answers.oldest);
    }
    all.waits.sort_unstable();
    all.bodies = BODIES.load(Ordering::Relaxed) - before;
    all
}

fn print_table(title: &str, rows: &[(&Contender, Answers)]) {
    println!("\n| {title} | p50 | p99 | longest | long waits | bodies | failed | oldest value |");
    println!("| --- |{}", " --- |".repeat(7));
    for (contender, answers) in rows {
        let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
        let wait = |thousandths| {
            let last = answers.waits.len() - 1;
            millis(answers.waits[last * thousandths / 1_000])
        };
        let is_long = |wait: &&Duration| **wait > LONG_WAIT;
        let long_waits = answers.waits.iter().filter(is_long).count();
        println!(
            "| {} | {:.2} ms | {:.2} ms | {:.1} ms | {} of {} | {} | {} | {:.0} ms |",
            contender.name,
            wait(500),
            wait(990),
            wait(1_000),
            long_waits,
            answers.waits.len(),
            answers.bodies,
            answers.failed,
            millis(answers.oldest)
        );
        if contender.has_windows {
            assert_eq!(answers.failed, 0, "a call of ours failed");
            assert!(wait(990) < millis(LONG_WAIT), "calls of ours wait");
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let runtime = CacheRuntime::builder().l1(Memory::builder()).install();
    runtime.await.expect("a runtime");
    let contenders = contenders();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for contender in &contenders {
        IS_DOWN.store(false, Ordering::Relaxed);
        // The first call has to load. The table is about those that come later.
        assert!((contender.call)().await.is_some(), "the source is up");
        up.push((contender, measure(contender, UP).await));
        IS_DOWN.store(true, Ordering::Relaxed);
        down.push((contender, measure(contender, DOWN).await));
        // The last load in the background must not count as one of the next contender.
        sleep(LOAD * 2).await;
    }
    print_table("5 s, the source is up", &up);
    print_table("5 s, the source is down", &down);
}
