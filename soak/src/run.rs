//! One run: calm, faults, calm again; then the judgement.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fastrand::Rng;
use testbed::proxy::{NetworkFault, Proxy};
use tokio::sync::{Mutex, RwLock};
use tokio::time::{Instant, sleep};

use crate::checker::{Verdict, judge};
use crate::clock;
use crate::counts::Counts;
use crate::database::Database;
use crate::faults::{Cluster, around, of_servers};
use crate::filler::Filler;
use crate::history::{Event, Life, Window};
use crate::instance::{BOUND, LONG_PAUSE, PAUSE, Settings, WORK_AND_FAIL};
use crate::process::{Process, histories};
use crate::quiet::{fail_everywhere, nest, nested};
use crate::servers::{Servers, Topology};

/// Instances at a time.
const INSTANCES: usize = 4;

/// A slow nested load fits in.
const SHORTEST_CALM: Duration = Duration::from_secs(6);

/// A run of so many seconds has a slow nested load after its faults as well.
const LONG_RUN: u64 = 60;

/// Violations of one kind that are shown one by one.
const SHOWN: usize = 5;

/// Keys that an instance invalidates before it is killed.
const QUEUED: u32 = 20;

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// This package's program.
    pub program: PathBuf,
    /// How long.
    pub seconds: u64,
    /// On which servers.
    pub topology: Topology,
    /// What is done at random follows from this, though not when.
    pub seed: u64,
    /// The program of the servers.
    pub server: String,
    /// Where the history is kept whatever it shows.
    pub history: Option<PathBuf>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    options: Options,
    version: String,
    faults: Counts,
    killed: usize,
    /// The judgement.
    pub verdict: Verdict,
    /// What the instances say of themselves, added up.
    own: [u64; 4],
    history: Option<PathBuf>,
}

/// A directory that is removed when it is dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// A new one, which tells `what` it is for.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(what: &str) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "soak-{what}-{}-{}-{number}",
            std::process::id(),
            clock::now()
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Does it.
///
/// # Errors
/// A server or an instance did not do as it was told.
pub async fn run(options: Options) -> io::Result<Outcome> {
    let began = Instant::now();
    let directory = Directory::new("run")?;
    let mut rng = Rng::with_seed(options.seed);
    let database = Database::start(&directory.path().join("database"))?;
    let mut servers = Servers::start(&options.server, options.topology).await?;
    let version = servers.version().await.map_err(io::Error::other)?;
    let _filler =
        (options.topology == Topology::Evicting).then(|| Filler::start(servers.primary().port()));
    let (mut instances, mut proxies) = (Vec::new(), Vec::new());
    for instance in 0..INSTANCES {
        let proxy = Proxy::to(servers.primary().port()).await;
        let settings = Settings {
            url: proxy.url(),
            database: database.path().to_owned(),
            history: PathBuf::new(),
            life: Life {
                instance: u16::try_from(instance).unwrap_or(0),
                number: 0,
            },
            seed: rng.u64(..),
            pause: match options.topology {
                Topology::Standalone | Topology::Failover => PAUSE,
                Topology::Evicting => LONG_PAUSE,
            },
        };
        let process = Process::start(&options.program, directory.path(), settings).await?;
        instances.push(Mutex::new(process));
        proxies.push(proxy);
    }
    let world = Arc::new(Cluster {
        instances,
        proxies,
        faults: Counts::default(),
        gate: RwLock::default(),
        connections: Counts::default(),
    });
    let mut events = vec![calm(&world, &options).await?];

    let end = began + Duration::from_secs(options.seconds);
    for instance in &world.instances {
        instance.lock().await.tell(WORK_AND_FAIL).await?;
    }
    let half = INSTANCES / 2;
    let one = tokio::spawn(around(Arc::clone(&world), rng.fork(), 0..half, end));
    let other = tokio::spawn(around(Arc::clone(&world), rng.fork(), half..INSTANCES, end));
    events.extend(of_servers(Arc::clone(&world), &mut servers, rng.fork(), end).await?);
    one.await??;
    other.await??;

    world.set(NetworkFault::Fair);
    world.until_coherent().await?;
    if options.seconds >= LONG_RUN {
        let start = clock::now();
        nest(&world, 1).await?;
        nested(&world).await?;
        ask_for_health(&world).await?;
        events.push(Event::Window {
            kind: Window::Quiet,
            start,
            end: clock::now(),
        });
    }
    let mut own = [0; 4];
    for instance in &world.instances {
        let mut instance = instance.lock().await;
        let rested = instance.ask("rest").await?;
        if !rested.ends_with(" 0") {
            return Err(io::Error::other("an invalidation failed"));
        }
        instance.until_at_rest().await?;
        let health = instance.ask("health").await?;
        for (sum, number) in own.iter_mut().zip(health.split(' ').skip(3)) {
            *sum += number.parse().unwrap_or(0);
        }
    }
    die_with_some_queued(&world).await?;
    // What was sent last is heard.
    sleep(BOUND).await;
    let start = clock::now();
    for instance in &world.instances {
        instance.lock().await.ask("read").await?;
    }
    events.push(Event::Window {
        kind: Window::Rest,
        start,
        end: clock::now(),
    });
    world.instances[0].lock().await.ask("settle").await?;
    if options.topology == Topology::Evicting {
        events.push(Event::Window {
            kind: Window::Evicting,
            start: 0,
            end: clock::now(),
        });
    }
    for instance in &world.instances {
        instance.lock().await.ask("read").await?;
        instance.lock().await.stop().await?;
    }
    events.extend(database.take_events());
    events.extend(histories(directory.path())?);
    let bound = u64::try_from(BOUND.as_micros()).unwrap_or(u64::MAX);
    let verdict = judge(&events, bound);
    let history = match &options.history {
        None if verdict.violations.is_empty() => None,
        None => {
            let name = format!("soak-history-{}-{}", options.seed, std::process::id());
            Some(std::env::temp_dir().join(name))
        }
        wanted => wanted.clone(),
    };
    if let Some(path) = &history {
        keep(&events, path)?;
    }
    Ok(Outcome {
        options,
        version,
        killed: world.connections.of("killed"),
        faults: Arc::try_unwrap(world).map_or_else(|_| Counts::default(), |world| world.faults),
        verdict,
        own,
        history,
    })
}

