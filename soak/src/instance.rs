//! One instance: a process with a runtime of its own, which executes the commands on its input.
//!
//! It replies with one line to each command, except for those whose last column is empty:
//!
//! | command | effect | reply |
//! | --- | --- | --- |
//! | `work <number>` | reads and changes keys at random until `rest`; this many loads in a thousand fail | |
//! | `rest` | ends the work | `rested <failed calls> <failed invalidations>` |
//! | `probe`, `unprobe` | starts and ends reading one key each millisecond | |
//! | `write <item>` | commits a version and invalidates | `wrote <acked or queued>` |
//! | `settle` | invalidates everything and waits until that has settled | `settled` |
//! | `read` | reads every key | `read` |
//! | `burst <item> <number>` | concurrent calls of one key | `burst <first start> <last end>` |
//! | `call <item>` | calls one key five times, one call after another | `called` |
//! | `fail <item> <number>` | concurrent calls of one key whose loads fail | `failed` |
//! | `nest <item> <number>` | starts concurrent bodies that call one slow key | |
//! | `nested` | waits until these bodies have returned | `nested` |
//! | `well` | records the health of the runtime | `well <0 or 1>` |
//! | `watch`, `unwatch` | starts and ends doing that and calling some keys every 50 ms | |
//! | `panic` | panics in a task | `panicked` |
//! | `health` | | `health <connected> <coherent> <isolations> <gaps> <history changes> <replays> <queued>` |
//! | `stale` | | `stale <stale hits> <refreshes> <stale on error> <backed off> <timeouts>` |
//! | `stop` | shuts down and exits | `stopped` |

mod commands;
mod functions;
mod invalidations;
mod liveness;
mod panics;
mod reads;
mod settings;
mod state;
mod work;

use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Memory};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::sleep;

use self::commands::Commands;
pub use self::functions::{FAILING_LOAD, NESTED_LOAD, SLOW_LOAD};
pub use self::settings::{BOUND, LONG_PAUSE, NAMESPACE, PAUSE, Settings, WORK_AND_FAIL};
use self::state::Instance;

/// Executes commands until `stop` or the end of the input.
///
/// # Errors
/// The runtime cannot be installed, the history cannot be written, or a command is unknown.
pub async fn run_instance(settings: Settings) -> Result<(), Box<dyn std::error::Error>> {
    panics::record(panics::file_of(&settings.history), settings.life);
    let journal = format!("journal-{}", settings.life.instance);
    let journal = settings.history.with_file_name(journal);
    let instance = Instance::start(&settings)?;
    let redis = settings
        .address
        .redis()
        .namespace(NAMESPACE)
        .staleness_bound(BOUND)
        .journal_file(journal);
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(redis)
        .install()
        .await?;
    println!("ready");
    let flush = tokio::spawn(async {
        loop {
            sleep(Duration::from_millis(50)).await;
            let _ = Instance::get().flush();
        }
    });
    let mut commands = Commands::new(instance, runtime.clone(), settings.seed);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if line == "stop" {
            break;
        }
        if let Some(reply) = commands.execute(&line).await? {
            println!("{reply}");
        }
    }
    runtime.shutdown().await?;
    flush.abort();
    instance.flush()?;
    println!("stopped");
    Ok(())
}
