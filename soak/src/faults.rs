//! What is done to the network, the instances and the servers while they work.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use testbed::proxy::{End, NetworkFault, Proxy};
use tokio::sync::{Mutex, RwLock};
use tokio::time::{Instant, sleep, timeout};

use crate::clock;
use crate::counts::Counts;
use crate::history::{Event, Item, Split, Window};
use crate::instance::{BOUND, WORK_AND_FAIL};
use crate::process::Process;
use crate::quiet::quiet;
use crate::servers::{Servers, Topology, ask};

/// What faults are done to.
#[derive(Debug)]
pub struct Cluster {
    /// The instances.
    pub instances: Vec<Mutex<Process>>,
    /// What each of them reaches Redis through.
    pub proxies: Vec<Proxy>,
    /// How often each fault was done.
    pub faults: Counts,
    /// Held for reading while a fault of the network or of an instance lasts, for writing while there must be none.
    pub gate: RwLock<()>,
    /// Connections that were ended under an instance's hands, under `killed`.
    pub connections: Counts,
}

impl Cluster {
    fn killed(&self, connections: usize) {
        self.connections.add("killed", connections);
    }

    /// Lets all proxies have this network_fault.
    pub fn set(&self, network_fault: NetworkFault) {
        for proxy in &self.proxies {
            proxy.set(network_fault);
        }
    }

    fn connected(&self) -> usize {
        self.proxies.iter().map(Proxy::connections).sum()
    }

    /// Waits until all instances know what the others invalidate.
    ///
    /// # Errors
    /// An instance is gone, or it takes more than a minute.
    pub async fn until_coherent(&self) -> io::Result<()> {
        let all = async {
            for instance in &self.instances {
                while !instance.lock().await.is_coherent().await? {
                    sleep(Duration::from_millis(10)).await;
                }
            }
            Ok(())
        };
        timeout(Duration::from_secs(60), all)
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the instances do not come back")))
    }
}

fn millis(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.u64(from..to))
}

