//! The cost of tags: of an invalidation, of a hit, of the ledger at the server, and of its load.

use tokio::time::Instant;

use super::*;

const LEDGER: &str = "{cache:0}:#ledger";
const OLD: &str = "{cache:0}:#ledger:old";

/// Time that the server spent on a command and number of its calls, since the last reset.
fn spent(server: &Server, command: &str) -> (u64, u64) {
    let stats: String = server.command(&["INFO", "commandstats"]);
    let prefix = format!("cmdstat_{command}:");
    let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
    let number = |name: &str| {
        let fields = line?.split(',');
        let value = fields
            .filter_map(|field| field.split_once('='))
            .find(|(of, _)| *of == name);
        value?.1.parse().ok()
    };
    (number("usec").unwrap_or(0), number("calls").unwrap_or(0))
}

/// A server with records under tag 5, an instance, and the least mean time of an invalidation.
struct Measured {
    server: Server,
    cache: Cache,
    /// In microseconds of the server.
    least: f64,
}

impl Measured {
    async fn start() -> Self {
        let server = Server::start();
        Self {
            cache: Cache::open(Redis::new(server.url())).await,
            server,
            least: f64::INFINITY,
        }
    }

    /// Measures a series of invalidations. The machine may do something else in some of them, so
    /// the least of several counts.
    async fn measure(&mut self) {
        const CALLS: u64 = 50;
        let _: () = self.server.command(&["CONFIG", "RESETSTAT"]);
        for _ in 0..CALLS {
            self.cache.invalidate(&[5]).await;
        }
        let (time, calls) = spent(&self.server, "evalsha");
        assert_eq!(calls, CALLS, "one round trip each");
        self.least = self.least.min(time as f64 / calls as f64);
    }

    /// Adds a million copies of a record, 100,000 of them in each step of the server.
    fn add_a_million(&self, record: Record) {
        let load = "for at = ARGV[1], ARGV[2] do \
                    redis.call('SET', KEYS[1] .. string.format('%d', at), ARGV[3]) end";
        for step in 0..10_u64 {
            let (from, to) = (step * 100_000 + 10, (step + 1) * 100_000 + 9);
            let (from, to, bytes) = (from.to_string(), to.to_string(), record.bytes());
            let name = b"{cache:0}:tagged:1:";
            let load: [&[u8]; 7] = [
                b"EVAL",
                load.as_bytes(),
                b"1",
                name,
                from.as_bytes(),
                to.as_bytes(),
                &bytes,
            ];
            let _: Option<u8> = self.server.command_bytes(&load);
        }
        assert!(self.server.command::<u64>(&["DBSIZE"]) > 1_000_000);
    }
}

#[tokio::test]
async fn invalidation_of_a_tag_costs_the_same_for_one_record_and_for_a_million() {
    const SAMPLES: [u64; 3] = [10, 500_000, 1_000_009];
    let (mut one, mut million) = (Measured::start().await, Measured::start().await);
    one.cache.load(&key(1), 1).await;
    let record = million.cache.load(&key(1), 1).await;
    million.add_a_million(record);
    let here = &million.cache;
    for key in SAMPLES.map(key) {
        assert_eq!(here.read(&key).await, Some(record));
        let state = MarksState::Valid;
        here.until_state(&key, record, &[5], state).await;
    }
    let mut rounds = 0;
    let is_kept = |one: &Measured, million: &Measured| {
        million.least <= 100.0 && million.least <= one.least * 1.2
    };
    while rounds < 10 || rounds < 200 && !is_kept(&one, &million) {
        one.measure().await;
        million.measure().await;
        rounds += 1;
    }
    let found = format!(
        "{:.1} us of one record, {:.1} us of a million, in {rounds} series",
        one.least, million.least
    );
    println!("{found}");
    assert!(is_kept(&one, &million), "{found}");
    let here = &million.cache;
    for key in SAMPLES.map(key) {
        assert_eq!(here.read(&key).await, Some(record));
        let state = here.state(&key, record, &[5]);
        assert_eq!(state, Some(MarksState::Invalidated));
    }
}

#[tokio::test]
async fn hit_on_a_tagged_record_is_one_read_and_without_a_copy_one_more_round_trip() {
    let server = Server::start();
    // With this bound no barrier reads beside the calls.
    let redis = || Redis::new(server.url()).staleness_bound(Duration::from_secs(60));
    let here = Cache::open(redis()).await;
    let key = key(1);
    let record = here.load(&key, 1).await;
    here.until_state(&key, record, &[5, 6], MarksState::Valid)
        .await;
    until_idle(&server).await;
    let _: () = server.command(&["CONFIG", "RESETSTAT"]);
    for _ in 0..10 {
        assert_eq!(here.read(&key).await, Some(record));
        let state = here.state(&key, record, &[5, 6]);
        assert_eq!(state, Some(MarksState::Valid));
    }
    let calls = |command| server.calls(command);
    let of_all = || [calls("getrange"), calls("hmget"), calls("evalsha")];
    assert_eq!(of_all(), [10, 0, 0]);
    for _ in 0..10 {
        let state = here.in_store(&key, record, &[5, 6]).await;
        assert_eq!(state, MarksState::Valid);
    }
    assert_eq!(of_all(), [10, 20, 0], "both generations in one round trip");
    // A function without tags does not touch the ledger.
    let plain = FunctionKey::new("plain", 1);
    let plain = RecordKey::new(Arc::new(plain), "1".into(), 1);
    let lease = here.lease(&plain).await.expect("a lease");
    assert_eq!((lease.mark, calls("hmget")), (None, 20));
}

