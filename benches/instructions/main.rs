//! The instructions of a miss, and the part of them that spans and traces cost while they are off.
//!
//! `cargo run --profile bench -p instructions` needs `valgrind` and `redis-server`, and
//! fails if the part is above the bar. The body of the function does nothing, so that the part is
//! as large as it can be. The instructions are those of the lines of the modules of spans and
//! traces, and of the crates `tracing` and `tracing-core`, also where they are inlined. Those of
//! the server are not counted.

use std::collections::HashMap;
use std::hint::black_box;
use std::process::Command;

use benches::Server;
use multi_tier_cached::{CacheRuntime, Engine, Memory, Redis, multi_tier_cached};
use tokio::runtime::{Builder, Runtime};

const MISSES: u64 = 2_000;

/// The largest part of the instructions of a miss.
const BAR: f64 = 0.01;

/// Names the server for the process that is measured, which uses memory alone if it is empty.
const REDIS: &str = "MTC_BENCH_REDIS";

/// Set for the process that is measured.
const MEASURED: &str = "MTC_BENCH_MEASURED";

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn in_memory(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "1h")]
async fn in_redis(id: u64) -> u64 {
    id
}

/// The part that is counted. Its name is an option of `valgrind`.
#[inline(never)]
fn counted_misses(runtime: &Runtime, is_in_redis: bool) {
    runtime.block_on(async {
        for id in 1..=MISSES {
            let id = black_box(id);
            match is_in_redis {
                true => in_redis(id).await,
                false => in_memory(id).await,
            };
        }
    });
}

fn measured(redis: &str) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let tiers = CacheRuntime::builder().l1(Memory::builder().engine(Engine::QuickCache));
        let tiers = match redis {
            "" => tiers,
            url => tiers.l2(Redis::new(url)),
        };
        tiers.install().await.expect("a runtime");
        match redis {
            "" => in_memory(0).await,
            _ => in_redis(0).await,
        }
    });
    counted_misses(&runtime, !redis.is_empty());
}

/// The instructions of one miss.
struct Miss {
    all: f64,
    of_spans: f64,
}

/// Returns the instructions of a miss, in a process of its own.
fn miss(redis: &str) -> Miss {
    let profile = std::env::temp_dir().join(format!("mtc-misses-{}", std::process::id()));
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg("--toggle-collect=*::counted_misses")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe().expect("this program has a path"))
        .env(MEASURED, "1")
        .env(REDIS, redis);
    let output = command.output().expect("valgrind starts; help: install it");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let lines = std::fs::read_to_string(&profile).expect("a profile");
    std::fs::remove_file(&profile).expect("the profile is removed");
    of_profile(&lines)
}

/// Reads a profile of callgrind, in which each line of numbers belongs to the file that was named
/// last, and a file is named by a number after the first time. See "Callgrind Format Specification"
/// in the manual of valgrind.
fn of_profile(profile: &str) -> Miss {
    let mut names: HashMap<&str, bool> = HashMap::new();
    let mut all = 0;
    let mut of_spans = 0;
    let mut is_of_spans = false;
    let mut is_call = false;
    for line in profile.lines() {
        let (key, value) = line.split_once('=').unwrap_or(("", line));
        match key {
            "fl" | "fi" | "fe" | "cfl" | "cfi" => {
                let (number, name) = value.split_once(' ').unwrap_or((value, ""));
                let is_meant = *names
                    .entry(number)
                    .or_insert_with(|| is_file_of_spans(name));
                if !key.starts_with('c') {
                    is_of_spans = is_meant;
                }
            }
            // The next line has what the function cost that is called.
            "calls" => is_call = true,
            "" if line
                .starts_with(|first: char| "+-*".contains(first) || first.is_ascii_digit()) =>
            {
                let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
                let cost: u64 = cost.filter(|_| !is_call).unwrap_or(0);
                is_call = false;
                all += cost;
                of_spans += if is_of_spans { cost } else { 0 };
            }
            _ => {}
        }
    }
    let of_one = |cost: u64| cost as f64 / MISSES as f64;
    Miss {
        all: of_one(all),
        of_spans: of_one(of_spans),
    }
}

fn is_file_of_spans(name: &str) -> bool {
    let own = ["src/trace", "src/call_trace", "src/load/traced"];
    let own = own.map(|part| format!("cache-core/{part}"));
    own.iter().any(|part| name.contains(part)) || name.contains("/tracing-")
}

fn main() {
    if std::env::var_os(MEASURED).is_some() {
        return measured(&std::env::var(REDIS).expect("a variable"));
    }
    let server = Server::start();
    println!("instructions of a miss         all   spans   part");
    let mut is_above = false;
    for (name, redis) in [
        ("memory", String::new()),
        ("memory and Redis", server.url()),
    ] {
        let Miss { all, of_spans } = miss(&redis);
        assert!(
            all > 1_000.0 && of_spans > 0.0,
            "{name}: the lines are not known"
        );
        let part = of_spans / all;
        println!(
            "{name:<24} {all:>9.0} {of_spans:>7.0} {:>5.2}%",
            part * 100.0
        );
        is_above |= part > BAR;
    }
    assert!(!is_above, "spans cost more than {:.0} %", BAR * 100.0);
}
