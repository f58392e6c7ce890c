//! Commands that an instance receives.

use std::sync::atomic::Ordering;

use fastrand::Rng;
use multi_tier_cached::{CacheRuntime, FunctionStats};
use tokio::task::JoinSet;

use super::invalidations::{invalidate, settle};
use super::reads::{burst, probe, read};
use super::state::Instance;
use super::work::{change_at_random, read_at_random};
use super::{liveness, panics};
use crate::history::Reached;
use crate::items::{Item, REVALIDATED, SERVING, STALE_IF_ERROR, STRONG, Scope, all_items};

/// Tasks that read at random.
const READERS: u64 = 4;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Executes commands. Its tasks are aborted when it is dropped.
pub(super) struct Commands {
    instance: &'static Instance,
    runtime: CacheRuntime,
    rng: Rng,
    work: JoinSet<()>,
    probes: JoinSet<()>,
    watches: JoinSet<()>,
    nests: JoinSet<()>,
}

impl Commands {
    pub(super) fn new(instance: &'static Instance, runtime: CacheRuntime, seed: u64) -> Self {
        Self {
            instance,
            runtime,
            rng: Rng::with_seed(seed),
            work: JoinSet::new(),
            probes: JoinSet::new(),
            watches: JoinSet::new(),
            nests: JoinSet::new(),
        }
    }

    /// Executes one command and returns its reply, if it has one.
    pub(super) async fn execute(&mut self, command: &str) -> Result<Option<String>> {
        let parts: Vec<_> = command.split(' ').collect();
        let reply = match parts[..] {
            ["work", failing] => {
                self.work(failing.parse()?);
                return Ok(None);
            }
            ["rest"] => self.rest().await,
            ["probe"] => {
                self.instance.probing.store(true, Ordering::Relaxed);
                self.probes.spawn(probe());
                return Ok(None);
            }
            ["unprobe"] => {
                self.instance.probing.store(false, Ordering::Relaxed);
                while self.probes.join_next().await.is_some() {}
                return Ok(None);
            }
            ["watch"] => {
                self.instance.watching.store(true, Ordering::Relaxed);
                self.watches.spawn(liveness::watch(self.runtime.clone()));
                return Ok(None);
            }
            ["unwatch"] => {
                self.instance.watching.store(false, Ordering::Relaxed);
                while self.watches.join_next().await.is_some() {}
                return Ok(None);
            }
            ["nest", item, number] => {
                let bodies = liveness::nest(item.parse()?, number.parse()?);
                self.nests.spawn(bodies);
                return Ok(None);
            }
            ["nested"] => {
                while self.nests.join_next().await.is_some() {}
                "nested".to_owned()
            }
            ["well"] => {
                let well = liveness::report(&self.runtime).await;
                self.instance.flush()?;
                format!("well {}", u8::from(well))
            }
            ["health"] => health(&self.runtime),
            ["stale"] => stale(&self.runtime),
            _ => return self.call(command, &parts).await.map(Some),
        };
        Ok(Some(reply))
    }

    /// Executes a command that calls or invalidates, and returns its reply.
    async fn call(&self, command: &str, parts: &[&str]) -> Result<String> {
        Ok(match parts[..] {
            ["write", item] => self.write(item.parse()?).await?.to_owned(),
            ["settle"] => self.settle().await?.to_owned(),
            ["read"] => {
                for item in all_items() {
                    read(item).await;
                }
                "read".to_owned()
            }
            ["burst", item, number] => {
                let (first, last) = burst(item.parse()?, number.parse()?).await;
                format!("burst {first} {last}")
            }
            ["call", item] => {
                liveness::call(item.parse()?).await;
                "called".to_owned()
            }
            ["fail", item, number] => {
                liveness::fail(item.parse()?, number.parse()?).await;
                "failed".to_owned()
            }
            ["panic"] => {
                panics::panic_in_a_task().await;
                "panicked".to_owned()
            }
            _ => return Err(format!("unknown command `{command}`").into()),
        })
    }

    fn work(&mut self, failing: u32) {
        self.instance.failing.store(failing, Ordering::Relaxed);
        self.instance.working.store(true, Ordering::Relaxed);
        for _ in 0..READERS {
            self.work.spawn(read_at_random(self.rng.fork()));
        }
        self.work.spawn(change_at_random(self.rng.fork()));
    }

    async fn rest(&mut self) -> String {
        self.instance.working.store(false, Ordering::Relaxed);
        while self.work.join_next().await.is_some() {}
        let failed = self.instance.failed.load(Ordering::Relaxed);
        let errors = self.instance.errors.load(Ordering::Relaxed);
        format!("rested {failed} {errors}")
    }

    async fn write(&self, item: Item) -> Result<&'static str> {
        self.instance.database.commit(item).await?;
        let reached = invalidate(Scope::One(item)).await;
        // The parent may kill this process after the reply.
        self.instance.flush()?;
        Ok(match reached {
            Some(Reached::Acked) => "wrote acked",
            Some(_) => "wrote queued",
            None => "failed",
        })
    }

    async fn settle(&self) -> Result<&'static str> {
        for item in all_items() {
            self.instance.database.commit(item).await?;
        }
        for item in [0, STRONG, SERVING, REVALIDATED, STALE_IF_ERROR] {
            settle(Scope::FunctionOf(item)).await;
        }
        Ok("settled")
    }
}

/// Returns how often all functions returned stale values, and why.
fn stale(runtime: &CacheRuntime) -> String {
    let functions = runtime.stats().functions;
    let sum = |count: fn(&FunctionStats) -> u64| functions.iter().map(count).sum::<u64>();
    format!(
        "stale {} {} {} {} {}",
        sum(|one| one.tiers.iter().map(|tier| tier.stale_hits).sum()),
        sum(|one| one.refreshes),
        sum(|one| one.stale_on_error),
        sum(|one| one.backed_off),
        sum(|one| one.timeouts),
    )
}

fn health(runtime: &CacheRuntime) -> String {
    let tiers = runtime.tiers();
    let health = &tiers[0].health;
    format!(
        "health {} {} {} {} {} {} {}",
        u8::from(health.connected),
        u8::from(health.coherent_for.is_some()),
        health.isolations,
        health.gaps,
        health.history_changes,
        health.replays,
        health.queued
    )
}