/// Faults of the network and of these instances, one after the other, until `end`.
///
/// # Errors
/// An instance does not do as it is told: that is no fault of ours.
pub async fn around(
    world: Arc<Cluster>,
    mut rng: Rng,
    instances: std::ops::Range<usize>,
    end: Instant,
) -> io::Result<()> {
    while Instant::now() < end {
        sleep(millis(&mut rng, 100, 800)).await;
        let _fault = world.gate.read().await;
        let at = rng.usize(instances.clone());
        let (proxy, faults) = (&world.proxies[at], &world.faults);
        let mut network_fault = None;
        match rng.u32(..100) {
            0..22 => {
                faults.count("close");
                world.killed(proxy.end(End::Close));
            }
            22..44 => {
                faults.count("reset");
                world.killed(proxy.end(End::Reset));
            }
            44..50 => {
                faults.count("half-open");
                world.killed(proxy.strand());
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
                world.killed(proxy.connections());
                network_fault = Some((NetworkFault::Cut, millis(&mut rng, 100, 1_000)));
            }
            88..95 => {
                faults.count("SIGSTOP of an instance");
                let instance = world.instances[at].lock().await;
                instance.freeze();
                sleep(millis(&mut rng, 50, 2_000)).await;
                instance.thaw();
            }
            _ => {
                faults.count("SIGKILL of an instance");
                world.killed(proxy.connections());
                let mut instance = world.instances[at].lock().await;
                instance.kill_and_start().await?;
                instance.tell(WORK_AND_FAIL).await?;
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

/// Faults of the servers, one after the other, until `end`, and a quiet time after each; and the times that are judged
/// otherwise.
///
/// # Errors
/// A server does not do as it is told.
pub async fn of_servers(
    world: Arc<Cluster>,
    servers: &mut Servers,
    mut rng: Rng,
    end: Instant,
) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    let (mut changes, mut number): (usize, Item) = (0, 0);
    while Instant::now() < end {
        sleep(millis(&mut rng, 200, 1_200)).await;
        // A short run must have these two: they show whether an instance recovers.
        match number {
            0 => events.push(away(&world, servers, &mut rng).await?),
            1 => flush(&world, servers).await,
            _ => small(&world, servers, &mut events, &mut rng).await?,
        }
        // A change of the server would undo what a flush did to an instance.
        if number == 2 || (number > 2 && rng.bool()) {
            sleep(millis(&mut rng, 100, 800)).await;
            events.extend(change(&world, servers, changes, &mut rng).await?);
            changes += 1;
        }
        events.push(quiet(&world, servers, number).await?);
        number += 1;
    }
    Ok(events)
}

/// Another server takes the place of the primary, or the same one starts again.
async fn change(
    world: &Cluster,
    servers: &mut Servers,
    turn: usize,
    rng: &mut Rng,
) -> io::Result<Option<Event>> {
    let died = world.connected();
    match (servers.topology(), turn % 5) {
        (Topology::Standalone | Topology::Evicting, turn) => {
            world.faults.count(if turn % 2 == 0 {
                "restart from an older state"
            } else {
                "restart"
            });
            if turn % 2 == 0 {
                let _ = ask::<()>(servers.primary().port(), &["SAVE"]).await;
                sleep(millis(rng, 100, 1_000)).await;
            }
            servers.restart();
            world.killed(died);
        }
        (Topology::Failover, 0 | 2) => {
            world.faults.count("failover");
            servers.fail_over(&world.proxies).await?;
            world.killed(died);
        }
        (Topology::Failover, 1 | 3) => {
            let lag = millis(rng, 200, 900);
            let lossy = servers.fail_over_with_loss(&world.proxies, lag).await?;
            world.faults.count("failover");
            if lossy {
                world.faults.count("failover that lost something");
            }
            world.killed(died);
        }
        (Topology::Failover, _) => {
            world.faults.count("failover");
            world.faults.count("old primary that lives on");
            let start = clock::now();
            let stay = rng.usize(1..world.proxies.len());
            servers.split(&world.proxies, stay).await?;
            let moved = clock::now();
            sleep(millis(rng, 2_000, 9_000)).await;
            let united = clock::now();
            servers.unite(&world.proxies).await?;
            world.killed(died);
            world.until_coherent().await?;
            // What was sent again is heard within the bound.
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

async fn flush(world: &Cluster, servers: &Servers) {
    world.faults.count("FLUSHALL");
    let _ = ask::<()>(servers.primary().port(), &["FLUSHALL"]).await;
}

/// No instance reaches the server, and each is asked for its health when it can know that.
async fn away(world: &Cluster, servers: &Servers, rng: &mut Rng) -> io::Result<Event> {
    // A fault of the network must not end this one.
    let _no_other_fault = world.gate.write().await;
    world.faults.count("server away");
    let is_cut = rng.bool();
    if is_cut {
        world.killed(world.connected());
        world.set(NetworkFault::Cut);
    } else {
        servers.primary().freeze();
    }
    let start = clock::now();
    sleep(BOUND * 2).await;
    for instance in &world.instances {
        instance.lock().await.ask("well").await?;
    }
    let end = clock::now();
    if is_cut {
        world.set(NetworkFault::Fair);
    } else {
        servers.primary().thaw();
    }
    Ok(Event::Window {
        kind: Window::Away,
        start,
        end,
    })
}

/// What an operator, or another user of the server, may do to it.
async fn small(
    world: &Cluster,
    servers: &Servers,
    events: &mut Vec<Event>,
    rng: &mut Rng,
) -> io::Result<()> {
    let port = servers.primary().port();
    let faults = &world.faults;
    match rng.u32(..100) {
        0..18 => {
            faults.count("CLIENT KILL");
            let kind = ["normal", "pubsub"][rng.usize(..2)];
            let killed: usize = ask(port, &["CLIENT", "KILL", "TYPE", kind])
                .await
                .unwrap_or(0);
            world.killed(killed);
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
        48..60 => flush(world, servers).await,
        60..72 => events.push(away(world, servers, rng).await?),
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
            servers.primary().freeze();
            sleep(millis(rng, 50, 1_200)).await;
            servers.primary().thaw();
        }
    }
    Ok(())
}
