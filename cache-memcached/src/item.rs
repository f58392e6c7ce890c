//! The items of this cache in the server.

use std::time::Duration;

use cache_core::tier::{BackOff, Stamp};
use cache_core::unix_millis;

/// The flags of every item of this cache, without the kind: `MTC` in ASCII. memcached stores the
/// flags of an item for its clients. An item with other flags is foreign: it is treated as missing,
/// and replaced.
const FLAGS: u32 = 0x4D54_4300;

/// The kind of an item. Its number is the lowest byte of the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// A record, after the time at which it expires.
    Record = 1,
    /// A lease that other callers wait for.
    ExclusiveLease = 2,
    /// A lease that no caller waits for.
    SharedLease = 3,
    /// The numbers of the guards of a key.
    Guards = 4,
    /// An epoch, a history, the number of a process, or a message of the log.
    Control = 5,
    /// The trace of a load that failed, in place of its lease: for the callers that waited for it,
    /// and with the back-off of the key if it has one.
    FailedLoad = 6,
    /// A lease to replace a record, beside that record, which stays until it is replaced.
    RefreshLease = 7,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Record,
        Self::ExclusiveLease,
        Self::SharedLease,
        Self::Guards,
        Self::Control,
        Self::FailedLoad,
        Self::RefreshLease,
    ];

    /// Returns the flags of an item of this kind.
    pub(crate) fn flags(self) -> u32 {
        FLAGS | self as u32
    }

    /// Returns the kind of an item with these flags; `None` if it is foreign.
    pub(crate) fn of_flags(flags: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.flags() == flags)
    }
}

/// The bytes before a record: the time at which it expires, in milliseconds since the Unix epoch.
/// memcached counts in seconds, so its own expiry is not exact enough.
const EXPIRY: usize = 8;

/// The space that memcached uses besides a record, rounded up: its header, the name, and
/// [`EXPIRY`].
pub(crate) const OVERHEAD: usize = 512;

/// The longest life that memcached takes as a number of seconds. It takes more for a date.
const LONGEST_RELATIVE: u64 = 30 * 24 * 60 * 60;

/// The latest date that memcached takes: its dates have 31 bits.
const LATEST_DATE: u64 = (1 << 31) - 1;

/// The first number of a lease whose key had the trace of a failed load.
const AFTER_FAILURE: u64 = 1;

/// An item of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The number that the server gave this version of the item.
    pub(crate) cas: u64,
    /// `None` for a foreign item.
    pub(crate) kind: Option<Kind>,
    pub(crate) data: Vec<u8>,
}

impl Item {
    /// Returns the record, if this is one and it has not expired.
    pub(crate) fn record(&self) -> Option<&[u8]> {
        if self.kind != Some(Kind::Record) {
            return None;
        }
        let (expiry, record) = self.data.split_first_chunk::<EXPIRY>()?;
        (u64::from_le_bytes(*expiry) > unix_millis()).then_some(record)
    }

    /// Returns `true` for an exclusive or a shared lease.
    pub(crate) fn is_lease(&self) -> bool {
        matches!(self.kind, Some(Kind::ExclusiveLease | Kind::SharedLease))
    }

