//! A batch has the results of the same operations sent alone.

use std::cell::RefCell;
use std::collections::HashMap;

use cache_core::tier::{FillResult, LeaseMode, Target};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use redis::Value;
use tokio::sync::oneshot;

use super::*;
use crate::commands::fill::StoreRecord;
use crate::commands::invalidate::Invalidate;
use crate::commands::lease::{Reply, TakeLease};
use crate::commands::read::{self, ReadReply};
use crate::commands::testing::{EPOCH, HISTORY, MINUTE};
use crate::server::Identity;

/// How often operations are chosen.
const CASES: u32 = 128;

/// An operation that may be in a batch. Each is of one of three keys.
#[derive(Clone, Copy, Debug)]
enum Op {
    Read(u8),
    StrongRead(u8),
    /// With this token, by a caller that knows the stamp or an older one.
    Lease(u8, u64, Stamp),
    /// Under the lease with this token and stamp.
    Fill(u8, u64, Stamp),
    Invalidate(u8),
}

/// Something that happens between two batches.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A caller waits for the lease, or takes it.
    Wait(u8),
    InvalidateFunction(u8, u64),
    InvalidateAll(u64),
    /// The server has this under the key of a record, a lease, guards or an epoch.
    Set(u8, &'static str, &'static [&'static str]),
}

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<Op>),
    Event(Event),
}

/// The reply to an operation.
#[derive(Debug, PartialEq)]
enum Outcome {
    Record(Option<Vec<u8>>),
    Strong(ReadReply),
    Lease(Reply),
    Fill(FillResult),
    Invalidated,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..3_u8;
    let token = || 21..24_u64;
    let stamp = || {
        let parts = (
            prop_oneof![4 => Just(EPOCH), 1 => Just(12)],
            prop_oneof![9 => Just(HISTORY), 1 => Just(6)],
        );
        parts.prop_map(|(epoch, history)| Stamp { epoch, history })
    };
    let lease = (key(), token(), stamp());
    let fill = (key(), token(), stamp());
    let op = prop_oneof![
        1 => key().prop_map(Op::Read),
        1 => key().prop_map(Op::StrongRead),
        3 => lease.prop_map(|(key, token, stamp)| Op::Lease(key, token, stamp)),
        3 => fill.prop_map(|(key, token, stamp)| Op::Fill(key, token, stamp)),
        1 => key().prop_map(Op::Invalidate),
    ];
    let set = prop_oneof![
        Just(("", &["SET", "a record"][..])),
        Just(("", &["RPUSH", "no string"][..])),
        Just(("#lease", &["RPUSH", "no lease"][..])),
        Just(("#lease", &["SET", "2:11:5:b"][..])),
        Just(("#lease", &["SET", "31:11:5:s"][..])),
        Just(("#lease", &["SET", "31:12:5:x"][..])),
        Just(("#guards", &["ZADD", "9e15", "1"][..])),
        Just(("#guards", &["ZADD", "1", "1"][..])),
        Just(("#epoch", &["SET", "foreign"][..])),
        Just(("#epoch", &["DEL"][..])),
    ];
    let function = (key(), 11..13_u64);
    let event = prop_oneof![
        3 => key().prop_map(Event::Wait),
        1 => function.prop_map(|(key, fresh)| Event::InvalidateFunction(key, fresh)),
        1 => (5..7_u64).prop_map(Event::InvalidateAll),
        3 => (key(), set).prop_map(|(key, (of, words))| Event::Set(key, of, words)),
    ];
    prop_oneof![
        2 => vec(op, 1..8).prop_map(Step::Batch),
        1 => event.prop_map(Step::Event),
    ]
}

/// Keys 0 and 1 are of one function, and key 2 of another.
fn key(of: u8) -> RecordKey {
    let name = if of == 2 { "g" } else { "f" };
    let function = Arc::new(FunctionKey::new(name, 1));
    RecordKey::new(function, of.to_string(), 100 + u64::from(of))
}

