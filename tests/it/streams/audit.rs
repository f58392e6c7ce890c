//! Audit: invalidations are written to a stream if the tier is configured to do so.

use multi_tier_cached::stream::{After, StreamEntry, StreamLog};
use multi_tier_cached::{ErrorKind, Streams, invalidate, multi_tier_cached, unix_millis};
use testbed::server::Server;
use testbed::{Instance, until};

use super::{NO_WAIT, redis, streams};

/// Key of the stream to which invalidations are written.
const AUDIT: &str = "{shop:0}:#stream:#invalidations";

#[multi_tier_cached(ttl = "1h", name = "audited::read")]
async fn read(key: &str) -> usize {
    key.len()
}

/// An instance whose invalidations are audited under the name `here`.
async fn audited(server: &Server) -> Instance {
    Instance::with_redis(redis(server).audit("here", 100)).await
}

async fn invalidate_key_and_function(instance: &Instance) {
    instance.invalidate(invalidate!(read, "tea")).await;
    instance.invalidate(invalidate!(read)).await;
}

fn field(entry: &StreamEntry, name: &str) -> String {
    String::from_utf8(entry.field(name).unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn every_kind_of_invalidation_is_audited_with_its_instance_and_the_servers_time() {
    let server = Server::start();
    let here = audited(&server).await;
    let silent = Instance::with_redis(redis(&server)).await;
    invalidate_key_and_function(&silent).await;
    invalidate_key_and_function(&here).await;
    here.invalidate_all().await.unwrap();
    for instance in [&silent, &here] {
        let matching = instance.invalidate_matching("audited::read", "te[ab]");
        matching.await.unwrap();
    }
    let streams = streams(&server);
    let entries = streams
        .read(Streams::INVALIDATIONS, &After::Start, 10, NO_WAIT)
        .await
        .unwrap();
    let audited: Vec<_> = entries
        .iter()
        .map(|entry| (field(entry, "who"), field(entry, "what")))
        .collect();
    let expected = [
        "audited::read:1:tea",
        "audited::read:1",
        "*",
        "audited::read:1:te[ab]",
    ];
    assert_eq!(audited, expected.map(|what| ("here".into(), what.into())));
    let first: u64 = entries[0].id.split('-').next().unwrap().parse().unwrap();
    let difference = unix_millis().abs_diff(first);
    assert!(difference < 60_000, "{difference} ms");
}

#[tokio::test]
async fn audit_stream_is_trimmed_to_about_its_maximum_length() {
    let server = Server::start();
    let here = audited(&server).await;
    for _ in 0..1_000 {
        invalidate_key_and_function(&here).await;
    }
    let kept: usize = server.command(&["XLEN", AUDIT]);
    assert!((100..400).contains(&kept), "{kept}");
}

#[tokio::test]
async fn invalidations_succeed_when_a_foreign_key_is_in_the_place_of_the_audit_stream() {
    let server = Server::start();
    let here = audited(&server).await;
    let _: () = server.command(&["SET", AUDIT, "not a stream"]);
    invalidate_key_and_function(&here).await;
    let matching = here.invalidate_matching("audited::read", "*").await;
    matching.unwrap();
}

#[test]
fn audit_without_a_name_or_a_length_is_refused() {
    let redis = || multi_tier_cached::Redis::new("redis://127.0.0.1:1");
    for wrong in [redis().audit("", 1), redis().audit("a", 0)] {
        let error = wrong.streams().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    }
}

/// An invalidation of a pattern takes several commands, and must be in the audit even if it ends
/// after some of them.
#[tokio::test]
async fn invalidation_of_a_pattern_that_fails_is_audited() {
    let server = Server::start();
    let here = audited(&server).await;
    here.call(read("tea")).await;
    until("Redis is filled", || server.records().len() == 1).await;
    let _: () = server.command(&["ACL", "SETUSER", "default", "-unlink"]);
    let error = here.invalidate_matching("audited::read", "t*").await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Protocol);
    assert_eq!(server.records().len(), 1);
    let entries = streams(&server).latest(Streams::INVALIDATIONS, 10).await;
    let audited: Vec<_> = entries.unwrap().iter().map(|e| field(e, "what")).collect();
    assert_eq!(audited, ["audited::read:1:t*"]);
}
