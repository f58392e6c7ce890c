//! Names of keys, read back.

use std::sync::Arc;

use cache_core::tier::FunctionKey;

use crate::keys::{GUARDS, Keys, LEASE, WAITS};

/// A key of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredKey {
    /// Kind of the contents.
    pub place: Place,
    /// The function that the key belongs to; `None` for a key of the shard itself.
    pub function: Option<Arc<FunctionKey>>,
    /// The arguments, as they are in the name; for a key of the shard, the rest of its name.
    pub arguments: String,
}

/// Kind of the contents of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A record.
    Record,
    /// The lease on a record.
    Lease,
    /// The leases that the holder of a lease waits for.
    Waits,
    /// The write guards of a record.
    Guards,
    /// The epoch of a function.
    Epoch,
    /// A key of the shard: history, sequence, ledger, streams, and the like.
    Control,
}

/// Reads the name of a key. `None` if it is of another shard, or no name that the tier writes.
pub(super) fn read(keys: &Keys, name: &str) -> Option<StoredKey> {
    let rest = name.strip_prefix(keys.prefix())?;
    if let Some(control) = rest.strip_prefix('#') {
        return Some(StoredKey {
            place: Place::Control,
            function: None,
            arguments: control.to_owned(),
        });
    }
    let (function, version, rest) = keys.split(name)?;
    let function = Some(Arc::new(FunctionKey::found(function.to_owned(), version)));
    if rest == "#epoch" {
        return Some(StoredKey {
            place: Place::Epoch,
            function,
            arguments: String::new(),
        });
    }
    let arguments = rest.strip_prefix(':')?;
    let suffixes = [
        (LEASE, Place::Lease),
        (WAITS, Place::Waits),
        (GUARDS, Place::Guards),
    ];
    let beside = suffixes
        .iter()
        .find_map(|(suffix, place)| Some((arguments.strip_suffix(suffix)?, *place)));
    let (arguments, place) = beside.unwrap_or((arguments, Place::Record));
    Some(StoredKey {
        place,
        function,
        arguments: arguments.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use cache_core::tier::{RecordKey, Shard};

    use super::*;

    #[test]
    fn names_that_the_tier_writes_are_read_back() {
        let keys = Keys::new("shop", Shard::ONLY, 0);
        let function = Arc::new(FunctionKey::new("users::get<a:b>", 3));
        let record = RecordKey::new(Arc::clone(&function), "42,a:1".into(), 0);
        for (name, place) in [
            (keys.record(&record), Place::Record),
            (keys.lease(&record), Place::Lease),
            (keys.waits(&record), Place::Waits),
            (keys.guards(&record), Place::Guards),
            (keys.epoch(&function), Place::Epoch),
        ] {
            let key = read(&keys, &name).unwrap();
            assert_eq!((key.place, key.function), (place, Some(function.clone())));
            let expected = if place == Place::Epoch { "" } else { "42,a:1" };
            assert_eq!(key.arguments, expected, "{name}");
        }
        let control = read(&keys, &keys.history()).unwrap();
        assert_eq!(
            (control.place, &*control.arguments),
            (Place::Control, "history")
        );
        for foreign in [
            "shop",
            "{shop:1}:f:1:x",
            "{shop:0}:f",
            "{shop:0}:f:x:y",
            "{shop:0}:f:01:y",
        ] {
            assert_eq!(read(&keys, foreign), None, "{foreign}");
        }
    }
}
