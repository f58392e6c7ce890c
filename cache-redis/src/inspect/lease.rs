//! Leases and guards, as their keys hold them.

use crate::commands::read::number;

/// A lease on a key, or the mark of a load that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseOnKey {
    /// The token of the lease; for a back-off, the number of loads that failed in a row.
    pub token: u64,
    /// The kind of the lease.
    pub kind: LeaseKind,
    /// The epoch as of when the lease was granted.
    pub epoch: Option<u64>,
    /// The history as of when the lease was granted.
    pub history: Option<u64>,
    /// `true` if another instance waits for the load.
    pub is_awaited: bool,
    /// The time until the lease expires, in milliseconds.
    pub left_ms: u64,
}

/// The kind of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseKind {
    /// Other instances wait for the load.
    Exclusive,
    /// Other instances load beside it.
    Shared,
    /// No lease: the last load failed, and the next one is delayed.
    BackOff,
}

/// A write guard on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Guard {
    /// The number of the guard.
    pub number: String,
    /// The time at which the guard expires, in milliseconds of the server's clock.
    pub expires_ms: u64,
}

/// Parses the text under the name of a lease. `None` if it is foreign.
pub(super) fn parse(text: &[u8], left_ms: u64) -> Option<LeaseOnKey> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.split(':');
    let token = parts.next()?;
    let [epoch, history, kind] = [parts.next()?, parts.next()?, parts.next()?];
    let is_canonical = !token.starts_with('0') && parts.next().is_none();
    let token = token.parse().ok().filter(|_| is_canonical)?;
    let (kind, is_awaited) = match kind.strip_suffix('w') {
        Some(kind) => (kind, true),
        None => (kind, false),
    };
    Some(LeaseOnKey {
        token,
        kind: match kind {
            "x" => LeaseKind::Exclusive,
            "s" => LeaseKind::Shared,
            "b" => LeaseKind::BackOff,
            _ => return None,
        },
        epoch: number(epoch.as_bytes()),
        history: number(history.as_bytes()),
        is_awaited,
        left_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_and_back_off_are_read_and_a_foreign_text_is_none() {
        let lease = parse(b"77:5:9:xw", 1).unwrap();
        let expected = (77, LeaseKind::Exclusive, Some(5), Some(9), true);
        let found = (
            lease.token,
            lease.kind,
            lease.epoch,
            lease.history,
            lease.is_awaited,
        );
        assert_eq!(found, expected);
        assert_eq!(parse(b"3:5:9:b", 1).unwrap().kind, LeaseKind::BackOff);
        for foreign in ["", "7", "07:5:9:x", "7:5:9:q", "7:5:9:x:1", "x:5:9:x"] {
            assert_eq!(parse(foreign.as_bytes(), 1), None, "{foreign}");
        }
    }
}
