//! The phases of a run.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::checks::Judge;
use super::cluster::{Bodies, Cluster};
use super::functions::{HotFunction, TTL};
use super::source::SourceState;
use super::table::{Phase, Table};

/// Concurrent calls of each wave in each instance.
const WAVE: usize = 25;

/// Time for which the counts are watched after a body was dropped: a body that still runs would
/// show it many times.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// Longest wait for the end of a load: longer than any takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Length of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Each phase takes some seconds. Promises about time on the wall are not judged.
    Short,
    /// The hot keys are called for two minutes each, and the outage takes one minute.
    Long,
}

impl Length {
    fn hot(self) -> Duration {
        Duration::from_secs(match self {
            Self::Short => 5,
            Self::Long => 120,
        })
    }

    fn outage(self) -> Duration {
        Duration::from_secs(match self {
            Self::Short => 8,
            Self::Long => 60,
        })
    }
}

/// Options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Program of this package, which the instances run.
    pub program: PathBuf,
    /// Program of the server.
    pub server: String,
    /// Length of the run.
    pub length: Length,
}

/// Runs all phases.
///
/// # Errors
/// The server or an instance does not do what it was asked to do.
pub async fn run(options: &Options) -> io::Result<Table> {
    let cluster = Cluster::start(&options.program, &options.server).await?;
    let mut run = Run {
        cluster,
        length: options.length,
        judge: Judge {
            judges_time: options.length == Length::Long,
        },
        table: Table::default(),
    };
    run.hot(HotFunction::Revalidated).await?;
    run.hot(HotFunction::Ahead).await?;
    run.outage().await?;
    run.hung().await?;
    run.cluster.stop().await?;
    Ok(run.table)
}

struct Run {
    cluster: Cluster,
    length: Length,
    judge: Judge,
    table: Table,
}

impl Run {
    /// A hot key whose value expires again and again.
    async fn hot(&mut self, function: HotFunction) -> io::Result<()> {
        let cluster = &mut self.cluster;
        let before = cluster.bodies().await?;
        let began = Instant::now();
        cluster.call_in_turn(function).await?;
        cluster.work(function).await?;
        sleep(self.length.hot()).await;
        let measured = cluster.rest().await?;
        let lasted = began.elapsed();
        let bodies = cluster.bodies().await?.up - before.up;
        let loads = cluster.loads(function).await?;
        let checks = self.judge.hot(function, &measured, loads, bodies, lasted);
        self.table.checks.extend(checks);
        self.table.phases.push(Phase {
            name: format!("{function}, the source is up"),
            lasted,
            measured,
            bodies,
        });
        Ok(())
    }

    /// A hot key whose source is down for some time.
    async fn outage(&mut self) -> io::Result<()> {
        let function = HotFunction::Revalidated;
        let cluster = &mut self.cluster;
        cluster.call_in_turn(function).await?;
        cluster.work(function).await?;
        // The values in memory are as of some time before this phase. A load replaces them first.
        sleep(TTL * 2).await;
        let began = Instant::now();
        cluster.set_source(SourceState::Down).await?;
        sleep(self.length.outage()).await;
        cluster.set_source(SourceState::Up).await?;
        let lasted = began.elapsed();
        let measured = cluster.rest().await?;
        let bodies = cluster.bodies().await?.down;
        let checks = Judge::outage(&measured, bodies, lasted);
        self.table.checks.extend(checks);
        self.table.phases.push(Phase {
            name: format!("{function}, the source is down"),
            lasted,
            measured,
            bodies,
        });
        Ok(())
    }

    /// A body that never ends, and calls of its key until it is dropped and after that.
    async fn hung(&mut self) -> io::Result<()> {
        let function = HotFunction::Hung;
        let cluster = &mut self.cluster;
        let dropped_before = cluster.bodies().await?.dropped;
        cluster.set_source(SourceState::Hung).await?;
        let began = Instant::now();
        let mut waves = Vec::new();
        for number in 1..=2 {
            let wave_began = Instant::now();
            let measured = cluster.wave(function, WAVE).await?;
            self.table.phases.push(Phase {
                name: format!("{function}, a body that never ends, wave {number}"),
                lasted: wave_began.elapsed(),
                measured,
                bodies: cluster.bodies().await?.hung,
            });
            waves.push(measured);
        }
        let checks = self.judge.waves(&waves, cluster.bodies().await?);
        self.table.checks.extend(checks);

        let of_this_phase = |bodies: Bodies| Bodies {
            dropped: bodies.dropped - dropped_before,
            ..bodies
        };
        let dropped = until_dropped(cluster, dropped_before);
        let before = timeout(PATIENCE, dropped)
            .await
            .unwrap_or_else(|_| Err(io::Error::other("a body is not dropped at its limit")))?;
        let dropped_after = began.elapsed();
        sleep(AFTERWARDS).await;
        let after = cluster.bodies().await?;
        let (before, after) = (of_this_phase(before), of_this_phase(after));
        let checks = Judge::limit(dropped_after, before, after);
        self.table.checks.extend(checks);

        cluster.set_source(SourceState::Up).await?;
        let began = Instant::now();
        let measured = cluster.wave(function, WAVE).await?;
        let bodies = cluster.bodies().await?.up - after.up;
        let loads = cluster.loads(function).await?;
        self.table
            .checks
            .extend(Judge::freed(&measured, bodies, loads));
        self.table.phases.push(Phase {
            name: format!("{function}, after the body was dropped"),
            lasted: began.elapsed(),
            measured,
            bodies,
        });
        Ok(())
    }
}

/// Waits until all bodies that never end were dropped, and returns the counts as of then.
async fn until_dropped(cluster: &mut Cluster, dropped_before: u64) -> io::Result<Bodies> {
    loop {
        let bodies = cluster.bodies().await?;
        if bodies.dropped - dropped_before >= bodies.hung {
            return Ok(bodies);
        }
        sleep(Duration::from_millis(10)).await;
    }
}
