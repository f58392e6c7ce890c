//! One instance: a process with a runtime of its own, which executes the commands on its input.
//!
//! It replies with one line to each command:
//!
//! | command | effect | reply |
//! | --- | --- | --- |
//! | `source <up, down or hung>` | sets the state of the source | `set` |
//! | `call <function>` | calls the hot key once | `called` |
//! | `work <function>` | callers call the hot key until `rest` | `works` |
//! | `rest` | ends the work | what its callers got |
//! | `wave <function> <number>` | concurrent calls of the hot key | what the callers got |
//! | `bodies` | | the counts of the source |
//! | `loads <function>` | | loads, refreshes, calls that waited for a load of another call, and the loads that run now |
//! | `stop` | shuts down and exits | `stopped` |

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Memory, Redis};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::functions::HotFunction;
use super::measured::{Measured, Meter};
use super::source::SOURCE;

/// Tasks of an instance that call the hot key.
const CALLERS: usize = 4;

/// Pause of a caller between two calls.
const PAUSE: Duration = Duration::from_millis(2);

type Failure = Box<dyn Error>;

/// Executes commands until `stop` or the end of the input.
///
/// # Errors
/// The runtime cannot be installed, or a command is unknown.
pub async fn run_instance(url: &str) -> Result<(), Failure> {
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(url).namespace("windows").required())
        .install()
        .await?;
    println!("ready");
    let mut work = Work::default();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if line == "stop" {
            break;
        }
        println!("{}", execute(&line, &mut work, &runtime).await?);
    }
    runtime.shutdown().await?;
    println!("stopped");
    Ok(())
}

async fn execute(line: &str, work: &mut Work, runtime: &CacheRuntime) -> Result<String, Failure> {
    let unknown = || -> Failure { format!("unknown command `{line}`").into() };
    let function = |name: &str| name.parse::<HotFunction>().map_err(|()| unknown());
    let parts: Vec<_> = line.split(' ').collect();
    Ok(match parts[..] {
        ["source", state] => {
            SOURCE.set(state.parse().map_err(|()| unknown())?);
            "set".into()
        }
        ["call", name] => {
            let _result = function(name)?.call().await;
            "called".into()
        }
        ["work", name] => {
            work.begin(function(name)?);
            "works".into()
        }
        ["rest"] => work.end().await.to_string(),
        ["wave", name, number] => wave(function(name)?, number.parse()?).await.to_string(),
        ["bodies"] => SOURCE.counts().map(|count| count.to_string()).join(" "),
        ["loads", name] => {
            let stats = runtime.stats();
            let of = stats.function(function(name)?.name()).ok_or_else(unknown)?;
            let under_way = runtime.loads_under_way();
            format!("{} {} {} {under_way}", of.loads, of.refreshes, of.waits)
        }
        _ => return Err(unknown()),
    })
}

/// Makes concurrent calls, and returns what the callers got.
async fn wave(function: HotFunction, number: usize) -> Measured {
    let meter = Arc::new(Meter::default());
    let mut calls = JoinSet::new();
    for _ in 0..number {
        let meter = Arc::clone(&meter);
        calls.spawn(async move { meter.count(function.call()).await });
    }
    calls.join_all().await;
    meter.read()
}

/// Callers of one function.
#[derive(Default)]
struct Work {
    /// Relaxed: the callers are joined before what they counted is read.
    has_ended: Arc<AtomicBool>,
    meter: Arc<Meter>,
    callers: JoinSet<()>,
}

impl Work {
    fn begin(&mut self, function: HotFunction) {
        *self = Self::default();
        for _ in 0..CALLERS {
            let (has_ended, meter) = (Arc::clone(&self.has_ended), Arc::clone(&self.meter));
            self.callers.spawn(async move {
                while !has_ended.load(Ordering::Relaxed) {
                    meter.count(function.call()).await;
                    let due = Instant::now() + PAUSE;
                    sleep(PAUSE).await;
                    meter.note_timer(due.elapsed());
                }
            });
        }
    }

    async fn end(&mut self) -> Measured {
        self.has_ended.store(true, Ordering::Relaxed);
        while self.callers.join_next().await.is_some() {}
        self.meter.read()
    }
}
