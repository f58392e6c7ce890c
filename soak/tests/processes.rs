//! Promises between processes, each tested alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use soak::address::Address;
use soak::checker::{Verdict, Violation, judge, unconverged};
use soak::clock;
use soak::database::Database;
use soak::directory::Directory;
use soak::history::{Event, Life};
use soak::instance::{BOUND, PAUSE, SLOW_LOAD, Settings};
use soak::items::SLOW;
use soak::process::{Process, histories};
use testbed::ask::ask;
use testbed::proxy::{End, NetworkFault, Proxy};
use testbed::server::Server;
use testbed::{until, until_ok};
use tokio::time::{Instant, sleep};

/// A server, a database and some instances, each behind a proxy.
struct Cluster {
    directory: Directory,
    server: Server,
    database: Database,
    proxies: Vec<Proxy>,
    instances: Vec<Process>,
}

impl Cluster {
    async fn start(number: u16) -> Self {
        let directory = Directory::new("test").unwrap();
        let server = Server::start();
        let database = Database::start(&directory.path().join("database")).unwrap();
        let (mut proxies, mut instances) = (Vec::new(), Vec::new());
        for instance in 0..number {
            let proxy = Proxy::to(server.port()).await;
            let settings = Settings {
                address: Address::Server(proxy.url()),
                database: database.path().to_owned(),
                history: PathBuf::new(),
                life: Life {
                    instance,
                    number: 0,
                },
                seed: u64::from(instance),
                pause: PAUSE,
            };
            let program = Path::new(env!("CARGO_BIN_EXE_soak"));
            instances.push(
                Process::start(program, directory.path(), settings)
                    .await
                    .unwrap(),
            );
            proxies.push(proxy);
        }
        let mut cluster = Self {
            directory,
            server,
            database,
            proxies,
            instances,
        };
        cluster.until_at_rest().await;
        cluster
    }

    async fn until_at_rest(&mut self) {
        for instance in &mut self.instances {
            instance.until_at_rest().await.unwrap();
        }
    }

    /// Waits until the instances have recorded `more` further reads.
    async fn until_read(&self, more: usize) {
        let reads = || {
            let events = histories(self.directory.path()).unwrap();
            let reads = events
                .iter()
                .filter(|event| matches!(event, Event::Read { .. }));
            reads.count()
        };
        let wanted = reads() + more;
        until("the instances have read", || reads() >= wanted).await;
    }

    async fn stop(mut self) -> Vec<Event> {
        for instance in &mut self.instances {
            instance.stop().await.unwrap();
        }
        let mut events = self.database.take_events();
        events.extend(histories(self.directory.path()).unwrap());
        events
    }
}

/// Waits until the instances have committed `more` further versions.
async fn until_changed(database: &Database, more: usize) {
    let wanted = database.commits() + more;
    until("the instances have changed keys", || {
        database.commits() >= wanted
    })
    .await;
}

/// Returns the verdict of a history without violations.
fn judged(events: &[Event]) -> Verdict {
    let verdict = judge(events, u64::try_from(BOUND.as_micros()).unwrap());
    assert_eq!(verdict.violations, []);
    verdict
}

/// Time for which an instance is suspended: longer than a lease, and than the bound.
const STOPPED: Duration = Duration::from_secs(5);

/// Fault at the reader while the other instance invalidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReaderFault {
    None,
    Delay,
    Killed,
    BlackHole,
    Stopped,
}

