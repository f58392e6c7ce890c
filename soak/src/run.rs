//! One run: without faults, with faults, and without faults again. Then its history is judged.

mod options;
mod outcome;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use testbed::proxy::NetworkFault;
use tokio::sync::{Mutex, RwLock};
use tokio::time::{Instant, sleep};

use self::options::INSTANCES;
pub use self::options::Options;
pub use self::outcome::Outcome;
use self::outcome::before_violation;
use crate::checker::judge;
use crate::clock;
use crate::counts::Counts;
use crate::database::Database;
use crate::directory::Directory;
use crate::faults::{disturb_database, disturb_instances, disturb_servers};
use crate::filler::Filler;
use crate::fleet::Fleet;
use crate::history::{Event, Life, Window};
use crate::instance::{BOUND, LONG_PAUSE, PAUSE, Settings, WORK_AND_FAIL};
use crate::process::{Process, histories};
use crate::quiet::{fail_everywhere, nest, nested, recover};
use crate::servers::{Servers, Topology};

/// Shortest time without faults. A slow nested load fits in.
const SHORTEST_CALM: Duration = Duration::from_secs(6);

/// Seconds from which on a run has a slow nested load after its faults as well.
const LONG_RUN: u64 = 60;

/// Number of keys that an instance invalidates before it is killed.
const QUEUED: u32 = 20;

/// Runs the instances and judges their history.
///
/// # Errors
/// A server or an instance does not do what it was asked to do.
pub async fn run(options: Options) -> io::Result<Outcome> {
    let began = Instant::now();
    let directory = Directory::new("run")?;
    let mut rng = Rng::with_seed(options.seed);
    let database = Arc::new(Database::start(&directory.path().join("database"))?);
    let mut servers = Servers::start(&options.server, options.topology).await?;
    let version = servers.version().await.map_err(io::Error::other)?;
    let filled = servers.ports().next();
    let _filler = filled
        .filter(|_| options.topology == Topology::Evicting)
        .map(Filler::start);
    let directories = [database.path(), directory.path()];
    let fleet = start(&options, &servers, directories, &mut rng).await?;
    let fleet = Arc::new(fleet);

    let mut events = vec![work_without_faults(&fleet, &options).await?];
    let end = began + Duration::from_secs(options.seconds);
    events.extend(work_with_faults(&fleet, &database, &mut servers, &mut rng, end).await?);
    if options.seconds >= LONG_RUN {
        events.push(nest_after_faults(&fleet).await?);
    }
    let reported = rest(&fleet).await?;
    let stale = count_stale(&fleet).await?;
    kill_with_queued_invalidations(&fleet).await?;
    events.extend(read_at_rest(&fleet, options.topology).await?);
    events.extend(database.take_events());
    events.extend(histories(directory.path())?);

    let bound = u64::try_from(BOUND.as_micros()).unwrap_or(u64::MAX);
    let verdict = judge(&events, bound);
    let before = before_violation(&events, &verdict.violations);
    let history = match &options.history {
        None if verdict.violations.is_empty() => None,
        None => {
            let name = format!("soak-history-{}-{}", options.seed, std::process::id());
            Some(std::env::temp_dir().join(name))
        }
        wanted => wanted.clone(),
    };
    if let Some(path) = &history {
        write_history(&events, path)?;
    }
    Ok(Outcome {
        options,
        version,
        killed: fleet.connections.of("killed"),
        faults: Arc::try_unwrap(fleet).map_or_else(|_| Counts::default(), |all| all.faults),
        verdict,
        reported,
        stale,
        before,
        history,
    })
}

/// Starts the instances, each with a network of its own.
async fn start(
    options: &Options,
    servers: &Servers,
    [database, directory]: [&Path; 2],
    rng: &mut Rng,
) -> io::Result<Fleet> {
    let (mut instances, mut networks) = (Vec::new(), Vec::new());
    for instance in 0..INSTANCES {
        let (network, address) = servers.network().await;
        let settings = Settings {
            address,
            database: database.to_owned(),
            history: PathBuf::new(),
            life: Life {
                instance: u16::try_from(instance).unwrap_or(0),
                number: 0,
            },
            seed: rng.u64(..),
            pause: match options.topology {
                Topology::Evicting => LONG_PAUSE,
                _ => PAUSE,
            },
        };
        let process = Process::start(&options.program, directory, settings).await?;
        instances.push(Mutex::new(process));
        networks.push(network);
    }
    Ok(Fleet {
        instances,
        networks,
        faults: Counts::default(),
        gate: RwLock::default(),
        connections: Counts::default(),
    })
}

