//! Operations on the lower tiers for several keys at once.
//!
//! The loads of a batch take the same steps as single ones, each as a future of its own, on one
//! task. An operation of such a load on a tier is not sent at once: it is a question in the
//! [`Gather`], which the load waits for. When all loads of the batch were polled, what they have
//! asked for is sent as one operation on several keys for each tier, and each load gets its own
//! answer. So a load of a batch behaves as a single one does, in a few round trips for all of them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::cached_function::CachedFunction;
use crate::call_trace::CallOutcome;
use crate::error::{Error, ErrorKind};
use crate::flight::FlightId;
use crate::tier::store::StoreShard;
use crate::tier::time_limit::with_time_limit;
use crate::tier::watch;
use crate::tier::{
    Fill, FillResult, Lease, LeaseMode, LeaseRequest, LeaseResult, ReadOptions, ReadResult,
    RecordKey,
};
use crate::trace::BatchSpan;

/// An operation on a tier, which gives its answers to the loads when it ends.
pub(super) type Operation<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The questions and the answers of the loads of one batch.
#[derive(Debug)]
pub(crate) struct Gather {
    state: Mutex<State>,
    /// The span of the batch, if it is enabled.
    pub(super) trace: OnceLock<BatchSpan>,
}

#[derive(Debug)]
struct State {
    /// The questions since the last [`Gather::operations`].
    asked: Vec<Asked>,
    /// The answers, by the number of the load, until the load takes them.
    answers: Vec<Option<Answer>>,
    /// The flight that each load leads before its body.
    led: Vec<Option<FlightId>>,
    /// The number of loads that wait for an answer.
    waiting: usize,
}

/// The place of one load in a [`Gather`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    gather: &'a Gather,
    number: usize,
}

/// The wait of one load for an answer.
struct Waiting<'a> {
    gather: &'a Gather,
    number: usize,
    is_answered: bool,
}

/// The place of a tier among the lower tiers of the function, and the key of a record in it.
type Record<'a> = (usize, &'a Arc<RecordKey>);

#[derive(Debug)]
struct Asked {
    number: usize,
    at: usize,
    key: Arc<RecordKey>,
    within: Duration,
    question: Question,
}

#[derive(Debug)]
enum Question {
    Read(ReadOptions),
    Lease(LeaseMode, Vec<u8>),
    Fill(Lease, Vec<u8>, Duration),
}

#[derive(Debug)]
enum Answer {
    Read(Result<ReadResult, Error>),
    Lease(Result<LeaseResult, Error>),
    Fill(Result<FillResult, Error>),
}

impl<'a> Place<'a> {
    /// Notes the flight that the load leads while it looks for a value and takes its leases.
    pub(super) fn leads(self, flight: Option<FlightId>) {
        self.gather.lock().led[self.number] = flight;
    }

    /// Records how the load answers the call.
    pub(super) fn answered(self, outcome: CallOutcome) {
        if let Some(trace) = self.gather.trace.get() {
            trace.answered(outcome);
        }
    }

    /// Notes that the load waits for a tier by itself, until the result is dropped.
    pub(super) fn waits(self) -> impl Drop + Send + use<'a> {
        self.gather.lock().waiting += 1;
        Waiting {
            gather: self.gather,
            number: self.number,
            is_answered: true,
        }
    }

    pub(super) async fn read(
        self,
        record: Record<'_>,
        options: ReadOptions,
        within: Duration,
    ) -> Result<ReadResult, Error> {
        // All records are read by one operation, whose options are the same for all of them.
        let options = ReadOptions {
            if_none_match: None,
            ..options
        };
        match self.ask(record, within, Question::Read(options)).await {
            Answer::Read(result) => result,
            Answer::Lease(_) | Answer::Fill(_) => Err(no_answer()),
        }
    }

    pub(super) async fn lease(
        self,
        record: Record<'_>,
        mode: LeaseMode,
        expected_header: &[u8],
        within: Duration,
    ) -> Result<LeaseResult, Error> {
        let question = Question::Lease(mode, expected_header.to_vec());
        match self.ask(record, within, question).await {
            Answer::Lease(result) => result,
            Answer::Read(_) | Answer::Fill(_) => Err(no_answer()),
        }
    }

    pub(super) async fn fill(
        self,
        record: Record<'_>,
        lease: Lease,
        (bytes, life): (Vec<u8>, Duration),
        within: Duration,
    ) -> Result<FillResult, Error> {
        let question = Question::Fill(lease, bytes, life);
        match self.ask(record, within, question).await {
            Answer::Fill(result) => result,
            Answer::Read(_) | Answer::Lease(_) => Err(no_answer()),
        }
    }

    /// Waits for the answer. The load is polled again when the batch has it, so no waker is kept.
    async fn ask(&self, record: Record<'_>, within: Duration, question: Question) -> Answer {
        if within.is_zero() {
            let error = Error::new(
                ErrorKind::TimedOut,
                "the call has used up the time limit of the tier",
            );
            return question.fails_with(error);
        }
        let (at, key) = record;
        // Ends the wait also if the load is dropped.
        let mut waiting = self.gather.ask(Asked {
            number: self.number,
            at,
            key: Arc::clone(key),
            within,
            question,
        });
        poll_fn(|_| match self.gather.take(self.number) {
            Some(answer) => {
                waiting.is_answered = true;
                Poll::Ready(answer)
            }
            None => Poll::Pending,
        })
        .await
    }
}