/// A request as the tier makes it, when it is sent alone.
fn take(key: &RecordKey, token: u64, stamp: Stamp) -> TakeLease<'_> {
    TakeLease {
        key,
        mode: LeaseMode::Exclusive,
        token,
        life: MINUTE,
        fresh_epoch: EPOCH,
        history: stamp.history,
        expected_header: b"",
        known_epoch: Some(stamp.epoch),
        last_message: 0,
        fresh_base: None,
    }
}

/// Asks for a lease alone.
async fn leased(server: &mut TestServer, of: u8, token: u64, stamp: Stamp) -> Outcome {
    let reply = server.send(take(&key(of), token, stamp)).await;
    Outcome::Lease(match reply {
        Reply::Taken { left } => Reply::Taken {
            left: Duration::from_secs(halves(left)),
        },
        reply => reply,
    })
}

/// Half minutes. Lives differ by more, or by the time that the test takes.
fn halves(life: Duration) -> u64 {
    (life.as_secs() + 15) / 30
}

/// Sends all in one batch. A lease that is not granted in it is asked for alone after it, as the
/// tier does. Returns also which leases were granted in the batch.
async fn batched(server: &mut TestServer, ops: &[Op]) -> (Vec<Outcome>, Vec<bool>) {
    let (requests, replies): (Vec<_>, Vec<_>) = ops.iter().map(|op| request(server, *op)).unzip();
    let batch = Batch::new(requests.into_iter(), &server.keys);
    batch
        .send(server.connection.clone(), Arc::clone(&server.keys))
        .await;
    let mut is_granted = vec![true; ops.len()];
    let mut outcomes = Vec::new();
    for (at, reply) in replies.into_iter().enumerate() {
        outcomes.push(match reply {
            Pending::Read(reply) => Outcome::Record(reply.await.unwrap().unwrap()),
            Pending::Strong(reply) => Outcome::Strong(reply.await.unwrap().unwrap()),
            Pending::Fill(reply) => Outcome::Fill(reply.await.unwrap().unwrap()),
            Pending::Lease(reply, granted) => {
                is_granted[at] = reply.await.unwrap().unwrap().is_granted;
                Outcome::Lease(granted)
            }
            Pending::Invalidate(reply) => {
                reply.await.unwrap().unwrap();
                Outcome::Invalidated
            }
        });
    }
    for (at, op) in ops.iter().enumerate() {
        if let (Op::Lease(of, token, stamp), false) = (op, is_granted[at]) {
            outcomes[at] = leased(server, *of, *token, *stamp).await;
        }
    }
    (outcomes, is_granted)
}

/// The reply that an operation waits for. A lease that is granted in a batch has its own stamp.
enum Pending {
    Read(oneshot::Receiver<Result<Option<Vec<u8>>, RedisError>>),
    Strong(oneshot::Receiver<Result<ReadReply, RedisError>>),
    Lease(oneshot::Receiver<Result<LeaseReply, RedisError>>, Reply),
    Fill(oneshot::Receiver<Result<FillResult, RedisError>>),
    Invalidate(oneshot::Receiver<Result<(), RedisError>>),
}

fn request(server: &TestServer, op: Op) -> (Request, Pending) {
    match op {
        Op::Read(of) => {
            let (sender, reply) = oneshot::channel();
            (
                Request::Read(read_of(server, &key(of)), sender),
                Pending::Read(reply),
            )
        }
        Op::StrongRead(of) => {
            let (sender, reply) = oneshot::channel();
            let read = read_of(server, &key(of));
            let function = key(of).function;
            let strong = StrongRead { read, function };
            (Request::StrongRead(strong, sender), Pending::Strong(reply))
        }
        Op::Lease(of, token, stamp) => {
            let (sender, reply) = oneshot::channel();
            let free = free_key(server, &key(of), token, stamp);
            let granted = Reply::Granted {
                token,
                epoch: stamp.epoch,
                failures: 0,
                mark: None,
            };
            let lease = LeaseRequest {
                key: free,
                holder: None,
            };
            (
                Request::Lease(lease, sender),
                Pending::Lease(reply, granted),
            )
        }
        Op::Fill(of, token, stamp) => {
            let (sender, reply) = oneshot::channel();
            let filled = filled_key(server, &key(of), token, stamp);
            (Request::Fill(filled, sender), Pending::Fill(reply))
        }
        Op::Invalidate(of) => {
            let (sender, reply) = oneshot::channel();
            let key = invalidated_key(server, &key(of));
            (Request::Invalidate(key, sender), Pending::Invalidate(reply))
        }
    }
}

