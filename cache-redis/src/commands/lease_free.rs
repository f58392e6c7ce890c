//! Takes the leases of several keys that are expected to be free.

use std::time::Duration;

use redis::{RedisError, ScriptInvocation, Value};

use super::command::{Command, typed};
use super::lease::exclusive_lease;
use super::script::{Script, script_even_if_full};
use super::stamps::{self, Stamped};
use crate::keys::Keys;
use crate::number::millis;

/// Grants exclusive leases in one step. Each is granted under the conditions of
/// [`lease::SCRIPT`](super::lease::SCRIPT), and only in the common case: history and epoch are
/// those that the caller knows, and the key has no record, no lease or back-off, and no guards. In
/// every other case nothing is taken, and that script says what is the case.
///
/// KEYS history; epochs; for each key: record, lease, guards.
/// ARGV number of epochs; for each: epoch, number of the history; for each key: index of its epoch,
/// text of the lease, its life in ms.
///
/// Replies for each key with 1 if its lease is granted, or 0.
pub(super) static SCRIPT: Script =
    Script::new(|| script_even_if_full(include_str!("lua/lease_free.lua")));

/// A key whose exclusive lease is asked for.
#[derive(Debug)]
pub(crate) struct FreeKey {
    /// The names of the keys.
    pub(crate) record: String,
    pub(crate) lease: String,
    pub(crate) guards: String,
    /// The epoch and the history that the caller knows.
    pub(crate) stamp: Stamped,
    pub(crate) token: u64,
    /// The time after which the lease expires.
    pub(crate) life: Duration,
}

/// Asks for the leases of several keys.
#[derive(Debug)]
pub(crate) struct LeaseFree<'a>(pub(crate) &'a [FreeKey]);

impl Command for LeaseFree<'_> {
    /// For each key, whether its lease is granted.
    type Reply = Vec<bool>;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
    }

    fn write(self, keys: &Keys, invocation: &mut ScriptInvocation<'_>) {
        invocation.key(keys.history());
        let indices = stamps::write(self.0.iter().map(|key| &key.stamp), keys, invocation);
        for (key, index) in self.0.iter().zip(indices) {
            invocation
                .key(&key.record)
                .key(&key.lease)
                .key(&key.guards)
                .arg(index)
                .arg(exclusive_lease(key.token, key.stamp.stamp))
                .arg(millis(key.life));
        }
    }

    fn parse(reply: Value) -> Result<Vec<bool>, RedisError> {
        typed(reply)
    }
}
