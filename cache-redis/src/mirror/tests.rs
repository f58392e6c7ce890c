//! The copy beside a ledger whose messages arrive late, and whose load takes several steps.

use std::collections::{BTreeMap, VecDeque};
use std::iter;

use cache_core::tier::Mark;
use proptest::prelude::*;

use super::*;

const TAGS: u64 = 4;

/// The number of entries that a generation may have.
const MOST_ENTRIES: usize = 3;

/// A generation on the server.
#[derive(Clone, Debug, Default)]
struct Generation {
    mark: Option<Mark>,
    begun: u64,
    entries: BTreeMap<(bool, u64), u64>,
}

impl Generation {
    fn new(base: u64, number: u64) -> Self {
        Self {
            mark: Some(Mark { base, number }),
            begun: number,
            entries: BTreeMap::new(),
        }
    }
}

/// A message or the reply to a command of this instance.
type Notice = (Event, Vec<u64>);

/// An invalidation or an expiry that was made on the server.
#[derive(Debug)]
struct Made {
    tag: u64,
    /// The number of records that were loaded before.
    after: usize,
    /// The base and the number.
    at: (u64, u64),
    /// The instance has received the message or the reply.
    is_known: bool,
}

/// The server, the channel to the instance, the replies to it, and the load in progress.
#[derive(Default)]
struct World<'a> {
    ledger: Generation,
    old: Generation,
    bases: u64,
    channel: VecDeque<Notice>,
    replies: VecDeque<Notice>,
    made: Vec<Made>,
    /// The marks of records, in the order in which their loads began.
    records: Vec<Mark>,
    load: Option<Loading<'a>>,
}

/// A load in progress, with what is read next.
struct Loading<'a> {
    load: Load<'a>,
    head: Option<Head>,
    ledger: Option<Ledger>,
    next: u64,
}

/// Base, floor, and the floor of the old generation.
type Head = (u64, u64, Option<u64>);

#[derive(Clone, Copy, Debug)]
enum Step {
    /// An entry for a tag, of this instance or another.
    Entry(Kind, u64, bool),
    AllTags,
    Lease,
    EvictLedger,
    EvictOld,
    Deliver,
    Reply,
    Load,
    /// The link is lost and made again.
    Relink,
}

impl<'a> World<'a> {
    /// Returns the mark, and begins the ledger if it is missing.
    fn mark(&mut self) -> Mark {
        if self.ledger.mark.is_none() {
            self.begin();
        }
        self.ledger.mark.unwrap()
    }

    fn begin(&mut self) {
        self.bases += 1;
        self.ledger = Generation::new(self.bases, 0);
        self.old = Generation::default();
        self.publish(Change::Begun, None);
    }

    fn publish(&mut self, change: Change, tag: Option<u64>) -> Notice {
        let base = self.ledger.mark.unwrap().base;
        let notice = (Event { base, change }, tag.into_iter().collect::<Vec<_>>());
        self.channel.push_back(notice.clone());
        notice
    }

    fn entry(&mut self, kind: Kind, tag: u64, is_own: bool) {
        let Mark { base, number } = self.mark();
        let field = (kind == Kind::Expired, tag);
        if self.ledger.entries.len() >= MOST_ENTRIES {
            let next = Generation::new(base, number);
            self.old = std::mem::replace(&mut self.ledger, next);
            self.publish(Change::Rotated(number), None);
        }
        let number = number + 1;
        self.ledger.mark = Some(Mark { base, number });
        self.ledger.entries.insert(field, number);
        let notice = self.publish(Change::Entry(kind, number), Some(tag));
        if is_own {
            self.replies.push_back(notice);
        }
        self.made.push(Made {
            tag,
            after: self.records.len(),
            at: (base, number),
            is_known: false,
        });
    }

    fn received(&mut self, mirror: &Mirror, (event, tags): Notice) {
        if let Change::Entry(_, number) = event.change {
            for made in &mut self.made {
                made.is_known |= made.at == (event.base, number);
            }
        }
        mirror.apply(event, tags.into_iter());
    }

    fn head(&self) -> Option<Head> {
        let base = self.ledger.mark?.base;
        let is_of_ledger = self.old.mark.is_some_and(|mark| mark.base == base);
        let old = is_of_ledger.then_some(self.old.begun);
        Some((base, self.ledger.begun, old))
    }

