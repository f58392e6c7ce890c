//! The format of an object: its expiry time, its function and stamp, its key, and the record.

use std::time::Duration;

use cache_core::tier::{RecordKey, Stamp};
use cache_core::unix_millis;

use crate::epochs::digest_of;

/// The length of the header. It is all that a sweep reads of an object.
pub(crate) const HEADER_LEN: usize = 32;

/// The header of an object, which says whether the record can be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    expiry: u64,
    /// The digest of the function.
    pub(crate) function: u64,
    pub(crate) stamp: Stamp,
}

impl Header {
    /// Parses the header of an object; `None` if the object is torn.
    pub(crate) fn parse(object: &[u8]) -> Option<Self> {
        let (header, _) = object.split_first_chunk::<HEADER_LEN>()?;
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

    pub(crate) fn is_expired(&self) -> bool {
        self.expiry <= unix_millis()
    }
}

/// Creates an object: the header, the length of the key's name, the name, and the record. The name
/// tells keys apart whose paths have one hash.
pub(crate) fn to_object(key: &RecordKey, stamp: Stamp, record: &[u8], life: Duration) -> Vec<u8> {
    let name = key.name();
    let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1);
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let mut object = Vec::with_capacity(HEADER_LEN + 4 + name.len() + record.len());
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

/// Returns the record in an object, if the object is this key's and has not expired.
pub(crate) fn record_in(object: &[u8], key: &RecordKey) -> Option<Vec<u8>> {
    let header = Header::parse(object)?;
    let (length, rest) = object.get(HEADER_LEN..)?.split_first_chunk()?;
    let (name, record) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let is_of_key = !header.is_expired() && name == key.name().as_bytes();
    is_of_key.then(|| record.to_vec())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cache_core::tier::FunctionKey;

    use super::*;

    #[test]
    fn object_has_the_record_of_its_key_until_it_expires() {
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
        let object = to_object(&key("1"), stamp, b"abc", minute);
        assert_eq!(record_in(&object, &key("1")).as_deref(), Some(&b"abc"[..]));
        assert_eq!(record_in(&object, &key("2")), None);
        let header = Header::parse(&object).unwrap();
        assert_eq!(header.stamp, stamp);
        assert_eq!(header.function, digest_of(&key("2").function));
        assert!(!header.is_expired());
        for torn in 0..HEADER_LEN + 4 + 5 {
            assert_eq!(record_in(&object[..torn], &key("1")), None);
        }
        let mut expired = object;
        expired[..8].copy_from_slice(&unix_millis().to_le_bytes());
        assert_eq!(record_in(&expired, &key("1")), None);
        assert!(Header::parse(&expired).unwrap().is_expired());
    }
}
