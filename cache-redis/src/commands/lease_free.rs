//! Takes the leases of several keys that are expected to be free.

use std::time::Duration;

use cache_core::tier::Mark;
use redis::{RedisError, Value};

use super::command::{Command, Invocation, Parts, typed};
use super::lease::ExclusiveLease;
use super::ledger::mark_of;
use super::script::{Script, marked, script_even_if_full};
use super::stamps::{self, Stamped};
use crate::errors;
use crate::keys::{GUARDS, Keys, LEASE};
use crate::number::{fresh_number, millis};

/// Grants exclusive leases in one step. Each is granted under the conditions of
/// [`lease::SCRIPT`](super::lease::SCRIPT), and only in the common case: history and epoch are
/// those that the caller knows, and the key has no record, no lease or back-off, and no guards. In
/// every other case nothing is taken, and that script says what is the case.
///
/// `SET NX` alone finds a lease or a back-off that is there, also one that an earlier key of the
/// script took.
///
/// KEYS history; epochs; for each key: record, guards; for each key: lease.
/// ARGV number of epochs; for each key one byte with the index of its epoch; for each epoch: epoch,
/// number of the history; life of the leases in ms; for each key: text of the lease.
///
/// Replies with 1 if all leases are granted, or for each key with 1 if its lease is, or 0.
pub(super) static SCRIPT: Script =
    Script::new(|| script_even_if_full(include_str!("lua/lease_free.lua")));

/// Does the same if one of the keys is of a marked function, and returns the state of the ledger
/// with the leases. The ledger is begun if it is missing.
///
/// KEYS those of the other script; sequence, ledger, old ledger. ARGV those of the other script;
/// new base, channel.
///
/// Replies with the reply of the other script, the base and the number of the last entry.
pub(super) static MARKED: Script = Script::new(|| {
    let take = include_str!("lua/lease_free.lua");
    marked(take, include_str!("lua/mark_leases.lua"))
});

/// A key whose exclusive lease is asked for.
#[derive(Debug)]
pub(crate) struct FreeKey {
    /// The name of the record, beside which the lease and the guards are.
    pub(crate) record: String,
    /// The epoch and the history that the caller knows.
    pub(crate) stamp: Stamped,
    pub(crate) token: u64,
    /// The time after which the lease expires. The shortest of a script is that of all its leases.
    pub(crate) life: Duration,
    /// `true` if the state of the ledger is asked for.
    pub(crate) with_mark: bool,
}

/// Reply to a request for several leases.
#[derive(Debug)]
pub(crate) struct Leased {
    /// For each key, whether its lease is granted.
    pub(crate) granted: Parts<bool>,
    /// The state of the ledger, if it was asked for with one of the keys.
    pub(crate) mark: Option<Mark>,
}

/// Asks for the leases of several keys.
#[derive(Debug)]
pub(crate) struct LeaseFree<'a>(pub(crate) &'a [FreeKey]);

impl LeaseFree<'_> {
    fn with_mark(&self) -> bool {
        self.0.iter().any(|key| key.with_mark)
    }
}

impl Command for LeaseFree<'_> {
    type Reply = Leased;

    fn script(&self) -> &'static redis::Script {
        match self.with_mark() {
            false => &SCRIPT,
            true => &MARKED,
        }
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation.key(keys.history());
        stamps::write(self.0.iter().map(|key| &key.stamp), keys, invocation);
        let life = self.0.iter().map(|key| key.life).min();
        invocation.arg(millis(life.unwrap_or_default()));
        for key in self.0 {
            let (token, stamp) = (key.token, key.stamp.stamp);
            invocation
                .key(&key.record)
                .key_beside(&key.record, GUARDS)
                .arg(ExclusiveLease { token, stamp });
        }
        for key in self.0 {
            invocation.key_beside(&key.record, LEASE);
        }
        if self.with_mark() {
            invocation
                .key(keys.sequence())
                .key(keys.ledger())
                .key(keys.old_ledger())
                .arg(fresh_number())
                .arg(keys.channel());
        }
    }

    fn parse(reply: Value) -> Result<Leased, RedisError> {
        // The reply of the script with a mark ends with texts, that without one has none.
        if let Value::Array(parts) = &reply
            && let [granted, Value::BulkString(base), Value::BulkString(count)] = &parts[..]
        {
            let mark = mark_of(base, count).ok_or_else(errors::no_reply)?;
            return Ok(Leased {
                granted: Parts::parse(granted.clone(), typed)?,
                mark: Some(mark),
            });
        }
        let granted = Parts::parse(reply, typed)?;
        let mark = None;
        Ok(Leased { granted, mark })
    }
}