    /// Does one request of a load: the head, the fields of one tag in one generation, or the head
    /// again.
    fn load(&mut self, mirror: &'a Mirror) {
        let Some(mut loading) = self.load.take() else {
            self.load = mirror.begin_load().map(|load| Loading {
                load,
                head: self.head(),
                ledger: self
                    .head()
                    .map(|(base, begun, old)| Ledger::new(base, begun, old)),
                next: 0,
            });
            return;
        };
        if let Some(ledger) = &mut loading.ledger
            && loading.next < 2 * TAGS
        {
            let generation = match loading.next < TAGS {
                true => &self.ledger,
                false => &self.old,
            };
            let tag = loading.next % TAGS;
            for kind in [Kind::Invalidated, Kind::Expired] {
                let field = (kind == Kind::Expired, tag);
                if let Some(number) = generation.entries.get(&field) {
                    ledger.note(kind, tag, *number);
                }
            }
            loading.next += 1;
            self.load = Some(loading);
            return;
        }
        if loading.head == self.head() {
            loading.load.finish(loading.ledger);
        }
    }

    fn step(&mut self, mirror: &'a Mirror, step: Step) {
        match step {
            Step::Entry(kind, tag, is_own) => self.entry(kind, tag, is_own),
            Step::AllTags => self.begin(),
            Step::Lease => {
                let mark = self.mark();
                self.records.push(mark);
            }
            Step::EvictLedger => self.ledger = Generation::default(),
            Step::EvictOld => self.old = Generation::default(),
            Step::Deliver => {
                if let Some(notice) = self.channel.pop_front() {
                    self.received(mirror, notice);
                }
            }
            Step::Reply => {
                if let Some(notice) = self.replies.pop_front() {
                    self.received(mirror, notice);
                }
            }
            Step::Load => self.load(mirror),
            Step::Relink => {
                mirror.reset();
                // Messages from before the subscription do not arrive.
                self.channel.clear();
            }
        }
    }

    /// No record is valid that the instance knows to be invalidated or expired, since its load
    /// began.
    fn check(&self, mirror: &Mirror) {
        for (at, mark) in self.records.iter().enumerate() {
            for tag in 0..TAGS {
                let is_valid = state(mirror, *mark, tag) == Some(MarksState::Valid);
                let known = |made: &&Made| made.is_known && made.tag == tag && at < made.after;
                let known = self.made.iter().find(known).filter(|_| is_valid);
                assert!(known.is_none(), "{mark:?} is valid, and {known:?}");
            }
        }
    }

    /// Once everything has arrived, the copy is the ledger.
    fn check_at_rest(&mut self, mirror: &'a Mirror) {
        while !self.channel.is_empty() || !self.replies.is_empty() {
            self.step(mirror, Step::Deliver);
            self.step(mirror, Step::Reply);
        }
        for _ in 0..4 * TAGS + 4 {
            self.load(mirror);
        }
        let head = self.head();
        for mark in &self.records {
            for tag in 0..TAGS {
                let found = state(mirror, *mark, tag).expect("a copy that is loaded");
                let has = |kind, tag| {
                    let field = (kind == Kind::Expired, tag);
                    [&self.ledger, &self.old].into_iter().any(|generation| {
                        let last = generation.entries.get(&field);
                        let same = generation.mark.is_some_and(|of| of.base == mark.base);
                        same && last.is_some_and(|last| *last > mark.number)
                    })
                };
                let floor = head.map(|(base, begun, old)| (base, old.unwrap_or(begun)));
                let is_unknown =
                    !floor.is_some_and(|(base, floor)| base == mark.base && floor <= mark.number);
                // The copy may reach further back than a ledger that has lost its old generation.
                if has(Kind::Invalidated, tag) {
                    assert_eq!(found, MarksState::Invalidated);
                } else if !is_unknown {
                    let expired = has(Kind::Expired, tag);
                    let expected = [MarksState::Valid, MarksState::Expired][usize::from(expired)];
                    assert_eq!(found, expected, "{mark:?} {tag}");
                }
            }
        }
    }
}