impl Gather {
    /// Makes a gather of this many loads.
    pub(crate) fn new(loads: usize) -> Self {
        Self {
            state: Mutex::new(State {
                asked: Vec::new(),
                answers: std::iter::repeat_with(|| None).take(loads).collect(),
                led: vec![None; loads],
                waiting: 0,
            }),
            trace: OnceLock::new(),
        }
    }

    /// Returns the place of the load with this number.
    pub(super) fn place(&self, number: usize) -> Place<'_> {
        Place {
            gather: self,
            number,
        }
    }

    /// Returns the flight that a load leads, which is not ready for its body.
    pub(super) fn led(&self, number: usize) -> Option<FlightId> {
        self.lock().led[number]
    }

    /// Returns `true` if a load waits for a tier. It either continues soon or waits for another
    /// caller then, because the operations of tiers have time limits.
    pub(super) fn is_busy(&self) -> bool {
        self.lock().waiting > 0
    }

    /// Returns the operations for what was asked since the last call. Each gives its answers to the
    /// loads when it ends.
    pub(super) fn operations<'a>(&'a self, function: &'a CachedFunction) -> Vec<Operation<'a>> {
        let asked = std::mem::take(&mut self.lock().asked);
        let mut groups: Vec<Group<'a>> = Vec::new();
        for one in asked {
            let shard = function.lower[one.at].store.of(one.key.digest);
            match groups.iter_mut().find(|group| group.takes(&one, shard)) {
                Some(group) => group.asked.push(one),
                None => groups.push(Group {
                    shard,
                    asked: vec![one],
                }),
            }
        }
        let operations = groups.into_iter();
        operations
            .map(|group| self.operation(function, group))
            .collect()
    }

    fn operation<'a>(&'a self, function: &'a CachedFunction, group: Group<'a>) -> Operation<'a> {
        Box::pin(async move {
            let Group { shard, mut asked } = group;
            let Some(first) = asked.first() else { return };
            let context = function.tokio_context_of(&function.lower[first.at]);
            // The operation is one for all: it takes no longer than each of them may.
            let within = asked.iter().map(|one| one.within).min().unwrap_or_default();
            let kind = first.question.kind();
            let times = function.lower[first.at].store.times();
            let began = times.begin();
            let span = shard.span(kind.name());
            let answers = with_time_limit(context, within, async {
                Ok(answers(shard, &mut asked, within).await)
            });
            let answers = span.enter(answers).await;
            let failed = match &answers {
                Ok(answers) => answers.iter().find_map(Answer::error),
                Err(error) => Some(error),
            };
            times.ended(kind, began, failed);
            span.end(failed);
            let (mut answers, error) = match answers {
                Ok(answers) => (answers, no_answer()),
                Err(error) => (Vec::new(), error),
            };
            let mut state = self.lock();
            let mut answers = answers.drain(..);
            for Asked {
                number, question, ..
            } in asked
            {
                let answer = answers.next();
                let answer = answer.unwrap_or_else(|| question.fails_with(error.clone()));
                state.answers[number] = Some(answer);
            }
        })
    }

    fn ask(&self, asked: Asked) -> Waiting<'_> {
        let mut state = self.lock();
        state.waiting += 1;
        let number = asked.number;
        state.asked.push(asked);
        Waiting {
            gather: self,
            number,
            is_answered: false,
        }
    }

    fn take(&self, number: usize) -> Option<Answer> {
        self.lock().answers[number].take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.gather.lock();
        state.waiting -= 1;
        if self.is_answered {
            return;
        }
        let is_own = |asked: &Asked| asked.number == self.number;
        let asked = state.asked.iter().position(is_own);
        // They may hold a lease, which is released after the lock.
        let unasked = asked.map(|at| state.asked.remove(at));
        let unread = state.answers[self.number].take();
        drop(state);
        drop((unasked, unread));
    }
}

