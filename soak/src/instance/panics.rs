//! Panics of an instance, which count as violations.

use std::fs::File;
use std::io::Write;
use std::panic;
use std::path::{Path, PathBuf};
use std::process;

use crate::clock;
use crate::history::{Event, Life};

/// Returns the file of the panics of the instance with this history. It is read like a history.
pub(super) fn file_of(history: &Path) -> PathBuf {
    let mut name = history.as_os_str().to_owned();
    name.push("-panics");
    name.into()
}

/// Records each panic of any thread or task of this process in `file`.
///
/// The file is not the history: the code that panics may hold the lock of the history, and buffered
/// events of the history are lost when the process is killed.
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
        // The run fails if an instance ends without a command, so the panic is noticed anyway.
        if recorded.is_err() {
            process::abort();
        }
    }));
}

/// Panics in a task, as a fault in the cache could.
pub(super) async fn panic_in_a_task() {
    let panics = async || panic!("the instance panics because a command asked it to");
    let ended = tokio::spawn(panics()).await;
    debug_assert!(ended.is_err());
}
