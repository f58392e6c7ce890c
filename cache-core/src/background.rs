//! Background work, which no call waits for.
//!
//! Its concurrency and its queue are bounded, and it is dropped at shutdown. Each kind of work has
//! places of its own, so that one kind that hangs does not stop the others.

mod queue;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_timer::Delay;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub(crate) use self::queue::{Queue, Work};

/// Number of loads whose callers were answered, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BackgroundLoads {
    /// Number of loads that run, with those that began on the task of a caller, which take none of
    /// the places.
    pub running: usize,
    /// Number of loads that wait until one of those has ended. The queue has room for 1,024. If it
    /// is full, further loads are dropped, and
    /// [`FunctionStats::shed`](crate::FunctionStats::shed) counts them.
    pub waiting: usize,
    /// Number of loads that begin in the background and run at the same time at most.
    pub places: usize,
}

/// Background work of one kind. Owns the task that does it.
pub(crate) struct Background {
    /// Largest number of futures that run at the same time.
    places: usize,
    begin: Begin,
    /// Lock rule: no work is added, run or dropped while the lock is held.
    state: Mutex<State>,
}

/// When the task begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// When it is [started](Background::start). Work from before, or from after its Tokio runtime
    /// has ended, is refused.
    AtStart,
    /// Also with work that finds it not started, or its Tokio runtime ended. It then begins in the
    /// Tokio runtime of the caller.
    AtFirstWork,
}

#[derive(Default)]
struct State {
    task: Option<Task>,
    has_ended: bool,
}

/// The task that does the work.
struct Task {
    queue: Arc<Queue>,
    abort: AbortHandle,
    /// Closed once the task and all its work have been dropped.
    alive: watch::Receiver<()>,
    /// Its owners are the task and each of the futures that run.
    owners: Weak<watch::Sender<()>>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
        self.queue.close();
    }
}

impl Background {
    /// Copies of records to other tiers. They use connections of the Tokio runtime in which the
    /// tiers were started, so they run in no other.
    pub(crate) fn of_promotions() -> Self {
        const PLACES: usize = 16;
        Self::new(PLACES, Begin::AtStart)
    }

    /// Loads whose callers were answered.
    pub(crate) fn of_loads(places: usize) -> Self {
        Self::new(places, Begin::AtFirstWork)
    }

    /// Loads that have begun on the task of a caller. They continue at once: while it waited for a
    /// place, such a load would hold its key, its lease and the connection of its body. So there
    /// are as many places as other work has in its queue.
    pub(crate) fn of_hand_overs() -> Self {
        Self::new(queue::CAPACITY, Begin::AtFirstWork)
    }

    fn new(places: usize, begin: Begin) -> Self {
        Self {
            places,
            begin,
            state: Mutex::default(),
        }
    }

    /// Starts the task in the Tokio runtime of the caller. Does nothing outside of Tokio.
    pub(crate) fn start(&self) {
        self.queue(true);
    }

    /// Queues work, and returns `true` if it was accepted. It is refused, and dropped, if the queue
    /// is full, if this has [ended](Self::end), or if there is no Tokio runtime to run it.
    ///
    /// Work that was accepted is run, or dropped without being run when this ends or the Tokio
    /// runtime does. A panic of the work ends nothing but the work.
    pub(crate) fn run(&self, work: Work) -> bool {
        let queue = self.queue(self.begin == Begin::AtFirstWork);
        queue.is_some_and(|queue| queue.add(work).is_ok())
    }

    /// Returns the queue of the task. If there is no task, or if its Tokio runtime has ended, one
    /// is begun if `may_begin`.
    fn queue(&self, may_begin: bool) -> Option<Arc<Queue>> {
        let mut state = self.lock();
        if state.has_ended {
            return None;
        }
        let is_alive = |task: &Task| !task.queue.is_closed();
        if may_begin && !state.task.as_ref().is_some_and(is_alive) {
            // The queue of a task that has ended is closed and empty, so no work is dropped here.
            state.task = self.begin_here();
        }
        state.task.as_ref().map(|task| Arc::clone(&task.queue))
    }

    fn begin_here(&self) -> Option<Task> {
        let tokio = Handle::try_current().ok()?;
        let queue = Arc::new(Queue::default());
        let (alive, of_task) = watch::channel(());
        let alive = Arc::new(alive);
        let owners = Arc::downgrade(&alive);
        let worker = Worker {
            queue: Arc::clone(&queue),
            places: self.places,
            alive,
        };
        Some(Task {
            queue,
            owners,
            abort: tokio.spawn(worker.work()).abort_handle(),
            alive: of_task,
        })
    }

    /// Drops the work that waits, cancels the work that runs, and refuses all further work.
    pub(crate) fn end(&self) {
        let parts = {
            let mut state = self.lock();
            state.has_ended = true;
            let task = state.task.as_ref();
            task.map(|task| (Arc::clone(&task.queue), task.abort.clone()))
        };
        if let Some((queue, abort)) = parts {
            abort.abort();
            queue.close();
        }
    }

    /// Returns the number of futures that run and that wait.
    pub(crate) fn numbers(&self) -> BackgroundLoads {
        let state = self.lock();
        let task = state.task.as_ref();
        BackgroundLoads {
            // One of the owners is the task itself.
            running: task.map_or(0, |task| task.owners.strong_count().saturating_sub(1)),
            waiting: task.map_or(0, |task| task.queue.len()),
            places: self.places,
        }
    }

    /// Returns `true` after [`end`](Self::end).
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().has_ended
    }

    /// Waits until all work has been dropped, after [`end`](Self::end), for 100 ms at most. Work
    /// that blocks its thread is not dropped before it returns to its runtime, and none is dropped
    /// in a runtime that no thread drives.
    ///
    /// Cancel safe.
    pub(crate) async fn ended(&self) {
        const LONGEST_WAIT: Duration = Duration::from_millis(100);
        let alive = self.lock().task.as_ref().map(|task| task.alive.clone());
        let Some(mut alive) = alive else { return };
        // The sender sends nothing: this is ready once it has been dropped.
        let mut all_dropped = pin!(async { while alive.changed().await.is_ok() {} });
        // A timer of Tokio would end at once if a test has paused the caller's clock, and the work
        // runs in another runtime.
        let mut limit = Delay::new(LONGEST_WAIT);
        poll_fn(|cx| match all_dropped.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => Pin::new(&mut limit).poll(cx),
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of the task.
struct Worker {
    queue: Arc<Queue>,
    places: usize,
    alive: Arc<watch::Sender<()>>,
}

impl Worker {
    async fn work(self) {
        // Cancelled together with this task.
        let mut in_progress = JoinSet::new();
        loop {
            while in_progress.len() >= self.places {
                // The result says only whether the work panicked or was cancelled.
                let _ = in_progress.join_next().await;
            }
            let Some(work) = self.queue.next().await else {
                return;
            };
            while in_progress.try_join_next().is_some() {}
            in_progress.spawn(InProgress {
                work,
                _alive: Arc::clone(&self.alive),
            });
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The Tokio runtime has ended, or the task was aborted. Nothing would take further work.
        self.queue.close();
    }
}

/// Work that runs. The fields are dropped in this order, so the work has been dropped once all
/// clones of `_alive` have been.
struct InProgress {
    work: Work,
    _alive: Arc<watch::Sender<()>>,
}

impl Future for InProgress {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.work.as_mut().poll(cx)
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background")
    }
}

#[cfg(all(test, not(schedules)))]
mod tests;

#[cfg(all(test, schedules))]
mod schedules;