/// The questions to one shard of a tier that are sent as one operation.
struct Group<'a> {
    shard: &'a StoreShard,
    asked: Vec<Asked>,
}

impl Group<'_> {
    fn takes(&self, other: &Asked, shard: &StoreShard) -> bool {
        let is_same = |one: &Asked| match (&one.question, &other.question) {
            (Question::Read(one), Question::Read(other)) => one == other,
            (Question::Lease(one, _), Question::Lease(other, _)) => one == other,
            (Question::Fill(..), Question::Fill(..)) => true,
            (Question::Read(_) | Question::Lease(..) | Question::Fill(..), _) => false,
        };
        std::ptr::eq(self.shard, shard) && self.asked.first().is_some_and(is_same)
    }
}

impl Question {
    fn kind(&self) -> watch::Operation {
        match self {
            Self::Read(_) => watch::Operation::Read,
            Self::Lease(..) => watch::Operation::Lease,
            Self::Fill(..) => watch::Operation::Fill,
        }
    }

    /// Returns the answer of an operation that failed.
    fn fails_with(self, error: Error) -> Answer {
        match self {
            Self::Read(_) => Answer::Read(Err(error)),
            Self::Lease(..) => Answer::Lease(Err(error)),
            Self::Fill(..) => Answer::Fill(Err(error)),
        }
    }
}

impl Answer {
    fn error(&self) -> Option<&Error> {
        match self {
            Self::Read(result) => result.as_ref().err(),
            Self::Lease(result) => result.as_ref().err(),
            Self::Fill(result) => result.as_ref().err(),
        }
    }
}

/// Asks a tier, and returns the answers in order. All questions are of the kind of the first.
async fn answers(shard: &StoreShard, asked: &mut [Asked], within: Duration) -> Vec<Answer> {
    let tier = &shard.tier;
    match asked.first().map(|one| &one.question) {
        Some(&Question::Read(options)) => {
            let keys: Vec<_> = asked.iter().map(|one| &*one.key).collect();
            let read = tier.read_many(&keys, options, within).await;
            read.into_iter().map(Answer::Read).collect()
        }
        Some(&Question::Lease(mode, _)) => {
            let requests: Vec<_> = asked.iter().filter_map(Asked::lease_request).collect();
            let leased = tier.lease_many(&requests, mode, within).await;
            leased.into_iter().map(Answer::Lease).collect()
        }
        Some(Question::Fill(..)) => {
            let fills = asked.iter_mut().filter_map(Asked::fill).collect();
            let filled = tier.fill_many(fills, within).await;
            filled.into_iter().map(Answer::Fill).collect()
        }
        None => Vec::new(),
    }
}

impl Asked {
    fn lease_request(&self) -> Option<LeaseRequest<'_>> {
        match &self.question {
            Question::Lease(_, expected_header) => Some(LeaseRequest {
                key: &self.key,
                expected_header,
            }),
            Question::Read(_) | Question::Fill(..) => None,
        }
    }

    /// Takes the record out.
    fn fill(&mut self) -> Option<Fill<'_>> {
        match &mut self.question {
            Question::Fill(lease, record, life) => Some(Fill {
                key: &self.key,
                lease,
                record: std::mem::take(record),
                life: *life,
            }),
            Question::Read(_) | Question::Lease(..) => None,
        }
    }
}

fn no_answer() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "the tier has answered an operation on several keys for some of them only",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::FunctionKey;

    #[tokio::test]
    async fn load_that_is_dropped_is_not_waited_for() {
        let gather = Gather::new(2);
        let key = RecordKey::new(Arc::new(FunctionKey::new("f", 1)), "1".into(), 1);
        let key = Arc::new(key);
        let place = gather.place(1);
        let mut read =
            Box::pin(place.read((0, &key), ReadOptions::default(), Duration::from_secs(1)));
        let polled = poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending()));
        assert!(polled.await);
        assert!(gather.is_busy());
        drop(read);
        assert!(!gather.is_busy());
        assert!(gather.lock().asked.is_empty());
    }
}