/// The order in which a batch does its operations; `late` are leases that it did not grant.
fn rank(op: Op, late: bool) -> u8 {
    match op {
        Op::Read(_) => 0,
        Op::StrongRead(_) => 1,
        Op::Lease(..) if !late => 2,
        Op::Fill(..) => 3,
        Op::Invalidate(_) => 4,
        Op::Lease(..) => 5,
    }
}

/// Sends each alone, in the order of a batch.
async fn alone(server: &mut TestServer, ops: &[Op], is_granted: &[bool]) -> Vec<Outcome> {
    let mut order: Vec<usize> = (0..ops.len()).collect();
    order.sort_by_key(|at| rank(ops[*at], !is_granted[*at]));
    let mut outcomes: Vec<Option<Outcome>> = ops.iter().map(|_| None).collect();
    for at in order {
        outcomes[at] = Some(one(server, ops[at]).await);
    }
    outcomes.into_iter().map(Option::unwrap).collect()
}

async fn one(server: &mut TestServer, op: Op) -> Outcome {
    let (connection, keys) = (&mut server.connection, &server.keys);
    match op {
        Op::Read(of) => {
            let record = read::record(connection, keys, &key(of), LAST).await;
            Outcome::Record(record.unwrap())
        }
        Op::StrongRead(of) => {
            let reply = read::record_with_controls(connection, keys, &key(of), LAST).await;
            Outcome::Strong(reply.unwrap())
        }
        Op::Lease(of, token, stamp) => leased(server, of, token, stamp).await,
        Op::Fill(of, token, stamp) => {
            let store = StoreRecord {
                key: &key(of),
                lease: &Lease::new(token, stamp),
                record: RECORD.to_vec(),
                life: MINUTE,
            };
            Outcome::Fill(server.send(store).await)
        }
        Op::Invalidate(of) => {
            invalidate(server, Target::Key(&key(of)), 0).await;
            Outcome::Invalidated
        }
    }
}

async fn invalidate(server: &mut TestServer, target: Target<'_>, fresh: u64) {
    let command = Invalidate {
        target,
        fresh,
        identity: &Identity::named("server"),
        audit: None,
    };
    server.send(command).await;
}

async fn happen(server: &mut TestServer, event: Event) {
    match event {
        Event::Wait(of) => {
            let stamp = Stamp {
                epoch: EPOCH,
                history: HISTORY,
            };
            server.send(take(&key(of), 30, stamp)).await;
        }
        Event::InvalidateFunction(of, fresh) => {
            invalidate(server, Target::Function(&key(of).function), fresh).await;
        }
        Event::InvalidateAll(fresh) => invalidate(server, Target::All, fresh).await,
        Event::Set(of, suffix, words) => {
            let key = key(of);
            let name = match suffix {
                "#epoch" => server.keys.epoch(&key.function),
                suffix => server.keys.record(&key) + suffix,
            };
            server.ask::<Value>(&["DEL", &name]).await;
            let (command, values) = words.split_first().unwrap();
            server
                .ask::<Value>(&[&[*command, &name], values].concat())
                .await;
            server.ask::<Value>(&["PEXPIRE", &name, "150000"]).await;
        }
    }
}

