//! Two instances over one Redis: what one has loaded the other reads, what one invalidates the other no longer answers.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use multi_tier_cached::{CacheRuntime, Error, Memory, Redis, invalidate, multi_tier_cached};

/// The database: one price.
static PRICE: AtomicU64 = AtomicU64::new(100);
static LOADS: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h", tiers = "l1,l2", name = "prices::of")]
async fn price(item: &str) -> u64 {
    LOADS.fetch_add(1, Ordering::SeqCst);
    PRICE.load(Ordering::SeqCst) + item.len() as u64
}

/// A Redis of the example's own; ended with it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_redis() -> Result<(Server, String), std::io::Error> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = Command::new("redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
        ])
        .stdout(Stdio::null())
        .spawn()?;
    Ok((Server(child), format!("redis://127.0.0.1:{port}")))
}

async fn instance(url: &str) -> Result<CacheRuntime, Error> {
    CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(url))
        .build()
        .await
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (_server, url) = match start_redis() {
        Ok(started) => started,
        Err(error) => {
            println!(
                "redis-server cannot be started ({error}); install it, by `apt install redis-server`"
            );
            return Ok(());
        }
    };
    // Two processes as a rule; here two runtimes, each with a memory of its own.
    let (one, two) = (instance(&url).await?, instance(&url).await?);
    while one.tiers()[0].breaker != multi_tier_cached::tier::Breaker::Closed
        || two.tiers()[0].breaker != multi_tier_cached::tier::Breaker::Closed
    {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }

    let call = async |name: &str, runtime: &CacheRuntime| {
        let price = CacheRuntime::scope(runtime.clone(), async { price("tea").await }).await;
        println!(
            "{name}: tea costs {price}, loads so far: {}",
            LOADS.load(Ordering::SeqCst)
        );
    };
    call("one", &one).await;
    call("two", &two).await;

    PRICE.store(200, Ordering::SeqCst);
    // Returns when no instance can answer with the old price; without `settled` it is a matter of milliseconds as a rule, and of
    // the bound, half a second, at most.
    let settled = async { invalidate!(price, "tea").settled().await };
    CacheRuntime::scope(one.clone(), settled).await?;
    println!("the price has changed, and one has invalidated it");
    call("two", &two).await;
    call("one", &one).await;

    println!("\none:\n{}\ntwo:\n{}", one.stats(), two.stats());
    one.shutdown().await?;
    two.shutdown().await
}
