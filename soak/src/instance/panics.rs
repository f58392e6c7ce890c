//! Panics of an instance, which its parent takes for violations.

use std::fs::File;
use std::io::Write;
use std::panic;
use std::path::{Path, PathBuf};
use std::process;

use crate::clock;
use crate::history::{Event, Life};

/// The file of the panics of the instance with this history, which is read with the histories.
pub(super) fn file_of(history: &Path) -> PathBuf {
    let mut name = history.as_os_str().to_owned();
    name.push("-panics");
    name.into()
}

/// Records each panic of this process in `file`, in whichever thread or task it happens.
///
/// The file is not the history: the code that panics may hold the history's lock, and what the history has buffered is
/// lost when the process is killed.
pub(super) fn record(file: PathBuf, life: Life) {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        let event = Event::Panic {
            life,
            at: clock::now(),
        };
        let opened = File::options().create(true).append(true).open(&file);
        let recorded = opened.and_then(|mut file| writeln!(file, "{event}"));
        // The parent takes the end of an instance that it did not ask for as a failure of the run.
        if recorded.is_err() {
            process::abort();
        }
    }));
}

/// Panics in a task, as a fault in the cache could.
pub(super) async fn panic_in_a_task() {
    let panics = async || panic!("an instance panics because it was told to");
    let ended = tokio::spawn(panics()).await;
    debug_assert!(ended.is_err());
}