    /// Returns the stamp that a record must carry which is filled under this lease.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        let [_, epoch, history] = self.lease_numbers()?;
        Some(Stamp { epoch, history })
    }

    /// Returns `true` if this is a lease to replace the record with this CAS number, and is valid
    /// under this stamp.
    pub(crate) fn is_refresh_of(&self, record: u64, stamp: Stamp) -> bool {
        self.kind == Some(Kind::RefreshLease)
            && self.numbers() == Some([record, stamp.epoch, stamp.history])
    }

    /// Returns the back-off that a failed load left here, with the time that is left of it.
    ///
    /// It is valid for the record that the load was to replace, by its CAS number, or 0 if there
    /// was none, and under the stamp of its lease. So whatever replaces or deletes the record, or
    /// invalidates its function, ends the back-off as well.
    pub(crate) fn back_off(&self, record: u64, stamp: Stamp) -> Option<BackOff> {
        let [of_record, epoch, history, failures, ends] = self.numbers()?;
        let is_valid = self.kind == Some(Kind::FailedLoad)
            && (of_record, epoch, history) == (record, stamp.epoch, stamp.history);
        let now = unix_millis();
        let remembered = ends.saturating_add(BackOff::REMEMBERED.as_millis() as u64);
        if !is_valid || remembered <= now {
            return None;
        }
        let left = Duration::from_millis(ends.saturating_sub(now));
        Some(BackOff {
            failures: u32::try_from(failures).unwrap_or(u32::MAX),
            // A back-off that would last longer was written by a clock that is ahead. It must not
            // keep callers from loading until this clock has caught up.
            lasts: match left <= BackOff::LONGEST {
                true => left,
                false => Duration::ZERO,
            },
        })
    }

    /// Returns `true` if this is the trace of a failed load, or a lease that took its place.
    pub(crate) fn follows_failure(&self) -> bool {
        self.kind == Some(Kind::FailedLoad)
            || self
                .lease_numbers()
                .is_some_and(|[first, ..]| first == AFTER_FAILURE)
    }

    fn lease_numbers(&self) -> Option<[u64; 3]> {
        self.numbers().filter(|_| self.is_lease())
    }

    /// Returns the numbers that are the data, if these are `N` numbers.
    fn numbers<const N: usize>(&self) -> Option<[u64; N]> {
        let (numbers, rest) = self.data.as_chunks::<8>();
        let numbers = <[[u8; 8]; N]>::try_from(numbers).ok();
        numbers
            .filter(|_| rest.is_empty())
            .map(|numbers| numbers.map(u64::from_le_bytes))
    }

    /// Returns the number of a control item, which is never zero.
    pub(crate) fn number(&self) -> Option<u64> {
        let number = <[u8; 8]>::try_from(&self.data[..]).ok()?;
        let number = u64::from_le_bytes(number);
        (number > 0 && self.kind == Some(Kind::Control)).then_some(number)
    }
}

/// Returns the data of a lease. `replaced` is the item that had its key before.
pub(crate) fn lease_data(stamp: Stamp, replaced: Option<&Item>) -> Vec<u8> {
    let is_failure = replaced.is_some_and(|item| item.kind == Some(Kind::FailedLoad));
    let first = if is_failure { AFTER_FAILURE } else { 0 };
    data_of(&[first, stamp.epoch, stamp.history])
}

/// Returns the data of a lease to replace the record with this CAS number.
pub(crate) fn refresh_data(record: u64, stamp: Stamp) -> Vec<u8> {
    data_of(&[record, stamp.epoch, stamp.history])
}

/// Returns the data of the trace of a failed load that leaves a back-off. `record` is the CAS
/// number of the record that it was to replace, or 0, and `stamp` is the stamp of its lease.
pub(crate) fn back_off_data(record: u64, stamp: Stamp, back_off: BackOff) -> Vec<u8> {
    let lasts = back_off.lasts.min(BackOff::LONGEST).as_millis() as u64;
    data_of(&[
        record,
        stamp.epoch,
        stamp.history,
        u64::from(back_off.failures.max(1)),
        unix_millis().saturating_add(lasts),
    ])
}