/// Works without faults: shows how fast invalidations propagate, and how often instances load.
async fn work_without_faults(fleet: &Fleet, options: &Options) -> io::Result<Event> {
    for instance in &fleet.instances {
        let mut instance = instance.lock().await;
        instance.send("work 0").await?;
        instance.send("probe").await?;
    }
    fleet.until_coherent().await?;
    sleep(Duration::from_millis(300)).await;
    let start = clock::now();
    fleet.send("watch").await?;
    nest(fleet, 0).await?;
    fail_everywhere(fleet).await?;
    let pause = match options.topology {
        Topology::Evicting => Duration::from_millis(1_500),
        _ => Duration::from_millis(50),
    };
    let lasts = SHORTEST_CALM.max(Duration::from_secs(options.seconds) / 6);
    let until = Instant::now() + lasts;
    let mut writer = 0;
    while Instant::now() < until {
        let mut instance = fleet.instances[writer].lock().await;
        instance.request("write 0").await?;
        drop(instance);
        writer = (writer + 1) % fleet.instances.len();
        sleep(pause).await;
    }
    nested(fleet).await?;
    fleet.request("well").await?;
    let end = clock::now();
    fleet.send("unwatch").await?;
    fleet.send("unprobe").await?;
    fleet.request_at_once("rest").await?;
    Ok(Event::Window {
        kind: Window::Calm,
        start,
        end,
    })
}

/// Works under faults of the instances, their network and the servers, until `end`.
async fn work_with_faults(
    fleet: &Arc<Fleet>,
    database: &Arc<Database>,
    servers: &mut Servers,
    rng: &mut Rng,
    end: Instant,
) -> io::Result<Vec<Event>> {
    fleet.send(WORK_AND_FAIL).await?;
    let half = INSTANCES / 2;
    let halves = [0..half, half..INSTANCES];
    let disturbing = halves.map(|instances| {
        let disturbing = disturb_instances(Arc::clone(fleet), rng.fork(), instances, end);
        tokio::spawn(disturbing)
    });
    let failing = disturb_database(Arc::clone(fleet), Arc::clone(database), rng.fork(), end);
    let failing = tokio::spawn(failing);
    let events = disturb_servers(Arc::clone(fleet), servers, rng.fork(), end).await?;
    for task in disturbing {
        task.await??;
    }
    failing.await?;
    fleet.set(NetworkFault::Fair);
    fleet.until_coherent().await?;
    Ok(events)
}

/// Shows that a slow nested load runs once in all instances, also after faults.
async fn nest_after_faults(fleet: &Fleet) -> io::Result<Event> {
    let start = clock::now();
    nest(fleet, 1).await?;
    nested(fleet).await?;
    recover(fleet).await?;
    Ok(Event::Window {
        kind: Window::Quiet,
        start,
        end: clock::now(),
    })
}

/// Ends the work of the instances, and returns the sums of what they report of their links.
async fn rest(fleet: &Fleet) -> io::Result<[u64; 4]> {
    let mut reported = [0; 4];
    for instance in &fleet.instances {
        let mut instance = instance.lock().await;
        let rested = instance.request("rest").await?;
        if !rested.ends_with(" 0") {
            return Err(io::Error::other("an invalidation failed"));
        }
        instance.until_at_rest().await?;
        let health = instance.request("health").await?;
        for (sum, number) in reported.iter_mut().zip(health.split(' ').skip(3)) {
            *sum += number.parse().unwrap_or(0);
        }
    }
    Ok(reported)
}

/// Returns how often instances returned stale values, and why: the sums of their current lives.
async fn count_stale(fleet: &Fleet) -> io::Result<[u64; 5]> {
    let mut counts = [0; 5];
    for instance in &fleet.instances {
        let reply = instance.lock().await.request("stale").await?;
        for (sum, number) in counts.iter_mut().zip(reply.split(' ').skip(1)) {
            *sum += number.parse().unwrap_or(0);
        }
    }
    Ok(counts)
}

/// Kills an instance that invalidated while it could not reach the server.
///
/// The next life of the instance has its journal, and has to send these invalidations.
async fn kill_with_queued_invalidations(fleet: &Fleet) -> io::Result<()> {
    fleet.request("read").await?;
    let mut instance = fleet.instances[0].lock().await;
    fleet.networks[0].set(NetworkFault::Cut);
    for item in 0..QUEUED {
        instance.request(&format!("write {item}")).await?;
    }
    instance.kill_and_start().await?;
    fleet.networks[0].set(NetworkFault::Fair);
    instance.until_at_rest().await
}

/// Reads every key when nothing is pending, then once more after everything was invalidated, and
/// stops the instances.
async fn read_at_rest(fleet: &Fleet, topology: Topology) -> io::Result<Vec<Event>> {
    // Instances receive what was sent last within the bound.
    sleep(BOUND).await;
    let start = clock::now();
    fleet.request("read").await?;
    let mut events = vec![Event::Window {
        kind: Window::Rest,
        start,
        end: clock::now(),
    }];
    fleet.instances[0].lock().await.request("settle").await?;
    if topology == Topology::Evicting {
        events.push(Event::Window {
            kind: Window::Evicting,
            start: 0,
            end: clock::now(),
        });
    }
    for instance in &fleet.instances {
        let mut instance = instance.lock().await;
        instance.request("read").await?;
        instance.stop().await?;
    }
    Ok(events)
}

fn write_history(events: &[Event], path: &Path) -> io::Result<()> {
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    for event in events {
        writeln!(file, "{event}")?;
    }
    file.flush()
}
