//! `jitter`: the life of a result is shortened by its key, by the same part in all tiers.

use std::time::Duration;

use multi_tier_cached::{ManualClock, caching, multi_tier_cached};
use testbed::Truth;
use testbed::server::Server;

use super::{MOMENT, in_memory, seconds, with_redis};

const TTL: Duration = seconds(1_000);
const KEYS: u64 = 40;

type Found = Option<u64>;

/// Odd keys have no value, and that is kept for the same time.
#[multi_tier_cached(ttl = "1000s", none_ttl = "1000s", jitter = "10%", skip(truth))]
async fn read(truth: &Truth, key: u64) -> Found {
    truth.read();
    key.is_multiple_of(2).then_some(key)
}

/// Values whose ttl is from the value or from the body.
#[multi_tier_cached(
    ttl = "1h",
    jitter = "50%",
    ttl_from = |_: &u64| TTL,
    skip(truth)
)]
async fn with_own_ttl(truth: &Truth, key: u64) -> u64 {
    truth.read();
    if key.is_multiple_of(2) {
        assert!(caching::keep_for(TTL));
    }
    key
}

/// The life that the header of the only record on `server` has. Deletes the record.
async fn take_life_of_record(server: &Server) -> Duration {
    server.until_records(1).await;
    let name = server.records().remove(0);
    let record: Vec<u8> = server.command(&["GET", &name]);
    let _: u64 = server.command(&["DEL", &name]);
    Duration::from_millis(u64::from_le_bytes(record[16..24].try_into().unwrap()))
}

/// Asserts that `lives` are shortened by up to `percent`, and not all by the same part.
fn assert_spread(lives: &[Duration], percent: u64) {
    let least = TTL * (100 - u32::try_from(percent).unwrap()) / 100;
    for life in lives {
        assert!(least < *life && *life <= TTL, "{life:?}");
    }
    let (first, last) = (lives.iter().min().unwrap(), lives.iter().max().unwrap());
    let spread = *last - *first;
    // Of forty keys, which are the same in each run.
    assert!(spread > (TTL - least) / 2, "{first:?} to {last:?}");
}

#[tokio::test]
async fn life_is_shortened_by_up_to_the_jitter_and_equal_in_memory_and_below() {
    let (server, truth, clock) = (Server::start(), Truth::new(), ManualClock::new());
    let here = with_redis(&server, 1.0, &clock).await;
    let mut lives = Vec::new();
    for key in 0..KEYS {
        let expected = key.is_multiple_of(2).then_some(key);
        let call = async || {
            let before = truth.reads();
            assert_eq!(here.call(read(&truth, key)).await, expected);
            truth.reads() == before
        };
        assert!(!call().await);
        let life = take_life_of_record(&server).await;
        // A record has whole milliseconds.
        clock.advance(life - MOMENT);
        assert!(call().await, "key {key}: memory has it for {life:?}");
        clock.advance(MOMENT * 2);
        assert!(!call().await, "key {key}: memory has it for {life:?}");
        assert_eq!(take_life_of_record(&server).await, life, "the next load");
        lives.push(life);
    }
    assert_spread(&lives, 10);
}

#[tokio::test]
async fn ttl_of_a_value_is_shortened_as_well() {
    let (server, truth, clock) = (Server::start(), Truth::new(), ManualClock::new());
    let here = with_redis(&server, 1.0, &clock).await;
    let mut lives = Vec::new();
    for key in 0..KEYS {
        here.call(with_own_ttl(&truth, key)).await;
        let life = take_life_of_record(&server).await;
        let before = truth.reads();
        clock.advance(life - MOMENT);
        here.call(with_own_ttl(&truth, key)).await;
        assert_eq!(truth.reads(), before, "key {key}: kept for {life:?}");
        clock.advance(MOMENT * 2);
        here.call(with_own_ttl(&truth, key)).await;
        assert_eq!(truth.reads(), before + 1, "key {key}: kept for {life:?}");
        assert_eq!(take_life_of_record(&server).await, life, "the next load");
        lives.push(life);
    }
    assert_spread(&lives, 50);
}

#[tokio::test]
async fn put_is_shortened_as_well() {
    let (server, truth) = (Server::start(), Truth::new());
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    let mut lives = Vec::new();
    for key in 0..KEYS {
        let put = async { with_own_ttl::entry(&truth, key).put(key).await };
        here.call(put).await.unwrap();
        lives.push(take_life_of_record(&server).await);
    }
    assert_spread(&lives, 50);
}

#[tokio::test]
async fn without_jitter_lives_are_shortened_below_memory_only_and_by_up_to_a_twentieth() {
    #[multi_tier_cached(ttl = "1000s", skip(truth))]
    async fn plain(truth: &Truth, _key: u64) -> u64 {
        truth.read()
    }

    let (server, truth, clock) = (Server::start(), Truth::new(), ManualClock::new());
    let here = with_redis(&server, 1.0, &clock).await;
    let mut lives = Vec::new();
    for key in 0..KEYS {
        here.call(plain(&truth, key)).await;
        lives.push(take_life_of_record(&server).await);
        clock.advance(TTL - MOMENT);
        here.call(plain(&truth, key)).await;
        assert_eq!(truth.reads(), key + 1, "memory has it for the whole ttl");
    }
    assert_spread(&lives, 5);
}

#[tokio::test]
async fn jitter_of_zero_shortens_no_life() {
    #[multi_tier_cached(ttl = "1000s", jitter = "0%", skip(truth))]
    async fn exact(truth: &Truth, _key: u64) -> u64 {
        truth.read()
    }

    let (server, truth) = (Server::start(), Truth::new());
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    for key in 0..8 {
        here.call(exact(&truth, key)).await;
        assert_eq!(take_life_of_record(&server).await, TTL);
    }
}

/// A record that was stored by one process ends in another one with the copies of it.
#[tokio::test]
async fn part_by_which_a_life_is_shortened_depends_on_the_key_alone() {
    let (truth, mut lives) = (Truth::new(), Vec::new());
    for _ in 0..2 {
        let server = Server::start();
        let here = with_redis(&server, 1.0, &ManualClock::new()).await;
        here.call(read(&truth, 6)).await;
        lives.push(take_life_of_record(&server).await);
    }
    assert_eq!(lives[0], lives[1]);
    let clock = ManualClock::new();
    let alone = in_memory(&clock).await;
    alone.call(read(&truth, 6)).await;
    let before = truth.reads();
    clock.advance(lives[0] - MOMENT);
    alone.call(read(&truth, 6)).await;
    assert_eq!(truth.reads(), before);
    clock.advance(MOMENT * 2);
    alone.call(read(&truth, 6)).await;
    assert_eq!(truth.reads(), before + 1);
}
