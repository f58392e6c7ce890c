//! What stands in an object: when it is dead, what it counts under, whose it is, and the record.

use std::time::Duration;

use cache_core::tier::{RecordKey, Stamp};
use cache_core::unix_millis;

use crate::controls::digest_of;

/// How much of an object says whether it counts.
pub(crate) const HEADER: usize = 32;

/// The beginning of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    expiry: u64,
    pub(crate) function: u64,
    pub(crate) stamp: Stamp,
}

impl Header {
    /// `None`: it is torn.
    pub(crate) fn of(object: &[u8]) -> Option<Self> {
        let (header, _) = object.split_first_chunk::<HEADER>()?;
        let mut numbers = header.as_chunks::<8>().0.iter();
        let mut next = || numbers.next().copied().map(u64::from_le_bytes);
        let (expiry, function) = (next()?, next()?);
        let (epoch, history) = (next()?, next()?);
        let stamp = Stamp { epoch, history };
        Some(Self {
            expiry,
            function,
            stamp,
        })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.expiry <= unix_millis()
    }
}

/// The header, and the key's name with its length, before the record.
pub(crate) fn object_of(key: &RecordKey, stamp: Stamp, record: &[u8], life: Duration) -> Vec<u8> {
    let name = key.name();
    let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1);
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let mut object = Vec::with_capacity(HEADER + 4 + name.len() + record.len());
    for number in [
        unix_millis().saturating_add(life),
        digest_of(&key.function),
        stamp.epoch,
        stamp.history,
    ] {
        object.extend(number.to_le_bytes());
    }
    object.extend(length.to_le_bytes());
    object.extend(name.as_bytes());
    object.extend(record);
    object
}

/// The record in an object, if it is this key's and not dead.
pub(crate) fn record_in(object: &[u8], key: &RecordKey) -> Option<Vec<u8>> {
    let header = Header::of(object)?;
    let (length, rest) = object.get(HEADER..)?.split_first_chunk()?;
    let (name, record) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let is_it = !header.is_dead() && name == key.name().as_bytes();
    is_it.then(|| record.to_vec())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cache_core::tier::FunctionKey;

    use super::*;

    #[test]
    fn an_object_is_its_keys_until_it_is_dead() {
        let key = |arguments: &str| {
            RecordKey::new(Arc::new(FunctionKey::new("f", 1)), arguments.to_owned(), 1)
        };
        let (minute, stamp) = (
            Duration::from_secs(60),
            Stamp {
                epoch: 1,
                history: 2,
            },
        );
        let object = object_of(&key("1"), stamp, b"abc", minute);
        assert_eq!(record_in(&object, &key("1")).as_deref(), Some(&b"abc"[..]));
        assert_eq!(record_in(&object, &key("2")), None);
        let header = Header::of(&object).unwrap();
        assert_eq!(header.stamp, stamp);
        assert_eq!(header.function, digest_of(&key("2").function));
        assert!(!header.is_dead());
        for torn in 0..HEADER + 4 + 5 {
            assert_eq!(record_in(&object[..torn], &key("1")), None);
        }
        let mut dead = object;
        dead[..8].copy_from_slice(&unix_millis().to_le_bytes());
        assert_eq!(record_in(&dead, &key("1")), None);
        assert!(Header::of(&dead).unwrap().is_dead());
    }
}
