//! What stands under a key of ours; its kind is in the flags that memcached keeps for its clients.

use std::time::Duration;

use cache_core::tier::Stamp;
use cache_core::unix_millis;

/// `MTC` before the kind: what carries other flags is not ours, and counts as nothing.
const OURS: u32 = 0x4D54_4300;
pub(crate) const RECORD: u32 = OURS | 1;
/// A lease that others wait for.
pub(crate) const ONLY: u32 = OURS | 2;
/// A lease that nobody waits for.
pub(crate) const SHARED: u32 = OURS | 3;
pub(crate) const GUARDS: u32 = OURS | 4;
/// An epoch, a history, a message.
pub(crate) const CONTROL: u32 = OURS | 5;

/// Of the time at which a record is dead, before it: memcached counts in seconds.
const EXPIRY: usize = 8;

/// What memcached keeps beside a value, about: its header, the name, and our own [`EXPIRY`].
pub(crate) const AROUND: usize = 512;

/// Longer than that memcached takes a number of seconds for a date.
const LONGEST_RELATIVE: u64 = 30 * 24 * 60 * 60;

/// The last date that it takes: they have 31 bits.
const LATEST: u64 = (1 << 31) - 1;

/// A value with what memcached says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) cas: u64,
    pub(crate) flags: u32,
    pub(crate) data: Vec<u8>,
}

impl Item {
    /// A record that is not dead.
    pub(crate) fn record(&self) -> Option<&[u8]> {
        if self.flags != RECORD {
            return None;
        }
        let (expiry, record) = self.data.split_first_chunk::<EXPIRY>()?;
        (u64::from_le_bytes(*expiry) > unix_millis()).then_some(record)
    }

    /// What a record must carry that is filled under this lease.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        let (_, stamp) = self.data.split_first_chunk::<8>()?;
        let (epoch, history) = stamp.split_first_chunk::<8>()?;
        Some(Stamp {
            epoch: u64::from_le_bytes(*epoch),
            history: u64::from_le_bytes(history.try_into().ok()?),
        })
    }

    /// A number that is not zero.
    pub(crate) fn number(&self) -> Option<u64> {
        let number = <[u8; 8]>::try_from(&self.data[..]).ok()?;
        Some(u64::from_le_bytes(number)).filter(|number| *number > 0 && self.flags == CONTROL)
    }
}

/// A lease: what tells it from others, and what a record must carry that is filled under it.
pub(crate) fn with_stamp(token: u64, stamp: Stamp) -> Vec<u8> {
    [token, stamp.epoch, stamp.history]
        .map(u64::to_le_bytes)
        .concat()
}

/// A record with the time of its death.
pub(crate) fn with_expiry(record: &[u8], life: Duration) -> Vec<u8> {
    let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut data = Vec::with_capacity(EXPIRY + record.len());
    data.extend(unix_millis().saturating_add(life).to_le_bytes());
    data.extend(record);
    data
}

/// How long memcached is to keep something: a second more than it lives, since a second of memcached may be over at once, and a
/// date where it is long; zero, which is for ever, where it knows no such date.
pub(crate) fn seconds(life: Duration) -> u64 {
    let seconds = life.as_secs().saturating_add(2);
    if seconds <= LONGEST_RELATIVE {
        return seconds;
    }
    let date = (unix_millis() / 1000).saturating_add(seconds);
    if date <= LATEST { date } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(flags: u32, data: Vec<u8>) -> Item {
        Item {
            cas: 1,
            flags,
            data,
        }
    }

    #[test]
    fn a_record_is_one_until_it_is_dead() {
        let data = with_expiry(b"abc", Duration::from_secs(60));
        assert_eq!(item(RECORD, data.clone()).record(), Some(&b"abc"[..]));
        assert_eq!(item(0, data).record(), None, "somebody else's");
        assert_eq!(item(RECORD, b"short".to_vec()).record(), None);
        let mut dead = unix_millis().to_le_bytes().to_vec();
        dead.extend(b"abc");
        assert_eq!(item(RECORD, dead).record(), None);
    }

    #[test]
    fn lives_are_in_the_terms_of_memcached() {
        assert_eq!(seconds(Duration::from_millis(1)), 2);
        assert_eq!(
            seconds(Duration::from_secs(LONGEST_RELATIVE - 2)),
            LONGEST_RELATIVE
        );
        let year = 365 * 24 * 60 * 60;
        let date = seconds(Duration::from_secs(year));
        assert!(date > unix_millis() / 1000 + year, "a date");
        for life in [Duration::from_secs(year * 100), Duration::MAX] {
            assert_eq!(seconds(life), 0, "for ever");
        }
    }
}