fn data_of(numbers: &[u64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// Returns the data of a record that expires after `life`.
pub(crate) fn record_data(record: &[u8], life: Duration) -> Vec<u8> {
    let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut data = Vec::with_capacity(EXPIRY + record.len());
    data.extend(unix_millis().saturating_add(life).to_le_bytes());
    data.extend(record);
    data
}

/// Returns the expiry that makes memcached keep an item for at least `life`: a number of seconds, a
/// date if `life` is long, or zero, which means for ever, if memcached has no such date.
///
/// It is longer than `life` by one second at least, because the first second of memcached may pass
/// at once.
pub(crate) fn expiry_seconds(life: Duration) -> u64 {
    let seconds = life.as_secs().saturating_add(2);
    if seconds <= LONGEST_RELATIVE {
        return seconds;
    }
    let date = (unix_millis() / 1000).saturating_add(seconds);
    if date <= LATEST_DATE { date } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: Kind, data: Vec<u8>) -> Item {
        Item {
            cas: 1,
            kind: Some(kind),
            data,
        }
    }

    #[test]
    fn flags_tell_kinds_apart_and_foreign_flags_have_none() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_flags(kind.flags()), Some(kind));
        }
        for flags in [0, 1, FLAGS, FLAGS | 8] {
            assert_eq!(Kind::of_flags(flags), None, "{flags}");
        }
    }

    #[test]
    fn record_is_returned_until_it_expires() {
        let data = record_data(b"abc", Duration::from_secs(60));
        let record = item(Kind::Record, data);
        assert_eq!(record.record(), Some(&b"abc"[..]));
        let foreign = Item {
            kind: None,
            ..record
        };
        assert_eq!(foreign.record(), None, "the flags are foreign");
        assert_eq!(item(Kind::Record, b"short".to_vec()).record(), None);
        let mut expired = unix_millis().to_le_bytes().to_vec();
        expired.extend(b"abc");
        assert_eq!(item(Kind::Record, expired).record(), None);
    }

    #[test]
    fn lease_carries_its_stamp_and_whether_it_replaced_a_failed_load() {
        let stamp = Stamp {
            epoch: 1,
            history: 2,
        };
        let failed = item(Kind::FailedLoad, Vec::new());
        let first = item(Kind::ExclusiveLease, lease_data(stamp, None));
        let second = item(Kind::SharedLease, lease_data(stamp, Some(&failed)));
        let third = item(Kind::ExclusiveLease, lease_data(stamp, Some(&second)));
        assert!([&first, &second, &third].map(Item::stamp) == [Some(stamp); 3]);
        assert_eq!(
            [&first, &failed, &second, &third].map(Item::follows_failure),
            [false, true, true, false]
        );
        let foreign = item(Kind::ExclusiveLease, b"short".to_vec());
        assert!(foreign.stamp().is_none() && !foreign.follows_failure());
    }

    #[test]
    fn back_off_is_valid_for_its_record_and_stamp_and_has_an_end() {
        let stamp = Stamp {
            epoch: 1,
            history: 2,
        };
        let second = Duration::from_secs(1);
        let kept = |failures, lasts| {
            let data = back_off_data(5, stamp, BackOff { failures, lasts });
            item(Kind::FailedLoad, data)
        };
        let failed = kept(3, second);
        let back_off = failed.back_off(5, stamp).unwrap();
        assert_eq!(back_off.failures, 3);
        assert!(back_off.lasts > Duration::ZERO && back_off.lasts <= second);
        assert_eq!(failed.back_off(6, stamp), None, "another record");
        for (epoch, history) in [(2, 2), (1, 1)] {
            assert_eq!(failed.back_off(5, Stamp { epoch, history }), None);
        }
        let longest = kept(0, Duration::MAX).back_off(5, stamp).unwrap();
        assert!(longest.failures == 1 && longest.lasts <= BackOff::LONGEST);
        assert!(longest.lasts > BackOff::LONGEST / 2);

        let ends = |ends| item(Kind::FailedLoad, data_of(&[5, 1, 2, 3, ends]));
        let ahead = ends(unix_millis() + 600_000).back_off(5, stamp).unwrap();
        assert_eq!((ahead.failures, ahead.lasts), (3, Duration::ZERO));
        let passed = ends(unix_millis() - 1).back_off(5, stamp).unwrap();
        assert_eq!((passed.failures, passed.lasts), (3, Duration::ZERO));
        let forgotten = unix_millis() - BackOff::REMEMBERED.as_millis() as u64;
        assert_eq!(ends(forgotten).back_off(5, stamp), None);
        let trace = item(Kind::FailedLoad, Vec::new());
        assert_eq!(trace.back_off(0, stamp), None, "no back-off");
        let lease = item(Kind::RefreshLease, failed.data);
        assert_eq!(lease.back_off(5, stamp), None);
    }

    #[test]
    fn lease_of_a_refresh_names_its_record_and_stamp() {
        let stamp = Stamp {
            epoch: 1,
            history: 2,
        };
        let lease = item(Kind::RefreshLease, refresh_data(5, stamp));
        assert!(lease.is_refresh_of(5, stamp) && !lease.is_refresh_of(6, stamp));
        let (epoch, history) = (2, 2);
        assert!(!lease.is_refresh_of(5, Stamp { epoch, history }));
        assert!(!lease.is_lease(), "the record is under another name");
        let other = item(Kind::SharedLease, lease.data);
        assert!(!other.is_refresh_of(5, stamp));
    }

    #[test]
    fn expiry_is_in_the_units_of_memcached() {
        assert_eq!(expiry_seconds(Duration::from_millis(1)), 2);
        assert_eq!(
            expiry_seconds(Duration::from_secs(LONGEST_RELATIVE - 2)),
            LONGEST_RELATIVE
        );
        let year = 365 * 24 * 60 * 60;
        let date = expiry_seconds(Duration::from_secs(year));
        assert!(date > unix_millis() / 1000 + year, "{date} is not a date");
        for life in [Duration::from_secs(year * 100), Duration::MAX] {
            assert_eq!(expiry_seconds(life), 0, "{life:?} is for ever");
        }
    }
}
