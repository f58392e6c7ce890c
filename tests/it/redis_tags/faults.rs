//! Users without permissions, and several shards.

use std::collections::BTreeSet;

use super::*;

/// The commands of tags that the docs of `Redis` list.
fn commands() -> Vec<String> {
    let docs = include_str!("../../../cache-redis/src/config.rs");
    let row = docs
        .lines()
        .find(|line| line.contains("| tags and `expire` |"));
    let list = row.and_then(|row| row.rsplit_once(" | `")?.1.split('`').next());
    let list = list.expect("a row of the table");
    list.split(' ').map(str::to_owned).collect()
}

/// Lets the user `app` run everything except one command.
fn permit_all_but(server: &Server, without: Option<&str>) {
    let rule = without.map(|command| format!("-{command}"));
    let mut acl = vec!["ACL", "SETUSER", "app", "reset", "on", ">pw"];
    acl.extend(["~{cache:0}:*", "&{cache:0}:*", "+@all"]);
    acl.extend(rule.as_deref());
    let _: () = server.command(&acl);
}

fn limited(server: &Server) -> Redis {
    Redis::new(format!("redis://app:pw@127.0.0.1:{}", server.port()))
}

/// Without a mark, the runtime stores no tagged record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_permission_no_lease_has_a_mark_and_invalidations_of_tags_stay_queued() {
    let server = Server::start();
    let there = Cache::open(Redis::new(server.url())).await;
    for (at, command) in (0..).zip(commands()) {
        permit_all_but(&server, Some(&command));
        let here = Cache::open_unbound(limited(&server)).await;
        here.bind();
        here.until_connected().await;
        let reason = format!("not run {command}");
        let unusable = here.0[0].health().unusable;
        let is_named = unusable.iter().any(|text| text.contains(&reason));
        assert!(is_named, "{command}: {unusable:?}");

        let (own, other) = (key(2 * at), key(2 * at + 1));
        let lease = here.lease(&own).await.expect("a lease");
        assert_eq!(lease.mark, None, "{command}");
        drop(lease);
        let record = there.load(&other, 1).await;
        let receipt = here.invalidate(&[5]).await;
        // The others are needed to follow the ledger, or to begin a generation of it.
        let is_needed = !["hscan", "rename", "unlink"].contains(&&*command);
        assert_eq!(receipt == Receipt::Queued, is_needed, "{command}");
        assert_eq!(here.ledger(&other).is_pending(&[5]), is_needed, "{command}");
        if is_needed {
            check_queued(&server, &here, &own, (&other, record)).await;
        }
        for cache in [&here, &there] {
            let state = cache.in_store(&other, record, &[5]).await;
            assert_eq!(state, MarksState::Invalidated, "{command}");
        }
        here.shutdown().await;
    }
}

/// Checks that a queued invalidation of tag 5 is respected, that what needs no ledger works, and
/// that everything does once the user has the permission.
async fn check_queued(
    server: &Server,
    here: &Cache,
    own: &RecordKey,
    (other, record): (&RecordKey, Record),
) {
    let state = here.state(other, record, &[5]);
    assert_eq!(state, Some(MarksState::Invalidated));
    assert_eq!(here.expire(Expiry::Key(own)).await, Receipt::Queued);
    until("the key is invalidated in place of its expiry", || {
        !here.0[0].is_pending(own)
    })
    .await;
    assert!(here.ledger(other).is_pending(&[5]));
    permit_all_but(server, None);
    here.until_queue_is_empty().await;
    here.until_state(other, record, &[5], MarksState::Invalidated)
        .await;
    let lease = here.lease(own).await.expect("a lease");
    assert!(lease.mark.is_some());
}

#[tokio::test]
async fn each_shard_has_a_ledger_and_a_lost_one_concerns_its_keys_alone() {
    let server = Server::start();
    let sharded = || Redis::new(server.url()).shards(4);
    let (here, there) = (Cache::open(sharded()).await, Cache::open(sharded()).await);
    let keys: Vec<RecordKey> = (0..4).map(|shard| key(shard << 14)).collect();
    let mut records = Vec::new();
    for key in &keys {
        records.push(here.load(key, 1).await);
    }
    let bases = records.iter().map(|record| record.mark.base);
    let bases: BTreeSet<u64> = bases.collect();
    assert_eq!(bases.len(), 4);
    assert_eq!(there.invalidate(&[5]).await, Receipt::Acked);
    for (key, record) in keys.iter().zip(&records) {
        here.until_state(key, *record, &[5], MarksState::Invalidated)
            .await;
        here.until_state(key, *record, &[6], MarksState::Valid)
            .await;
    }
    let _: u64 = server.command(&["DEL", "{cache:2}:#ledger"]);
    assert_eq!(there.invalidate(&[7]).await, Receipt::Acked);
    for (shard, (key, record)) in keys.iter().zip(&records).enumerate() {
        let state = match shard {
            2 => MarksState::Invalidated,
            _ => MarksState::Valid,
        };
        for cache in [&here, &there] {
            cache.until_state(key, *record, &[6], state).await;
        }
    }
}
