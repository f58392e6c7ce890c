//! Counts invalidations of tags, and expiries, in the ledger of a shard.
//!
//! The ledger is one hash. Its fields are `b` (the base, a random number that identifies this run
//! of the ledger), `n` (the number of the last entry) and `f` (the value of `n` when this
//! generation was begun; more than 0 if there was one before it); 8 bytes, the digest of a tag in
//! little-endian order, with the number of the tag's last invalidation; `~` and 8 bytes, the digest
//! of a key, a function or a tag, with the number of its last expiry.
//!
//! Base and number are in one key, so they are evicted together: whatever begins a ledger where
//! there is none gives it another base, and no record with an older mark is valid. A script that
//! begins a ledger announces the base in the same step, before the first number of it.
//!
//! A generation with too many fields becomes the old one, which is forgotten with the next. The
//! next generation has the same base and continues to count.

use std::fmt::Write;

use cache_core::tier::Mark;
use redis::{RedisError, Value};

use super::command::{Command, Invocation, number, typed};
use super::script::{Script, script_with_ledger};
use crate::config::Audit;
use crate::errors;
use crate::keys::Keys;

/// The largest number of digests in one command, so that the server is busy for a short time.
pub(crate) const MOST_DIGESTS: usize = 128;

/// Counts one entry of several digests, in one step, and publishes it. Begins the ledger if it is
/// missing, and the next generation if this one would have more than 32,768 fields.
///
/// The first command deletes, because a full server refuses a script whose first write may take
/// memory. The heartbeat is written again within a second.
///
/// KEYS heartbeat, lease that becomes void or the heartbeat again, sequence, ledger, old ledger,
/// and the audit's stream if there is one.
/// ARGV kind of the message (`t` or `d`), new base, digests with a colon between them, number of
/// fields, fields; who, what and the stream's length, if there is one; channel.
///
/// Replies with the base and the number of the entry.
pub(super) static COUNT: Script = Script::new(|| script_with_ledger(include_str!("lua/count.lua")));

/// Begins the ledger again, so that no tagged record is valid, and publishes it.
///
/// KEYS heartbeat, sequence, ledger, old ledger, and the audit's stream if there is one.
/// ARGV new base; who, what and the stream's length, if there is one; channel.
///
/// Replies with 1.
pub(super) static BEGIN: Script =
    Script::new(|| script_with_ledger(include_str!("lua/begin_ledger.lua")));

/// An entry of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// Tags were invalidated.
    Invalidated,
    /// Keys, functions or tags were expired. `lease` is the name of the lease of an expired key:
    /// the value of a load in progress would be stored as a fresh one.
    Expired { lease: Option<&'a str> },
}

/// Counts an entry, and publishes it.
#[derive(Debug)]
pub(crate) struct Count<'a> {
    pub(crate) entry: Entry<'a>,
    /// From 1 to [`MOST_DIGESTS`].
    pub(crate) digests: &'a [u64],
    /// The base that the ledger gets if there is none.
    pub(crate) fresh_base: u64,
    /// The audit, and what it is to say.
    pub(crate) audit: Option<(&'a Audit, &'a str)>,
}

impl Command for Count<'_> {
    type Reply = Mark;

    fn script(&self) -> &'static redis::Script {
        &COUNT
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        let heartbeat = keys.heartbeat();
        let (kind, lease) = match self.entry {
            Entry::Invalidated => ("t", None),
            Entry::Expired { lease } => ("d", lease),
        };
        let mut digests = String::with_capacity(self.digests.len() * 21);
        for digest in self.digests {
            let colon = if digests.is_empty() { "" } else { ":" };
            // Writing to memory does not fail.
            let _ = write!(digests, "{colon}{digest}");
        }
        invocation
            .key(&heartbeat)
            .key(lease.unwrap_or(&heartbeat))
            .key(keys.sequence())
            .key(keys.ledger())
            .key(keys.old_ledger())
            .arg(kind)
            .arg(self.fresh_base)
            .arg(digests)
            .arg(self.digests.len());
        for digest in self.digests {
            match self.entry {
                Entry::Invalidated => invocation.arg(&tag_field(*digest)),
                Entry::Expired { .. } => invocation.arg(&expiry_field(*digest)),
            };
        }
        write_audit(self.audit, keys, invocation);
    }

    fn parse(reply: Value) -> Result<Mark, RedisError> {
        let (base, count): (Vec<u8>, Vec<u8>) = typed(reply)?;
        mark_of(&base, &count).ok_or_else(errors::no_reply)
    }
}

/// Invalidates all tags.
#[derive(Debug)]
pub(crate) struct BeginLedger<'a> {
    pub(crate) base: u64,
    /// The audit, and what it is to say.
    pub(crate) audit: Option<(&'a Audit, &'a str)>,
}

impl Command for BeginLedger<'_> {
    type Reply = ();

    fn script(&self) -> &'static redis::Script {
        &BEGIN
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation
            .key(keys.heartbeat())
            .key(keys.sequence())
            .key(keys.ledger())
            .key(keys.old_ledger())
            .arg(self.base);
        write_audit(self.audit, keys, invocation);
    }

    fn parse(reply: Value) -> Result<(), RedisError> {
        typed::<i64>(reply).map(drop)
    }
}

/// Writes what a script has after its own keys and arguments.
fn write_audit(audit: Option<(&Audit, &str)>, keys: &Keys, invocation: &mut Invocation) {
    if let Some((audit, what)) = audit {
        invocation
            .key(keys.audit())
            .arg(&audit.who)
            .arg(what)
            .arg(audit.most);
    }
    invocation.arg(keys.channel());
}

/// The field of a tag's last invalidation.
pub(crate) fn tag_field(digest: u64) -> [u8; 8] {
    digest.to_le_bytes()
}

/// The field of the last expiry of a key, a function or a tag.
pub(crate) fn expiry_field(digest: u64) -> [u8; 9] {
    let mut field = [b'~'; 9];
    field[1..].copy_from_slice(&digest.to_le_bytes());
    field
}

/// The state of a ledger in a reply; `None` if the texts are foreign.
pub(super) fn mark_of(base: &[u8], count: &[u8]) -> Option<Mark> {
    let base = number(base).filter(|base| *base > 0)?;
    let number = entry_number(count)?;
    Some(Mark { base, number })
}

/// The number of an entry, as the scripts accept it: a foreign one could not be counted further.
pub(super) fn entry_number(text: &[u8]) -> Option<u64> {
    let is_ours = text.len() <= 15 && (text == b"0" || !text.starts_with(b"0"));
    is_ours.then(|| number(text)).flatten()
}