/// Everything that the server has but the sequence, and the messages since the last call, one for
/// each key.
async fn state(server: &mut TestServer) -> (Vec<(String, Value, u64)>, Vec<String>) {
    let mut names: Vec<String> = server.ask(&["KEYS", "*"]).await;
    names.sort();
    let mut all = Vec::new();
    for name in names {
        if name == server.keys.sequence() {
            continue;
        }
        let kind: String = server.ask(&["TYPE", &name]).await;
        let value = match &*kind {
            "string" => server.ask(&["GET", &name]).await,
            "list" => server.ask(&["LRANGE", &name, "0", "-1"]).await,
            _ => {
                server
                    .ask(&["ZRANGE", &name, "0", "-1", "WITHSCORES"])
                    .await
            }
        };
        let life: i64 = server.ask(&["PTTL", &name]).await;
        let life = match name.ends_with("#epoch") {
            // A batch renews it also if it grants no lease.
            true => Duration::ZERO,
            false => Duration::from_millis(u64::try_from(life).unwrap_or(0)),
        };
        all.push((name, value, halves(life)));
    }
    let messages = server.messages().await.into_iter();
    let messages = messages.flat_map(|message| match message.strip_prefix("k:") {
        Some(digests) => digests
            .split(':')
            .map(|digest| format!("k:{digest}"))
            .collect(),
        None => vec![message],
    });
    let messages = messages.collect();
    (all, messages)
}

/// Leases that were granted, by key and token, with their stamps.
type Granted = HashMap<(u8, u64), Stamp>;

/// Gives fills the stamps of their leases.
fn with_stamps(ops: &[Op], granted: &Granted) -> Vec<Op> {
    let of_lease = |op: &Op| match *op {
        Op::Fill(of, token, stamp) => {
            let stamp = granted.get(&(of, token)).copied().unwrap_or(stamp);
            Op::Fill(of, token, stamp)
        }
        op => op,
    };
    ops.iter().map(of_lease).collect()
}

/// The lease that an operation was granted.
fn lease_of((op, outcome): (&Op, Outcome)) -> Option<((u8, u64), Stamp)> {
    let Op::Lease(of, token, Stamp { history, .. }) = *op else {
        return None;
    };
    let Outcome::Lease(Reply::Granted { epoch, .. }) = outcome else {
        return None;
    };
    Some(((of, token), Stamp { epoch, history }))
}

async fn check(servers: &mut [TestServer; 2], steps: &[Step]) {
    for server in &mut *servers {
        server.ask::<()>(&["FLUSHALL"]).await;
        server.attach().await;
        for of in [0, 2] {
            let epoch = server.keys.epoch(&key(of).function);
            server.ask::<()>(&["SET", &epoch, "11"]).await;
        }
    }
    let [one_by_one, in_batches] = servers;
    let mut granted = Granted::new();
    for step in steps {
        match step {
            Step::Event(event) => {
                happen(one_by_one, *event).await;
                happen(in_batches, *event).await;
            }
            Step::Batch(ops) => {
                let ops = with_stamps(ops, &granted);
                let (outcomes, is_granted) = batched(in_batches, &ops).await;
                let expected = alone(one_by_one, &ops, &is_granted).await;
                assert_eq!(expected, outcomes, "{ops:?}");
                granted.extend(ops.iter().zip(outcomes).filter_map(lease_of));
            }
        }
        assert_eq!(state(one_by_one).await, state(in_batches).await, "{step:?}");
    }
}

#[test]
fn operations_of_a_batch_have_the_results_of_the_same_operations_sent_alone() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let servers =
        runtime.block_on(async { [TestServer::start().await, TestServer::start().await] });
    let servers = RefCell::new(servers);
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let run = TestRunner::new(config).run(&vec(step(), 1..16), |steps| {
        runtime.block_on(check(&mut servers.borrow_mut(), &steps));
        Ok(())
    });
    run.unwrap();
}
