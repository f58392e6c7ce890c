//! Scripts, and the functions that they share.

use std::sync::LazyLock;

/// A script, which this process knows by the hash of its text.
pub(super) type Script = LazyLock<redis::Script>;

/// Index of the last byte that is read of an epoch, a history, a lease or the sequence: each is
/// shorter, and a foreign string may be long. `text` in `lua/common.lua` has the same number.
pub(crate) const LONGEST_TEXT: usize = 199;

/// Functions that several scripts use.
///
/// A lease is `<token>:<epoch>:<history>:<kind>`: the epoch and the history as of when it was
/// granted; `x` if other callers wait for it, `s` if they share it; and a `w` at the end once a
/// caller waits. It is valid as long as epoch and history are unchanged. A history is
/// `<number>:<identity of the server it was begun on>`.
///
/// After a load failed, a back-off may have the place of its lease:
/// `<failures>:<epoch>:<history>:b`, valid under the same condition. It lasts until `REMEMBERED` ms
/// before its key expires; for the rest of that life only the number of failures is known. `lease`
/// does not return it, so no script takes it for a lease, and neither does a version that does not
/// know it: its `lease` accepts the kinds `x` and `s` alone. The constants are those of `BackOff`
/// in milliseconds.
///
/// A message is `<number>:<kind>:<subject>`. The sequence counts messages without gaps. If the
/// sequence is missing (evicted, flushed) or foreign, it restarts at the microseconds of the
/// server's clock, and a message of kind `s` with that number announces it. That is more than any
/// number it had before, as long as fewer than a million messages are sent a second and the clock
/// is not set back, so a number identifies one state of the control keys: a restoration or a lease
/// request that compares numbers cannot match a later state. (A clock that is set back makes the
/// other instances see a number that went back, and they begin a new history.)
///
/// The last argument of every script that publishes is the channel. It is not a key: as a key it
/// would never exist, and a cluster refuses scripts that miss some of their keys while it migrates
/// the slot.
///
/// `guarded` deletes a guards key only if it is of another type. If the user may not remove expired
/// guards, it treats them as valid: no guard is broken by an instance that lacks a permission.
///
/// `publish` returns the number of clients of this server that receive the message.
///
/// `audit` writes an entry if the command was given a stream. It returns 0 if the server refuses
/// the entry, which fails no script, and 1 otherwise.
const COMMON: &str = include_str!("lua/common.lua");

/// Functions of the scripts that use the ledger. `mark` returns the base and the number of the last
/// entry, and begins a ledger if it is missing or foreign. A refusal for another reason than its
/// type fails the script: a ledger must not be begun again because a permission is missing.
const LEDGER: &str = include_str!("lua/ledger.lua");

/// A script that a full server refuses if it takes memory.
pub(super) fn script(text: &str) -> redis::Script {
    redis::Script::new(&format!("\n{COMMON}\n{text}"))
}

/// A script that uses the ledger.
pub(super) fn script_with_ledger(text: &str) -> redis::Script {
    script(&format!("{LEDGER}\n{text}"))
}

/// A script that returns the state of the ledger beside the reply of another script. The text of
/// the other one becomes the function `take`, so that leases with and without a mark have one text,
/// and those without one run as if there were no ledger.
pub(super) fn marked(take: &str, text: &str) -> redis::Script {
    script_even_if_full(&format!(
        "{LEDGER}\nlocal function take()\n{take}\nend\n{text}"
    ))
}

/// A script that runs on a full server too.
///
/// Leases, guards and control keys are small and expire soon. Without them, no instance would know
/// which keys are being loaded or guarded.
pub(super) fn script_even_if_full(text: &str) -> redis::Script {
    redis::Script::new(&format!("#!lua flags=allow-oom\n\n{COMMON}\n{text}"))
}
