//! Primaries that are restarted or replaced, and slots that migrate.

use std::io;
use std::time::Duration;

use fastrand::Rng;
use testbed::ask::ask;
use testbed::cluster::{Cluster, slot_of};
use testbed::sentinel::Sentinels;
use tokio::time::sleep;

use crate::address::SHARDS;
use crate::clock;
use crate::fleet::Fleet;
use crate::history::{Event, Split};
use crate::instance::{BOUND, NAMESPACE};
use crate::servers::{Kind, Pair, Servers, Topology};

fn millis(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.u64(from..to))
}

/// Restarts or replaces a primary, or migrates a slot. `turn` says which of these, in turns.
///
/// Returns the time in which an old primary continued to run, if there was one.
///
/// # Errors
/// A server or an instance does not do what it was asked to do.
pub async fn replace_primary(
    fleet: &Fleet,
    servers: &mut Servers,
    turn: usize,
    rng: &mut Rng,
) -> io::Result<Option<Event>> {
    let connected = fleet.connected();
    let topology = servers.topology();
    let split = match &mut servers.kind {
        Kind::Pair(pair) => match topology {
            Topology::Failover => fail_over(fleet, pair, turn, rng).await?,
            _ => {
                restart(fleet, pair, turn, rng).await;
                None
            }
        },
        Kind::Cluster(cluster) => change_cluster(fleet, cluster, turn, rng).await?,
        Kind::Sentinels(all) => change_primary(fleet, all, turn, rng).await?,
    };
    fleet.count_killed(connected);
    Ok(split)
}

async fn restart(fleet: &Fleet, pair: &mut Pair, turn: usize, rng: &mut Rng) {
    if turn.is_multiple_of(2) {
        fleet.faults.count("restart from an older state");
        let _ = ask::<()>(pair.primary().port(), &["SAVE"]).await;
        sleep(millis(rng, 100, 1_000)).await;
    } else {
        fleet.faults.count("restart");
    }
    pair.restart();
}

/// Replaces the primary by its replica.
async fn fail_over(
    fleet: &Fleet,
    pair: &mut Pair,
    turn: usize,
    rng: &mut Rng,
) -> io::Result<Option<Event>> {
    let networks = &fleet.networks;
    fleet.faults.count("failover");
    match turn % 5 {
        0 | 2 => pair.fail_over(networks).await?,
        1 | 3 => {
            let lag = millis(rng, 200, 900);
            if pair.fail_over_with_loss(networks, lag).await? {
                fleet.faults.count("failover with loss");
            }
        }
        _ => {
            fleet.faults.count("old primary that continues");
            let start = clock::now();
            let stay = rng.usize(1..networks.len());
            pair.split(networks, stay).await?;
            let moved = clock::now();
            sleep(millis(rng, 2_000, 9_000)).await;
            let united = clock::now();
            pair.unite(networks).await?;
            let stay = u16::try_from(stay).unwrap_or(u16::MAX);
            let end = settled(fleet).await?;
            return Ok(Some(Event::Split(Split {
                start,
                moved,
                united,
                end,
                stay,
            })));
        }
    }
    Ok(None)
}

/// Replaces a primary of a cluster by its replica, or migrates the slot of a shard.
async fn change_cluster(
    fleet: &Fleet,
    cluster: &mut Cluster,
    turn: usize,
    rng: &mut Rng,
) -> io::Result<Option<Event>> {
    let primaries = cluster.primaries().await;
    let primary = primaries[rng.usize(..primaries.len())];
    let faults = &fleet.faults;
    let start = clock::now();
    match turn % 6 {
        0 => {
            faults.count("failover");
            cluster.kill_primary(primary).await;
            sleep(millis(rng, 0, 1_000)).await;
            cluster.restart(primary).await;
        }
        1 | 4 => {
            faults.count("slot migration");
            let shard = rng.u8(..SHARDS);
            let slot = slot_of(&format!("{{{NAMESPACE}:{shard}}}"));
            let from = cluster.primary_of_slot(slot).await;
            let others: Vec<_> = primaries.iter().filter(|other| **other != from).collect();
            let to = *others[rng.usize(..others.len())];
            if turn % 6 == 4 && cluster.migrates_in_one_step().await {
                cluster.migrate_in_one_step(slot, to).await;
            } else {
                cluster.begin_migration(slot, to).await;
                sleep(millis(rng, 0, 1_500)).await;
                cluster.end_migration(slot, to).await;
            }
        }
        2 => {
            faults.count("failover");
            faults.count("old primary that continues");
            cluster.freeze_primary(primary).await;
            sleep(millis(rng, 0, 1_000)).await;
            cluster.thaw(primary);
            cluster.until_ok().await;
            return deposed(fleet, start).await;
        }
        3 => {
            faults.count("orderly failover");
            cluster.fail_over(primary).await;
        }
        _ => {
            faults.count("failover");
            faults.count("old primary that continues");
            cluster.depose(primary).await;
            cluster.until_ok().await;
            return deposed(fleet, start).await;
        }
    }
    cluster.until_ok().await;
    Ok(None)
}

/// Lets the sentinels replace their primary.
async fn change_primary(
    fleet: &Fleet,
    all: &mut Sentinels,
    turn: usize,
    rng: &mut Rng,
) -> io::Result<Option<Event>> {
    let start = clock::now();
    fleet.faults.count("failover");
    match turn % 3 {
        0 => {
            let (old, _) = all.kill_primary().await;
            sleep(millis(rng, 0, 1_000)).await;
            all.restart(old);
            all.until_ok().await;
            return Ok(None);
        }
        1 => {
            all.fail_over().await;
        }
        _ => {
            let (old, _) = all.freeze_primary().await;
            sleep(millis(rng, 0, 1_000)).await;
            all.thaw(old);
        }
    }
    fleet.faults.count("old primary that continues");
    all.until_ok().await;
    deposed(fleet, start).await
}

/// Returns the time in which an old primary continued to run with any of the instances: it was not
/// asked, or did not know that it was replaced.
async fn deposed(fleet: &Fleet, start: u64) -> io::Result<Option<Event>> {
    fleet.until_coherent().await?;
    let moved = clock::now();
    Ok(Some(Event::Split(Split {
        start,
        moved,
        united: moved,
        end: settled(fleet).await?,
        // All instances are on the side of the new primary.
        stay: 0,
    })))
}

/// Waits until all instances have received what was sent again. Returns the time.
async fn settled(fleet: &Fleet) -> io::Result<u64> {
    fleet.until_coherent().await?;
    sleep(BOUND).await;
    Ok(clock::now())
}
