//! Faults of the network, the instances and the servers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use testbed::proxy::{End, NetworkFault};
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::cluster::Cluster;
use crate::database::Database;
use crate::history::{Event, Split, Window};
use crate::instance::{BOUND, WORK_AND_FAIL};
use crate::items::Item;
use crate::quiet::quiet;
use crate::servers::{Servers, Topology, command};

fn millis(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.u64(from..to))
}

/// Disturbs these instances and their network, by one fault after the other, until `end`.
///
/// # Errors
/// An instance does not do what it was asked to do, without a fault that explains it.
pub async fn disturb_instances(
    cluster: Arc<Cluster>,
    mut rng: Rng,
    instances: std::ops::Range<usize>,
    end: Instant,
) -> io::Result<()> {
    while Instant::now() < end {
        sleep(millis(&mut rng, 100, 800)).await;
        let _fault = cluster.gate.read().await;
        let at = rng.usize(instances.clone());
        let (proxy, faults) = (&cluster.proxies[at], &cluster.faults);
        let mut network_fault = None;
        match rng.u32(..100) {
            0..22 => {
                faults.count("close");
                cluster.count_killed(proxy.end(End::Close));
            }
            22..44 => {
                faults.count("reset");
                cluster.count_killed(proxy.end(End::Reset));
            }
            44..50 => {
                faults.count("half-open");
                cluster.count_killed(proxy.strand());
            }
            50..58 => {
                faults.count("delay");
                let delay = millis(&mut rng, 5, 400);
                network_fault = Some((NetworkFault::Delay(delay), millis(&mut rng, 200, 2_000)));
            }
            58..64 => {
                faults.count("throttle");
                let rate = rng.u32(2_000..40_000);
                network_fault = Some((NetworkFault::Throttle(rate), millis(&mut rng, 200, 1_500)));
            }
            64..70 => {
                faults.count("split");
                let piece = rng.usize(1..24);
                network_fault = Some((NetworkFault::Slices(piece), millis(&mut rng, 200, 1_500)));
            }
            70..76 => {
                faults.count("black hole");
                network_fault = Some((NetworkFault::BlackHole, millis(&mut rng, 200, 3_000)));
            }
            76..82 => {
                faults.count("deaf");
                network_fault = Some((NetworkFault::Deaf, millis(&mut rng, 200, 2_000)));
            }
            82..88 => {
                faults.count("refuse");
                cluster.count_killed(proxy.connections());
                network_fault = Some((NetworkFault::Cut, millis(&mut rng, 100, 1_000)));
            }
            88..95 => {
                faults.count("SIGSTOP of an instance");
                let instance = cluster.instances[at].lock().await;
                instance.freeze();
                sleep(millis(&mut rng, 50, 2_000)).await;
                instance.thaw();
            }
            _ => {
                faults.count("SIGKILL of an instance");
                cluster.count_killed(proxy.connections());
                let mut instance = cluster.instances[at].lock().await;
                instance.kill_and_start().await?;
                instance.send(WORK_AND_FAIL).await?;
            }
        }
        if let Some((network_fault, lasts)) = network_fault {
            proxy.set(network_fault);
            sleep(lasts).await;
            proxy.set(NetworkFault::Fair);
        }
    }
    Ok(())
}

/// Lets all loads fail for some time, again and again, until `end`. There is no such fault in a
/// quiet time.
pub async fn disturb_database(
    cluster: Arc<Cluster>,
    database: Arc<Database>,
    mut rng: Rng,
    end: Instant,
) {
    while Instant::now() < end {
        sleep(millis(&mut rng, 2_000, 8_000)).await;
        let _fault = cluster.gate.read().await;
        cluster.faults.count("database down");
        database.set_down(true);
        sleep(millis(&mut rng, 500, 3_000)).await;
        database.set_down(false);
    }
}

/// Disturbs the servers, by one fault after the other with a quiet time after each, until `end`.
///
/// Returns the times of a special kind.
///
/// # Errors
/// A server or an instance does not do what it was asked to do.
pub async fn disturb_servers(
    cluster: Arc<Cluster>,
    servers: &mut Servers,
    mut rng: Rng,
    end: Instant,
) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    let (mut changes, mut number): (usize, Item) = (0, 0);
    while Instant::now() < end {
        sleep(millis(&mut rng, 200, 1_200)).await;
        // Even a short run has these two faults, because they show whether an instance recovers.
        match number {
            0 => events.push(make_unreachable(&cluster, servers, &mut rng).await?),
            1 => flush(&cluster, servers).await,
            _ => disturb_briefly(&cluster, servers, &mut events, &mut rng).await?,
        }
        // The primary is not replaced right after the flush, which would undo the effect of the
        // flush on an instance.
        if number == 2 || (number > 2 && rng.bool()) {
            sleep(millis(&mut rng, 100, 800)).await;
            events.extend(replace_primary(&cluster, servers, changes, &mut rng).await?);
            changes += 1;
        }
        events.push(quiet(&cluster, servers, number).await?);
        number += 1;
    }
    Ok(events)
}