/// Work without faults: how fast the instances hear of each other, and how often they load.
async fn calm(world: &Cluster, options: &Options) -> io::Result<Event> {
    for instance in &world.instances {
        let mut instance = instance.lock().await;
        instance.tell("work 0").await?;
        instance.tell("probe").await?;
    }
    world.until_coherent().await?;
    sleep(Duration::from_millis(300)).await;
    let start = clock::now();
    for instance in &world.instances {
        instance.lock().await.tell("watch").await?;
    }
    nest(world, 0).await?;
    fail_everywhere(world).await?;
    let pause = match options.topology {
        Topology::Standalone | Topology::Failover => Duration::from_millis(50),
        Topology::Evicting => Duration::from_millis(1_500),
    };
    let lasts = SHORTEST_CALM.max(Duration::from_secs(options.seconds) / 6);
    let until = Instant::now() + lasts;
    let mut writer = 0;
    while Instant::now() < until {
        world.instances[writer].lock().await.ask("write 0").await?;
        writer = (writer + 1) % world.instances.len();
        sleep(pause).await;
    }
    nested(world).await?;
    ask_for_health(world).await?;
    let end = clock::now();
    for instance in &world.instances {
        let mut instance = instance.lock().await;
        instance.tell("unwatch").await?;
        instance.tell("unprobe").await?;
        instance.tell("rest").await?;
    }
    for instance in &world.instances {
        instance.lock().await.answer().await?;
    }
    Ok(Event::Window {
        kind: Window::Calm,
        start,
        end,
    })
}

async fn ask_for_health(world: &Cluster) -> io::Result<()> {
    for instance in &world.instances {
        instance.lock().await.ask("well").await?;
    }
    Ok(())
}

/// An instance invalidates while it is cut off, and is killed: the next with its journal is to send what that one could not.
async fn die_with_some_queued(world: &Cluster) -> io::Result<()> {
    for instance in &world.instances {
        instance.lock().await.ask("read").await?;
    }
    let mut instance = world.instances[0].lock().await;
    world.proxies[0].set(NetworkFault::Cut);
    for item in 0..QUEUED {
        instance.ask(&format!("write {item}")).await?;
    }
    instance.kill_and_start().await?;
    world.proxies[0].set(NetworkFault::Fair);
    instance.until_at_rest().await
}

fn keep(events: &[Event], path: &Path) -> io::Result<()> {
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    for event in events {
        writeln!(file, "{event}")?;
    }
    file.flush()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (options, verdict) = (&self.options, &self.verdict);
        let millis = |micros: u64| micros as f64 / 1_000.0;
        writeln!(
            f,
            "{}, {:?}, {} s, seed {}, {INSTANCES} instances, bound {} ms",
            self.version,
            options.topology,
            options.seconds,
            options.seed,
            BOUND.as_millis()
        )?;
        writeln!(f, "reads checked      {}", verdict.reads)?;
        writeln!(
            f,
            "invalidations      {} (queued {}, settled {}, of functions {})",
            verdict.invalidations, verdict.queued, verdict.settled, verdict.of_functions
        )?;
        writeln!(f, "loads              {}", verdict.loads)?;
        writeln!(f, "connections killed {}", self.killed)?;
        writeln!(f, "faults             {}", self.faults)?;
        let [isolations, gaps, changes, replays] = self.own;
        writeln!(
            f,
            "of themselves      isolations {isolations}, gaps {gaps}, history changes {changes}, replays {replays}"
        )?;
        let at = |share: f64| {
            let last = verdict.propagation.len().saturating_sub(1);
            let index = (last as f64 * share) as usize;
            millis(verdict.propagation.get(index).copied().unwrap_or(0))
        };
        writeln!(
            f,
            "propagation        median {:.2} ms, 99 % {:.2} ms (of {}, without faults)",
            at(0.5),
            at(0.99),
            verdict.propagation.len()
        )?;
        writeln!(
            f,
            "worst staleness    {:.1} ms of {} ms",
            millis(verdict.worst_staleness),
            BOUND.as_millis()
        )?;
        writeln!(
            f,
            "went back in faults {}, within the bound",
            verdict.backwards_in_faults
        )?;
        writeln!(
            f,
            "liveness           {} quiet times, {} calls, {} reports of health; recovered within {:.0} ms, slowest call {:.0} ms",
            verdict.quiet,
            verdict.calls,
            verdict.reports,
            millis(verdict.longest_recovery),
            millis(verdict.slowest_call)
        )?;
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for violation in &verdict.violations {
            let before = kinds.entry(violation.kind()).or_default();
            if *before < SHOWN {
                writeln!(f, "{violation}")?;
            }
            *before += 1;
        }
        if let Some(history) = &self.history {
            writeln!(f, "seed {}, history {}", options.seed, history.display())?;
        }
        write!(f, "violations: {}", verdict.violations.len())?;
        kinds
            .iter()
            .try_for_each(|(kind, number)| write!(f, ", {kind} {number}"))
    }
}