/// Returns the age of the oldest value that a continuously reading instance read under a fault.
async fn staleness(fault: ReaderFault) -> Duration {
    let mut cluster = Cluster::start(2).await;
    cluster.instances[0].send("probe").await.unwrap();
    cluster.until_read(50).await;
    let proxy = &cluster.proxies[0];
    match fault {
        ReaderFault::None => {}
        ReaderFault::Delay => {
            proxy.set(NetworkFault::Delay(Duration::from_millis(200)));
            // Wait until the delay affects what the instance knows.
            sleep(BOUND).await;
        }
        ReaderFault::Killed => {
            assert_eq!(
                proxy.end(End::Reset),
                2,
                "the connection of the channel and that of the data"
            );
        }
        ReaderFault::BlackHole => proxy.set(NetworkFault::BlackHole),
        ReaderFault::Stopped => cluster.instances[0].freeze(),
    }
    let wrote = cluster.instances[1].request("write 0").await.unwrap();
    assert!(wrote.ends_with(" acked"), "{wrote}");
    match fault {
        ReaderFault::BlackHole => {
            let reader = &mut cluster.instances[0];
            until_ok("the instance is isolated", async || {
                match reader.is_coherent().await.unwrap() {
                    true => Err("not yet"),
                    false => Ok(()),
                }
            })
            .await;
            sleep(BOUND * 2).await;
        }
        ReaderFault::Stopped => {
            sleep(STOPPED).await;
            cluster.instances[0].thaw();
        }
        _ => sleep(BOUND * 2).await,
    }
    // The link is lost under some of these faults. It cannot be established again before the fault
    // ends, because the handshake takes several round trips.
    cluster.proxies[0].set(NetworkFault::Fair);
    cluster.instances[0].until_at_rest().await.unwrap();
    cluster.until_read(50).await;
    cluster.instances[0].send("unprobe").await.unwrap();
    let events = cluster.stop().await;
    let verdict = judged(&events);
    assert!(verdict.reads > 50, "{} reads", verdict.reads);
    Duration::from_micros(verdict.worst_staleness)
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_reads_end_within_the_bound() {
    for fault in [
        ReaderFault::None,
        ReaderFault::Delay,
        ReaderFault::Killed,
        ReaderFault::BlackHole,
        ReaderFault::Stopped,
    ] {
        let staleness = staleness(fault).await;
        println!("{fault:?}: {staleness:?} of {BOUND:?}");
        assert!(staleness < BOUND);
        if fault == ReaderFault::BlackHole {
            assert!(!staleness.is_zero(), "the fault has no effect");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_callers_in_four_processes_make_one_load() {
    let mut cluster = Cluster::start(4).await;
    let command = format!("burst {SLOW} 2500");
    for instance in &mut cluster.instances {
        instance.send(&command).await.unwrap();
    }
    let mut times = Vec::new();
    for instance in &mut cluster.instances {
        let answer = instance.reply().await.unwrap();
        let numbers: Vec<u64> = answer
            .split(' ')
            .skip(1)
            .map(|number| number.parse().unwrap())
            .collect();
        times.push((numbers[0], numbers[1]));
    }
    assert_eq!(cluster.database.loads(SLOW), 1);
    let first = times.iter().map(|(first, _)| *first).min().unwrap();
    let last = times.iter().map(|(_, last)| *last).max().unwrap();
    let took = Duration::from_micros(last - first);
    println!(
        "10,000 callers in 4 processes: 1 load of {SLOW_LOAD:?}, the last served after {took:?}"
    );
    // Without optimizations the calls themselves take long.
    let longest = match cfg!(debug_assertions) {
        true => SLOW_LOAD * 3,
        false => SLOW_LOAD * 12 / 10 + Duration::from_millis(20),
    };
    assert!(took <= longest, "{took:?}");
    let verdict = judged(&cluster.stop().await);
    assert_eq!(verdict.reads, 10_000);
}

/// Restarts each instance in turn, then Redis, and does both twice.
#[tokio::test(flavor = "multi_thread")]
async fn rolling_restart_loses_no_invalidation_and_fails_no_call() {
    let mut cluster = Cluster::start(3).await;
    for instance in &mut cluster.instances {
        instance.send("work 0").await.unwrap();
    }
    for _ in 0..2 {
        for instance in &mut cluster.instances {
            // A service that is replaced gets no new calls, then ends.
            assert_eq!(instance.request("rest").await.unwrap(), "rested 0 0");
            instance.stop_and_start().await.unwrap();
            instance.send("work 0").await.unwrap();
            until_changed(&cluster.database, 12).await;
        }
        let _ = ask::<()>(cluster.server.port(), &["SAVE"]).await;
        until_changed(&cluster.database, 4).await;
        cluster.server.restart();
        let restarted = Instant::now();
        cluster.until_at_rest().await;
        println!(
            "all instances are coherent {:?} after Redis was restarted",
            restarted.elapsed()
        );
        until_changed(&cluster.database, 12).await;
    }
    for instance in &mut cluster.instances {
        assert_eq!(instance.request("rest").await.unwrap(), "rested 0 0");
    }
    cluster.until_at_rest().await;
    sleep(BOUND).await;
    let rest = clock::now();
    for instance in &mut cluster.instances {
        instance.request("read").await.unwrap();
    }
    let events = cluster.stop().await;
    let verdict = judged(&events);
    assert!(verdict.invalidations > 50, "{}", verdict.invalidations);
    assert_eq!(unconverged(&events, rest), []);
}

/// The Tokio runtime catches the panic of a task, so nothing else would report it.
#[tokio::test(flavor = "multi_thread")]
async fn panic_in_a_task_of_an_instance_is_a_violation() {
    let mut cluster = Cluster::start(2).await;
    assert_eq!(
        cluster.instances[1].request("panic").await.unwrap(),
        "panicked"
    );
    // The panic is recorded even if the instance is killed afterwards.
    cluster.instances[1].kill_and_start().await.unwrap();
    let verdict = judge(&cluster.stop().await, BOUND.as_micros().try_into().unwrap());
    let [Violation::Panicked { life, .. }] = verdict.violations[..] else {
        panic!("the panic is the one violation: {:?}", verdict.violations)
    };
    assert_eq!(life.instance, 1);
}