/// Restarts the primary, or replaces it by its replica.
async fn replace_primary(
    cluster: &Cluster,
    servers: &mut Servers,
    turn: usize,
    rng: &mut Rng,
) -> io::Result<Option<Event>> {
    let connected = cluster.connected();
    match (servers.topology(), turn % 5) {
        (Topology::Standalone | Topology::Evicting, turn) => {
            cluster.faults.count(if turn % 2 == 0 {
                "restart from an older state"
            } else {
                "restart"
            });
            if turn % 2 == 0 {
                let _ = command::<()>(servers.primary().port(), &["SAVE"]).await;
                sleep(millis(rng, 100, 1_000)).await;
            }
            servers.restart();
            cluster.count_killed(connected);
        }
        (Topology::Failover, 0 | 2) => {
            cluster.faults.count("failover");
            servers.fail_over(&cluster.proxies).await?;
            cluster.count_killed(connected);
        }
        (Topology::Failover, 1 | 3) => {
            let lag = millis(rng, 200, 900);
            let lossy = servers.fail_over_with_loss(&cluster.proxies, lag).await?;
            cluster.faults.count("failover");
            if lossy {
                cluster.faults.count("failover with loss");
            }
            cluster.count_killed(connected);
        }
        (Topology::Failover, _) => {
            cluster.faults.count("failover");
            cluster.faults.count("old primary that continues");
            let start = clock::now();
            let stay = rng.usize(1..cluster.proxies.len());
            servers.split(&cluster.proxies, stay).await?;
            let moved = clock::now();
            sleep(millis(rng, 2_000, 9_000)).await;
            let united = clock::now();
            servers.unite(&cluster.proxies).await?;
            cluster.count_killed(connected);
            cluster.until_coherent().await?;
            // Instances receive what was sent again within the bound.
            sleep(BOUND).await;
            return Ok(Some(Event::Split(Split {
                start,
                moved,
                united,
                end: clock::now(),
                stay: u16::try_from(stay).unwrap_or(u16::MAX),
            })));
        }
    }
    Ok(None)
}

async fn flush(cluster: &Cluster, servers: &Servers) {
    cluster.faults.count("FLUSHALL");
    let _ = command::<()>(servers.primary().port(), &["FLUSHALL"]).await;
}

/// Makes the server unreachable for all instances.
///
/// Each reports its health once it must have noticed.
async fn make_unreachable(
    cluster: &Cluster,
    servers: &Servers,
    rng: &mut Rng,
) -> io::Result<Event> {
    // A fault of the network must not end this one.
    let _no_other_fault = cluster.gate.write().await;
    cluster.faults.count("server unreachable");
    let is_cut = rng.bool();
    if is_cut {
        cluster.count_killed(cluster.connected());
        cluster.set(NetworkFault::Cut);
    } else {
        servers.primary().freeze();
    }
    let start = clock::now();
    sleep(BOUND * 2).await;
    cluster.request("well").await?;
    let end = clock::now();
    if is_cut {
        cluster.set(NetworkFault::Fair);
    } else {
        servers.primary().thaw();
    }
    Ok(Event::Window {
        kind: Window::Unreachable,
        start,
        end,
    })
}

/// Does what an operator or another user of the server may do to it.
async fn disturb_briefly(
    cluster: &Cluster,
    servers: &Servers,
    events: &mut Vec<Event>,
    rng: &mut Rng,
) -> io::Result<()> {
    let port = servers.primary().port();
    let faults = &cluster.faults;
    match rng.u32(..100) {
        0..18 => {
            faults.count("CLIENT KILL");
            let kind = ["normal", "pubsub"][rng.usize(..2)];
            let killed: usize = command(port, &["CLIENT", "KILL", "TYPE", kind])
                .await
                .unwrap_or(0);
            cluster.count_killed(killed);
        }
        18..35 => {
            faults.count("CLIENT PAUSE");
            let time = rng.u64(50..700).to_string();
            let kind = ["WRITE", "ALL"][rng.usize(..2)];
            let _ = command::<()>(port, &["CLIENT", "PAUSE", &time, kind]).await;
        }
        35..48 => {
            faults.count("SCRIPT FLUSH");
            let _ = command::<()>(port, &["SCRIPT", "FLUSH"]).await;
        }
        48..60 => flush(cluster, servers).await,
        60..72 => events.push(make_unreachable(cluster, servers, rng).await?),
        72..86 => {
            faults.count("small maxmemory");
            let policy = ["noeviction", "allkeys-random", "volatile-ttl"][rng.usize(..3)];
            let _ = command::<()>(port, &["CONFIG", "SET", "maxmemory-policy", policy]).await;
            let _ = command::<()>(port, &["CONFIG", "SET", "maxmemory", "1mb"]).await;
            sleep(millis(rng, 100, 1_000)).await;
            let [maxmemory, policy] = servers.topology().memory();
            let _ = command::<()>(port, &["CONFIG", "SET", "maxmemory", maxmemory]).await;
            let _ = command::<()>(port, &["CONFIG", "SET", "maxmemory-policy", policy]).await;
        }
        _ => {
            faults.count("SIGSTOP of the server");
            servers.primary().freeze();
            sleep(millis(rng, 50, 1_200)).await;
            servers.primary().thaw();
        }
    }
    Ok(())
}