fn state(mirror: &Mirror, mark: Mark, tag: u64) -> Option<MarksState> {
    mirror.state(Marks {
        mark,
        tags: &[tag],
        key: 100,
        function: 200,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kinds = prop_oneof![4 => Just(Kind::Invalidated), 1 => Just(Kind::Expired)];
    let entry = (kinds, 0..TAGS, any::<bool>());
    let step = prop_oneof![
        6 => entry.prop_map(|(kind, tag, is_own)| Step::Entry(kind, tag, is_own)),
        1 => Just(Step::AllTags),
        5 => Just(Step::Lease),
        1 => Just(Step::EvictLedger),
        1 => Just(Step::EvictOld),
        8 => Just(Step::Deliver),
        3 => Just(Step::Reply),
        16 => Just(Step::Load),
        1 => Just(Step::Relink),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_record_is_valid_that_is_known_to_be_invalidated(steps in steps()) {
        let mirror = Mirror::default();
        mirror.enable();
        let mut world = World::default();
        for step in steps {
            world.step(&mirror, step);
            world.check(&mirror);
        }
        world.check_at_rest(&mirror);
    }
}

fn event(base: u64, change: Change) -> Event {
    Event { base, change }
}

fn loaded(base: u64) -> Mirror {
    let mirror = Mirror::default();
    mirror.enable();
    let load = mirror.begin_load().unwrap();
    assert!(load.finish(Some(Ledger::new(base, 0, None))));
    mirror
}

fn mark(number: u64) -> Mark {
    Mark { base: 7, number }
}

#[test]
fn copy_is_unknown_until_it_is_loaded_and_after_the_link_is_lost() {
    let mirror = Mirror::default();
    assert!(mirror.begin_load().is_none(), "no function needs it");
    mirror.enable();
    let load = mirror.begin_load().unwrap();
    assert_eq!(state(&mirror, mark(0), 1), None);
    assert!(mirror.begin_load().is_none(), "it is being loaded");
    mirror.reset();
    let later = mirror.begin_load().unwrap();
    assert!(!load.finish(None), "the link was lost");
    assert_eq!(state(&mirror, mark(0), 1), None);
    assert!(later.finish(None));
    let there_is_none = Some(MarksState::Invalidated);
    assert_eq!(state(&mirror, mark(0), 1), there_is_none);
    assert!(mirror.begin_load().is_none(), "it is known");
    mirror.reset();
    drop(mirror.begin_load());
    assert!(mirror.begin_load().is_some(), "the load was given up");
}

#[test]
fn another_base_in_a_message_or_a_reply_drops_the_copy_and_has_it_loaded_again() {
    for change in [
        Change::Begun,
        Change::Rotated(3),
        Change::Entry(Kind::Invalidated, 1),
    ] {
        let mirror = loaded(7);
        mirror.apply(event(7, change), iter::once(1));
        assert!(state(&mirror, mark(9), 1).is_some());
        assert!(!mirror.is_wanted.load(Ordering::Relaxed));
        mirror.apply(event(8, change), iter::once(1));
        assert_eq!(state(&mirror, mark(9), 1), None);
        assert!(mirror.is_wanted.load(Ordering::Relaxed));
    }
    let mirror = loaded(7);
    mirror.saw(7);
    assert!(state(&mirror, mark(0), 1).is_some());
    mirror.saw(8);
    assert_eq!(state(&mirror, mark(0), 1), None);
    // During the load.
    let load = mirror.begin_load().unwrap();
    mirror.apply(event(8, Change::Begun), iter::empty());
    assert!(!load.finish(Some(Ledger::new(7, 0, None))));
    assert_eq!(state(&mirror, mark(0), 1), None);
}

/// A call that has asked the server does not return the value, so no later call must either.
#[test]
fn entry_that_a_reply_has_shown_voids_a_record_before_its_message_arrives() {
    let mirror = loaded(7);
    assert_eq!(state(&mirror, mark(3), 1), Some(MarksState::Valid));
    let mut part = Ledger::new(7, 0, None);
    part.note(Kind::Invalidated, 1, 5);
    mirror.learn(&part);
    assert_eq!(state(&mirror, mark(3), 1), Some(MarksState::Invalidated));
    assert_eq!(state(&mirror, mark(5), 1), Some(MarksState::Valid));
    // The message changes nothing.
    mirror.apply(event(7, Change::Entry(Kind::Invalidated, 5)), iter::once(1));
    assert_eq!(state(&mirror, mark(5), 1), Some(MarksState::Valid));
    mirror.learn(&Ledger::new(8, 0, None));
    assert_eq!(state(&mirror, mark(5), 1), None, "another base");
}

#[test]
fn own_entry_that_is_ahead_of_a_rotation_stays() {
    let mirror = loaded(7);
    mirror.apply(event(7, Change::Entry(Kind::Invalidated, 9)), iter::once(1));
    mirror.apply(event(7, Change::Rotated(5)), iter::empty());
    mirror.apply(event(7, Change::Rotated(8)), iter::empty());
    let found = state(&mirror, mark(8), 1);
    assert_eq!(found, Some(MarksState::Invalidated));
}

#[tokio::test]
async fn load_is_wanted_when_a_function_needs_it_and_when_the_copy_is_dropped() {
    let mirror = Mirror::default();
    mirror.apply(event(7, Change::Begun), iter::empty());
    mirror.announce();
    mirror.enable();
    mirror.wanted().await;
    let load = mirror.begin_load().unwrap();
    // More than may be kept.
    let entry = event(7, Change::Entry(Kind::Expired, 1));
    mirror.apply(entry, 0..MOST_DIGESTS as u64);
    mirror.announce();
    mirror.wanted().await;
    assert!(!load.finish(Some(Ledger::new(7, 0, None))));
}
