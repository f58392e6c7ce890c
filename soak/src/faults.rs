//! Faults of the network, the instances and the servers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use testbed::ask::ask;
use testbed::proxy::{End, NetworkFault};
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::database::Database;
use crate::fleet::Fleet;
use crate::history::{Event, Window};
use crate::instance::{BOUND, WORK_AND_FAIL};
use crate::items::Item;
use crate::quiet::quiet;
use crate::replacements::replace_primary;
use crate::servers::Servers;

fn millis(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.u64(from..to))
}

/// Disturbs these instances and their network, by one fault after the other, until `end`.
///
/// # Errors
/// An instance does not do what it was asked to do, without a fault that explains it.
pub async fn disturb_instances(
    fleet: Arc<Fleet>,
    mut rng: Rng,
    instances: std::ops::Range<usize>,
    end: Instant,
) -> io::Result<()> {
    while Instant::now() < end {
        sleep(millis(&mut rng, 100, 800)).await;
        let _fault = fleet.gate.read().await;
        let at = rng.usize(instances.clone());
        let (network, faults) = (&fleet.networks[at], &fleet.faults);
        let mut network_fault = None;
        match rng.u32(..100) {
            0..22 => {
                faults.count("close");
                fleet.count_killed(network.end(End::Close));
            }
            22..44 => {
                faults.count("reset");
                fleet.count_killed(network.end(End::Reset));
            }
            44..50 => {
                faults.count("half-open");
                fleet.count_killed(network.strand());
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
                fleet.count_killed(network.connections());
                network_fault = Some((NetworkFault::Cut, millis(&mut rng, 100, 1_000)));
            }
            88..95 => {
                faults.count("SIGSTOP of an instance");
                let instance = fleet.instances[at].lock().await;
                instance.freeze();
                sleep(millis(&mut rng, 50, 2_000)).await;
                instance.thaw();
            }
            _ => {
                faults.count("SIGKILL of an instance");
                fleet.count_killed(network.connections());
                let mut instance = fleet.instances[at].lock().await;
                instance.kill_and_start().await?;
                instance.send(WORK_AND_FAIL).await?;
            }
        }
        if let Some((network_fault, lasts)) = network_fault {
            network.set(network_fault);
            sleep(lasts).await;
            network.set(NetworkFault::Fair);
        }
    }
    Ok(())
}

/// Lets all loads fail for some time, again and again, until `end`. There is no such fault in a
/// quiet time.
pub async fn disturb_database(
    fleet: Arc<Fleet>,
    database: Arc<Database>,
    mut rng: Rng,
    end: Instant,
) {
    while Instant::now() < end {
        sleep(millis(&mut rng, 2_000, 8_000)).await;
        let _fault = fleet.gate.read().await;
        fleet.faults.count("database down");
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
    fleet: Arc<Fleet>,
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
            0 => events.push(make_unreachable(&fleet, servers, &mut rng).await?),
            1 => flush(&fleet, servers).await,
            _ => disturb_briefly(&fleet, servers, &mut events, &mut rng).await?,
        }
        // The primary is not replaced right after the flush, which would undo the effect of the
        // flush on an instance.
        if number == 2 || (number > 2 && rng.bool()) {
            sleep(millis(&mut rng, 100, 800)).await;
            events.extend(replace_primary(&fleet, servers, changes, &mut rng).await?);
            changes += 1;
        }
        events.push(quiet(&fleet, servers, number).await?);
        number += 1;
    }
    Ok(events)
}

/// Flushes all servers. Replicas refuse it.
async fn flush(fleet: &Fleet, servers: &Servers) {
    fleet.faults.count("FLUSHALL");
    for port in servers.ports() {
        let _ = ask::<()>(port, &["FLUSHALL"]).await;
    }
}

/// Makes all servers unreachable for all instances.
///
/// Each reports its health once it must have noticed.
async fn make_unreachable(fleet: &Fleet, servers: &Servers, rng: &mut Rng) -> io::Result<Event> {
    // A fault of the network must not end this one.
    let _no_other_fault = fleet.gate.write().await;
    fleet.faults.count("servers unreachable");
    let is_cut = rng.bool();
    if is_cut {
        fleet.count_killed(fleet.connected());
        fleet.set(NetworkFault::Cut);
    } else {
        servers.freeze();
    }
    let start = clock::now();
    sleep(BOUND * 2).await;
    fleet.request("well").await?;
    let end = clock::now();
    if is_cut {
        fleet.set(NetworkFault::Fair);
    } else {
        servers.thaw();
    }
    Ok(Event::Window {
        kind: Window::Unreachable,
        start,
        end,
    })
}

/// Does what an operator or another user of a server may do to it.
async fn disturb_briefly(
    fleet: &Fleet,
    servers: &Servers,
    events: &mut Vec<Event>,
    rng: &mut Rng,
) -> io::Result<()> {
    let server = servers.primary(rng).await;
    let (port, faults) = (server.port(), &fleet.faults);
    match rng.u32(..100) {
        0..18 => {
            faults.count("CLIENT KILL");
            let kind = ["normal", "pubsub"][rng.usize(..2)];
            let killed: usize = ask(port, &["CLIENT", "KILL", "TYPE", kind])
                .await
                .unwrap_or(0);
            fleet.count_killed(killed);
        }
        18..35 => {
            faults.count("CLIENT PAUSE");
            let time = rng.u64(50..700).to_string();
            let kind = ["WRITE", "ALL"][rng.usize(..2)];
            let _ = ask::<()>(port, &["CLIENT", "PAUSE", &time, kind]).await;
        }
        35..48 => {
            faults.count("SCRIPT FLUSH");
            let _ = ask::<()>(port, &["SCRIPT", "FLUSH"]).await;
        }
        48..60 => flush(fleet, servers).await,
        60..72 => events.push(make_unreachable(fleet, servers, rng).await?),
        72..86 => {
            faults.count("small maxmemory");
            let policy = ["noeviction", "allkeys-random", "volatile-ttl"][rng.usize(..3)];
            let _ = ask::<()>(port, &["CONFIG", "SET", "maxmemory-policy", policy]).await;
            let _ = ask::<()>(port, &["CONFIG", "SET", "maxmemory", "1mb"]).await;
            sleep(millis(rng, 100, 1_000)).await;
            let [maxmemory, policy] = servers.topology().memory();
            let _ = ask::<()>(port, &["CONFIG", "SET", "maxmemory", maxmemory]).await;
            let _ = ask::<()>(port, &["CONFIG", "SET", "maxmemory-policy", policy]).await;
        }
        _ => {
            faults.count("SIGSTOP of the server");
            server.freeze();
            sleep(millis(rng, 50, 1_200)).await;
            server.thaw();
        }
    }
    Ok(())
}