/// The bytes of both generations.
fn memory(server: &Server) -> u64 {
    let usage = |name| {
        let usage: Option<u64> = server.command(&["MEMORY", "USAGE", name, "SAMPLES", "0"]);
        usage.unwrap_or(0)
    };
    usage(LEDGER) + usage(OLD)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_of_the_ledger_is_bounded_and_eviction_makes_no_old_value_valid() {
    const TAGS: u64 = 200_000;
    let server = Server::start_with(&["--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru"]);
    let (here, there) = (
        Cache::open(Redis::new(server.url())).await,
        Cache::open(Redis::new(server.url())).await,
    );
    let filler = "x".repeat(1_000);
    let (mut most, mut evicted_ledgers) = (0, 0);
    let mut base = None;
    let mut records: Vec<(RecordKey, Record, u64)> = Vec::new();
    for first in (0..TAGS).step_by(1_000) {
        let tags: Vec<u64> = (first..first + 1_000).collect();
        let key = key(first);
        let record = there.load(&key, first).await;
        evicted_ledgers += u64::from(base.replace(record.mark.base) != Some(record.mark.base));
        assert_eq!(here.invalidate(&tags).await, Receipt::Acked);
        records.push((key, record, first));
        for at in 0..20 {
            let name = format!("filler:{}", first + at);
            let _: Option<String> = server.command(&["SET", &name, &filler]);
        }
        most = most.max(memory(&server));
        // Whatever was evicted, no record is valid whose tag was invalidated.
        for (key, record, tag) in records.iter().rev().step_by(7).take(5) {
            for cache in [&here, &there] {
                let state = cache.in_store(key, *record, &[*tag]).await;
                assert_eq!(state, MarksState::Invalidated, "{tag}");
            }
            assert_ne!(here.state(key, *record, &[*tag]), Some(MarksState::Valid));
        }
    }
    let evicted = server.stat("evicted_keys");
    println!("at most {most} bytes; {evicted} keys evicted; {evicted_ledgers} ledgers");
    assert!(evicted > 0, "nothing was evicted");
    assert!(most <= 6_000_000, "{most} bytes");
    for (key, record, tag) in &records {
        let state = there.in_store(key, *record, &[*tag]).await;
        assert_eq!(state, MarksState::Invalidated, "{tag}");
        there
            .until_state(key, *record, &[*tag], MarksState::Invalidated)
            .await;
    }
}

#[tokio::test]
async fn full_ledger_is_loaded_in_small_portions_when_a_link_is_made() {
    let server = Server::start();
    let here = Cache::open(Redis::new(server.url())).await;
    let record = here.load(&key(1), 1).await;
    let tags: Vec<u64> = (100..65_000).collect();
    for tags in tags.chunks(1_024) {
        here.invalidate(tags).await;
    }
    let _: () = server.command(&["CONFIG", "RESETSTAT"]);
    let began = Instant::now();
    let there = Cache::open(Redis::new(server.url())).await;
    let took = began.elapsed();
    for tag in [100, 40_000, 64_999] {
        let state = there.state(&key(1), record, &[tag]);
        assert_eq!(state, Some(MarksState::Invalidated), "{tag}");
    }
    let (time, calls) = spent(&server, "hscan");
    println!("{calls} portions, {time} microseconds of the server; the link was made in {took:?}");
    assert!(calls >= 32, "{calls} portions");
    assert!(
        time / calls <= 5_000,
        "{time} microseconds for {calls} portions"
    );
}

#[tokio::test]
async fn concurrent_leases_of_a_marked_function_are_taken_in_batches_with_their_marks() {
    const LEASES: u64 = 200;
    let server = Server::start();
    let here = Arc::new(Cache::open(Redis::new(server.url())).await);
    let first = here.load(&key(0), 1).await;
    here.invalidate(&[5]).await;
    let expected = Mark {
        number: 1,
        ..first.mark
    };
    let _: () = server.command(&["CONFIG", "RESETSTAT"]);
    let leases = (1..=LEASES).map(|digest| {
        let here = Arc::clone(&here);
        tokio::spawn(async move {
            let tier = here.tier(&key(digest));
            let lease = tier
                .lease(&key(digest), LeaseMode::Exclusive, b"", SOON)
                .await;
            match lease.unwrap() {
                LeaseResult::Granted(lease) => lease,
                other => panic!("{other:?}"),
            }
        })
    });
    let leases: Vec<_> = leases.collect();
    let mut granted = Vec::new();
    for lease in leases {
        let lease = lease.await.unwrap();
        assert_eq!(lease.mark, Some(expected));
        granted.push(lease);
    }
    let scripts = server.calls("evalsha");
    assert!(scripts < LEASES / 2, "{scripts} scripts");
    drop(granted);
}

/// Otherwise a ledger that is only read would be the coldest key of the server.
#[tokio::test]
async fn ledger_is_read_by_barriers_while_a_function_needs_it() {
    let server = Server::start();
    let here = Cache::open_unbound(Redis::new(server.url())).await;
    let reads = || server.calls("hmget");
    let barriers = server.calls("getrange");
    until("barriers are answered for longer than a second", || {
        server.calls("getrange") > barriers + 30
    })
    .await;
    assert_eq!(reads(), 0, "no function needs it");
    here.bind();
    here.until_coherent().await;
    let before = reads();
    until("both generations are read twice", || reads() >= before + 4).await;
}
