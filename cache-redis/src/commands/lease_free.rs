//! Takes the leases of several keys that are expected to be free.

use std::time::Duration;

use redis::{RedisError, Value};

use super::command::{Command, Invocation, Parts, typed};
use super::lease::ExclusiveLease;
use super::script::{Script, script_even_if_full};
use super::stamps::{self, Stamped};
use crate::keys::{GUARDS, Keys, LEASE};
use crate::number::millis;

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
}

/// Asks for the leases of several keys.
#[derive(Debug)]
pub(crate) struct LeaseFree<'a>(pub(crate) &'a [FreeKey]);

impl Command for LeaseFree<'_> {
    /// For each key, whether its lease is granted.
    type Reply = Parts<bool>;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
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
    }

    fn parse(reply: Value) -> Result<Parts<bool>, RedisError> {
        Parts::parse(reply, typed)
    }
}
