use super::*;
use crate::tier::Mark;

fn key(number: u64) -> RecordKey {
    RecordKey::new(
        Arc::new(FunctionKey::new("f", 1)),
        number.to_string(),
        number,
    )
}

#[test]
fn invalidation_that_was_added_again_stays_pending_when_the_first_is_done() {
    let pending = PendingInvalidations::default();
    let (first, second) = (key(1), key(2));
    let number = pending.add(Target::Key(&first));
    let batch = pending.batch();
    pending.add(Target::Key(&first));
    pending.add(Target::Key(&second));
    pending.done(Target::Key(&first), number);
    pending.batch_done(&batch);
    assert!(pending.covers(&first) && pending.covers(&second));
    pending.batch_done(&pending.batch());
    assert!(pending.is_empty() && !pending.covers(&first));
    let number = pending.add(Target::Function(&first.function));
    assert!(pending.covers(&second));
    pending.done(Target::Function(&first.function), number);
    assert!(!pending.covers(&second));
}

const KEYS: [(&str, u64); 4] = [("f", 1), ("f", 2), ("g", 1), ("g", 2)];

fn key_of((function, number): (&str, u64)) -> RecordKey {
    let function = Arc::new(FunctionKey::new(function, 1));
    RecordKey::new(function, number.to_string(), number)
}

fn is_in(inner: &OwnedTarget, outer: &OwnedTarget) -> bool {
    match (inner, outer) {
        (_, OwnedTarget::All) => true,
        (OwnedTarget::Key(key), OwnedTarget::Function(function)) => *key.function == *function,
        (inner, outer) => inner == outer,
    }
}

/// A random history, and what of it is not confirmed, in a list that forgets nothing.
#[derive(Default)]
struct History {
    random: fastrand::Rng,
    is_queued: bool,
    pending: PendingInvalidations,
    added: Vec<(OwnedTarget, u64)>,
    unconfirmed: Vec<(OwnedTarget, u64)>,
    batches: Vec<Batch>,
}

impl History {
    fn step(&mut self) {
        match self.random.u8(..10) {
            0..=4 => self.add(),
            5..=7 => self.confirm_one(),
            8 => self.batches.push(self.pending.batch()),
            _ => self.confirm_batch(),
        }
    }

    fn add(&mut self) {
        let key = key_of(KEYS[self.random.usize(..KEYS.len())]);
        let target = match self.random.u8(..8) {
            0 => OwnedTarget::All,
            1 | 2 => OwnedTarget::Function((*key.function).clone()),
            _ => OwnedTarget::Key(key),
        };
        let number = if self.is_queued {
            self.pending.queue(target.borrow());
            self.pending.batch().number()
        } else {
            self.pending.add(target.borrow())
        };
        self.added.push((target.clone(), number));
        self.unconfirmed.push((target, number));
    }

    fn confirm_one(&mut self) {
        if self.added.is_empty() {
            return;
        }
        let (target, number) = &self.added[self.random.usize(..self.added.len())];
        self.pending.done(target.borrow(), *number);
        self.unconfirmed
            .retain(|(of, later)| later > number || !is_in(of, target));
    }

    fn confirm_batch(&mut self) {
        if let Some(batch) = self.batches.pop() {
            self.pending.batch_done(&batch);
            let confirmed = batch.number();
            self.unconfirmed.retain(|(_, number)| *number > confirmed);
        }
    }

    fn check(&self, key: &RecordKey) {
        let target = OwnedTarget::Key(key.clone());
        let is_pending = self.unconfirmed.iter().any(|(of, _)| is_in(&target, of));
        let covers = self.pending.covers(key);
        // A wider invalidation may take the place of a queued one, and stay with it.
        let is_right = covers == is_pending || self.is_queued && covers;
        assert!(is_right, "{key:?}: {covers}, but {:?}", self.unconfirmed);
    }
}

#[test]
fn invalidation_is_pending_until_it_or_a_wider_one_was_confirmed_after_it() {
    for seed in 0..4_000 {
        let mut history = History {
            random: fastrand::Rng::with_seed(seed),
            is_queued: seed % 2 == 1,
            ..History::default()
        };
        for _ in 0..30 {
            history.step();
            for key in KEYS {
                history.check(&key_of(key));
            }
        }
        let pending = history.pending;
        pending.batch_done(&pending.batch());
        assert!(pending.is_empty());
    }
}

#[test]
fn invalidation_sent_by_itself_is_removed_beside_a_wider_one_that_was_sent_before() {
    let pending = PendingInvalidations::default();
    let all = pending.add(Target::All);
    let one = pending.add(Target::Key(&key(1)));
    assert_eq!(pending.len(), 1, "everything");
    pending.done(Target::All, all);
    assert!(pending.covers(&key(1)) && !pending.covers(&key(2)));
    pending.done(Target::Key(&key(1)), one);
    assert!(pending.is_empty());
}

#[tokio::test]
async fn waits_end_when_the_list_is_empty_and_fail_when_it_is_closed_before() {
    let pending = Arc::new(PendingInvalidations::default());
    let wait = || {
        let pending = Arc::clone(&pending);
        tokio::spawn(async move { pending.wait_empty().await })
    };
    let number = pending.add(Target::All);
    let waiter = wait();
    tokio::task::yield_now().await;
    pending.done(Target::All, number);
    waiter.await.unwrap().expect("nothing is pending");
    pending.add(Target::All);
    let waiter = wait();
    tokio::task::yield_now().await;
    pending.close();
    let error = waiter.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn tags_are_pending_until_they_were_confirmed_after_they_were_added() {
    let pending = PendingInvalidations::default();
    let first = pending.add_tags(&[1, 2]);
    let batch = pending.batch();
    assert!(!batch.is_empty() && batch.targets().next().is_none());
    pending.add_tags(&[2]);
    pending.tags_done(&[1, 2], first);
    assert!(!pending.covers_tags(&[1]) && pending.covers_tags(&[1, 2]));
    assert_eq!(pending.len(), 1);
    pending.batch_done(&batch);
    assert!(pending.covers_tags(&[2]), "it was added after the batch");
    let all = pending.add(Target::All);
    pending.done(Target::All, all);
    assert!(pending.covers_tags(&[2]), "a tag is no part of everything");
    let batch = pending.batch();
    assert_eq!(batch.tags, [2]);
    pending.batch_done(&batch);
    assert!(pending.is_empty() && !pending.covers_tags(&[2]));
}

#[test]
fn record_is_judged_by_pending_tags_and_expiries() {
    let pending = PendingInvalidations::default();
    let judge = |tags: &[u64]| {
        pending.judge(Marks {
            mark: Mark { base: 1, number: 1 },
            tags,
            key: 7,
            function: 8,
        })
    };
    let key = key(7);
    for (target, tags) in [
        (Expiry::Key(&key), &[][..]),
        (Expiry::Tags(&[5, 6]), &[6][..]),
    ] {
        assert_eq!(judge(tags), MarksState::Valid);
        pending.add_expiry(target);
        assert_eq!(judge(tags), MarksState::Expired);
        pending.add_tags(&[6]);
        assert_eq!(judge(&[6]), MarksState::Invalidated);
        let batch = pending.batch();
        assert_eq!(batch.tags, [6]);
        assert!(!batch.expiries.is_empty() && !batch.all_expiries);
        pending.batch_done(&batch);
    }
    assert_eq!(judge(&[6]), MarksState::Valid);
}
