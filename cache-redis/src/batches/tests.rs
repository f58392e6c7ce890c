mod equivalence;

use std::time::Duration;

use cache_core::tier::{Lease, RecordKey, Stamp};

use super::*;
use crate::commands::stamps::Stamped;
use crate::commands::testing::{MINUTE, TestServer};

const RECORD: &[u8] = b"a filled record";

/// Index of the last byte that is read of a record.
const LAST: usize = 100;

fn read_of(server: &TestServer, key: &RecordKey) -> Read {
    Read {
        record: server.keys.record(key),
        last: LAST,
    }
}

fn free_key(server: &TestServer, key: &RecordKey, token: u64, stamp: Stamp) -> FreeKey {
    FreeKey {
        record: server.keys.record(key),
        lease: server.keys.lease(key),
        guards: server.keys.guards(key),
        stamp: stamped(key, stamp),
        token,
        life: MINUTE,
    }
}

fn filled_key(server: &TestServer, key: &RecordKey, token: u64, stamp: Stamp) -> FilledKey {
    FilledKey {
        name: server.keys.record(key),
        lease: server.keys.lease(key),
        token,
        stamp: stamped(key, stamp),
        record: RECORD.to_vec(),
        life: MINUTE,
        digest: key.digest,
    }
}

fn stamped(key: &RecordKey, stamp: Stamp) -> Stamped {
    let function = Arc::clone(&key.function);
    Stamped { function, stamp }
}

fn invalidated_key(server: &TestServer, key: &RecordKey) -> InvalidatedKey {
    InvalidatedKey {
        record: server.keys.record(key),
        lease: server.keys.lease(key),
        digest: key.digest,
    }
}
