//! Commands that several of one kind are sent together, servers that have forgotten the scripts or
//! are full, and replies that no script gives.

use std::fs;
use std::path::Path;

use cache_core::tier::{FillResult, Lease, Refusal, Stamp, Target};
use proptest::prelude::*;
use redis::Value;

use super::attach::Attach;
use super::deadlock::DetectDeadlock;
use super::fill::StoreRecord;
use super::forget::Forget;
use super::guard::{EndGuard, GuardedKey, PlaceGuard, Placement};
use super::invalidate::Invalidate;
use super::lease::{self, TakeLease};
use super::lease_free::LeaseFree;
use super::ledger::Count;
use super::note::Note;
use super::permissions::CheckPermissions;
use super::read::ReadIfNoneMatch;
use super::release::{self, Release, ReleaseReason};
use super::renew::{self, Renew};
use super::restore::Restore;
use super::testing::{EPOCH, HISTORY, MINUTE, TestServer, key, take_lease};
use super::{Command, SCRIPTS, send_all, send_each};
use crate::server::Identity;

mod back_off;
mod ledger;

fn renew(lease: &str, token: u64) -> Renew<'_> {
    let life = MINUTE;
    Renew { lease, token, life }
}

#[tokio::test]
async fn commands_alone_and_together_run_on_a_server_that_has_forgotten_the_scripts() {
    let mut server = TestServer::start().await;
    server.attach().await;
    let keys = [key("1"), key("2")];
    let names = keys.each_ref().map(|key| server.keys.lease(key));
    server.lease(&keys[0], 21).await;
    let [one, other] = &names;

    server.ask::<()>(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(server.send(renew(one, 21)).await, renew::Reply::Renewed);

    server.ask::<()>(&["SCRIPT", "FLUSH"]).await;
    let both = [renew(one, 21), renew(other, 22)];
    let replies = send_all(&mut server.connection, &server.keys, both).await;
    let expected = [renew::Reply::Renewed, renew::Reply::NotHeld];
    assert_eq!(replies.unwrap(), expected);

    server.ask::<()>(&["SCRIPT", "FLUSH"]).await;
    let targets = [Target::Key(&keys[0]), Target::All];
    let identity = Identity::named("server");
    let invalidations = targets.map(|target| Invalidate {
        target,
        fresh: 99,
        identity: &identity,
        audit: None,
    });
    let replies = send_each(&mut server.connection, &server.keys, invalidations).await;
    assert!(replies.unwrap().iter().all(Result::is_ok));
    assert_eq!(server.messages().await, ["k:7", "h:99"]);
}

#[tokio::test]
async fn guards_and_releases_are_sent_together() {
    let mut server = TestServer::start().await;
    server.attach().await;
    let keys = [key("1"), key("2")];
    let guarded = keys
        .each_ref()
        .map(|key| GuardedKey::new(&server.keys, key));
    let place = |key| PlaceGuard {
        key,
        number: 1,
        life: MINUTE,
        audit: None,
    };
    server.send(place(&guarded[0])).await;
    let (connection, names) = (&mut server.connection, &server.keys);
    let placements = send_all(connection, names, guarded.iter().map(place)).await;
    let expected = [Placement::Renewed, Placement::New];
    assert_eq!(placements.unwrap(), expected);
    let ends = guarded.iter().map(|key| EndGuard { key, number: 1 });
    send_all(connection, names, ends).await.unwrap();

    server.lease(&keys[0], 21).await;
    let names = keys.each_ref().map(|key| server.keys.lease(key));
    let releases = names.iter().map(|lease| Release {
        lease,
        token: 21,
        digest: 7,
        reason: ReleaseReason::NotFilled,
    });
    let replies = send_all(&mut server.connection, &server.keys, releases).await;
    let expected = [release::Reply::Released, release::Reply::NotHeld];
    assert_eq!(replies.unwrap(), expected);
}

#[tokio::test]
async fn full_server_gives_leases_and_guards_and_invalidates_but_stores_nothing() {
    let mut server = TestServer::start().await;
    server.attach().await;
    let keys = [key("1"), key("2")];
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let reply = server.lease(&keys[0], 21).await;
    assert!(matches!(reply, lease::Reply::Granted { .. }), "{reply:?}");
    let held = |token| {
        let (epoch, history) = (EPOCH, HISTORY);
        Lease::new(token, Stamp { epoch, history })
    };
    let leases = [held(21), held(22)];
    let fills = || {
        keys.iter().zip(&leases).map(|(key, lease)| StoreRecord {
            key,
            lease,
            record: b"record".to_vec(),
            life: MINUTE,
        })
    };
    let (connection, names) = (&mut server.connection, &server.keys);
    let replies = send_each(connection, names, fills()).await.unwrap();
    let refused = replies[0].as_ref().unwrap_err();
    assert_eq!(refused.code(), Some("OOM"), "{refused}");
    let other = replies[1].as_ref().unwrap();
    assert_eq!(
        *other,
        FillResult::Refused(Refusal::Lease),
        "it writes nothing"
    );
    let error = send_all(connection, names, fills()).await.unwrap_err();
    assert!(error.to_string().contains("OOM"), "{error}");

    let guarded = GuardedKey::new(&server.keys, &keys[1]);
    let place = PlaceGuard {
        key: &guarded,
        number: 1,
        life: MINUTE,
        audit: None,
    };
    assert_eq!(server.send(place).await, Placement::New);
    let invalidate = Invalidate {
        target: Target::Key(&keys[0]),
        fresh: 99,
        identity: &Identity::named("server"),
        audit: None,
    };
    server.send(invalidate).await;
    assert_eq!(server.messages().await, ["k:7", "k:7"]);
}

#[test]
fn every_lua_file_is_a_script_that_is_loaded() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands/lua");
    let files = fs::read_dir(directory).unwrap().count();
    let mut hashes: Vec<&str> = SCRIPTS.iter().map(|script| script.get_hash()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    let shared = ["common.lua", "ledger.lua"];
    // These publish the state that tools show, or are sent by tools.
    let left_out = match cfg!(feature = "inspect") {
        true => 0,
        false => [
            "publish_fields.lua",
            "publish_instance.lua",
            "remove_fields.lua",
            "replace_history.lua",
        ]
        .len(),
    };
    assert_eq!(
        hashes.len(),
        files - shared.len() - left_out,
        "all files but {shared:?}"
    );
}

/// Values of the types that a server may send.
fn replies() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        Just(Value::Okay),
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Double),
        any::<Vec<u8>>().prop_map(Value::BulkString),
        "[a-z]{0,8}".prop_map(Value::SimpleString),
        "given|taken|backedoff|free|stored|present|[0-9]{1,20}"
            .prop_map(|text| Value::BulkString(text.into_bytes())),
    ];
    leaf.prop_recursive(2, 16, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(Value::Array)
    })
}

proptest! {
    #[test]
    fn any_reply_is_parsed_or_refused_without_a_panic(reply in replies()) {
        fn parse<C: Command>(reply: &Value) {
            let _ = C::parse(reply.clone());
        }
        for parse in [
            parse::<Attach<'_>>,
            parse::<ReadIfNoneMatch<'_>>,
            parse::<TakeLease<'_>>,
            parse::<StoreRecord<'_>>,
            parse::<Restore<'_>>,
            parse::<Release<'_>>,
            parse::<Renew<'_>>,
            parse::<DetectDeadlock<'_>>,
            parse::<PlaceGuard<'_>>,
            parse::<EndGuard<'_>>,
            parse::<Invalidate<'_>>,
            parse::<Forget<'_>>,
            parse::<Note<'_>>,
            parse::<Count<'_>>,
            parse::<LeaseFree<'_>>,
            parse::<CheckPermissions>,
        ] {
            parse(&reply);
        }
    }
}
