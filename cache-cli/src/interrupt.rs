//! Signals that end the program in order, so that it can remove what it has stored.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Tells work that it is to end soon. Clones are set together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Returns `true` once a signal has arrived.
    pub(crate) fn is_set(&self) -> bool {
        // Relaxed: the flag orders nothing.
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The signals that end a program. Once this exists, they do not end it any more.
#[derive(Debug)]
pub(crate) struct Signals([Signal; 3]);

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Runs work to its end. The first signal sets `stop`, for which the work looks.
    pub(crate) async fn run<T>(&mut self, stop: &Stop, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        tokio::select! {
            result = &mut work => return result,
            () = self.next() => stop.set(),
        }
        work.await
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
