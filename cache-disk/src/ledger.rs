//! The ledger of the store: all of it is in memory, and each change is written and synced before it
//! takes effect.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::kit::{Batch, LedgerChange, LedgerContents, LocalLedger, PrivateState};
use cache_core::tier::{Ledger, Mark, Marks, MarksState, TierFuture};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

/// The name of the keyspace.
const NAME: &str = "ledger";

/// The key of the base and the number.
const MARK: &[u8] = b"#mark";

/// The first bytes of the keys of tags and expiries. The digest follows.
const TAG: u8 = b't';
const EXPIRY: u8 = b'e';

/// The ledger of a tier. It outlives the stores that are opened one after the other.
#[derive(Debug)]
pub(crate) struct DiskLedger {
    contents: LocalLedger,
    /// Has the tags and expiries that are not written yet.
    state: Arc<PrivateState>,
}

impl DiskLedger {
    /// Creates a ledger without anything in it.
    pub(crate) fn new(state: Arc<PrivateState>) -> Self {
        Self {
            contents: LocalLedger::default(),
            state,
        }
    }

    pub(crate) fn state(&self) -> &Arc<PrivateState> {
        &self.state
    }

    /// The marks of leases, and the changes.
    pub(crate) fn contents(&self) -> &LocalLedger {
        &self.contents
    }

    fn judge(&self, marks: Marks<'_>) -> MarksState {
        // The pending tags first: one that is written in between is in the ledger before it is no
        // longer pending.
        let pending = self.state.pending().judge(marks);
        pending.max(self.contents.judge(marks))
    }
}

impl Ledger for DiskLedger {
    fn enable(&self) {}

    fn state(&self, marks: Marks<'_>) -> Option<MarksState> {
        // This process is the only one that uses the directory, so everything is known.
        Some(self.judge(marks))
    }

    fn state_in_store<'a>(&'a self, marks: Marks<'a>, _: Duration) -> TierFuture<'a, MarksState> {
        Box::pin(ready(Ok(self.judge(marks))))
    }

    fn is_pending(&self, tags: &[u64]) -> bool {
        self.state.pending().covers_tags(tags)
    }
}

/// The keyspace that holds the ledger.
pub(crate) struct LedgerLog {
    database: Database,
    keyspace: Keyspace,
}

impl LedgerLog {
    /// Opens the ledger of a store, and returns what it has. A ledger that is missing or cannot be
    /// read begins again with another base, which invalidates all records with tags.
    ///
    /// The database syncs its journal while it is opened, so everything that is read here is
    /// synced, also what the last process had written and not synced.
    pub(crate) fn open(database: Database) -> fjall::Result<(Self, LedgerContents)> {
        let keyspace = database.keyspace(NAME, KeyspaceCreateOptions::default)?;
        let log = Self { database, keyspace };
        if let Some(contents) = log.read()? {
            return Ok((log, contents));
        }
        let contents = LedgerContents::default();
        log.write(&LedgerChange {
            mark: contents.mark,
            begins_again: true,
            tags: &[],
            expiries: &[],
        })?;
        Ok((log, contents))
    }

    /// Reads everything. Returns `None` if it is not a ledger.
    fn read(&self) -> fjall::Result<Option<LedgerContents>> {
        let Some(mark) = self.keyspace.get(MARK)?.as_deref().and_then(mark_of) else {
            return Ok(None);
        };
        let mut contents = LedgerContents {
            mark,
            ..LedgerContents::default()
        };
        for item in self.keyspace.iter() {
            let (key, number) = item.into_inner()?;
            if &*key == MARK {
                continue;
            }
            let (Some((kind, digest)), Some(number)) = (key.split_first(), number_of(&number))
            else {
                return Ok(None);
            };
            let numbers = match *kind {
                TAG => &mut contents.tags,
                EXPIRY => &mut contents.expiries,
                _ => return Ok(None),
            };
            let Some(digest) = number_of(digest).filter(|_| number <= mark.number) else {
                return Ok(None);
            };
            numbers.insert(digest, number);
        }
        Ok(Some(contents))
    }

    /// Writes a change in one step, without syncing it.
    pub(crate) fn write(&self, change: &LedgerChange<'_>) -> fjall::Result<()> {
        let mut batch = self.database.batch();
        if change.begins_again {
            for item in self.keyspace.iter() {
                let (key, _) = item.into_inner()?;
                batch.remove(&self.keyspace, key);
            }
        }
        let Mark { base, number } = change.mark;
        let mark = [base.to_le_bytes(), number.to_le_bytes()].concat();
        batch.insert(&self.keyspace, MARK, mark);
        let tags = change.tags.iter().map(|digest| (TAG, digest));
        let expiries = change.expiries.iter().map(|digest| (EXPIRY, digest));
        for (kind, digest) in tags.chain(expiries) {
            let mut key = vec![kind];
            key.extend(digest.to_le_bytes());
            batch.insert(&self.keyspace, key, number.to_le_bytes().to_vec());
        }
        batch.commit()
    }
}

/// Returns the change of the ledger that a batch of pending invalidations asks for.
pub(crate) fn change_for<'a>(ledger: &LocalLedger, batch: &'a Batch) -> Option<LedgerChange<'a>> {
    if batch.all_tags || batch.all_expiries {
        return Some(ledger.begin_again());
    }
    batch
        .has_digests()
        .then(|| ledger.change(&batch.tags, &batch.expiries))
}

fn number_of(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

fn mark_of(bytes: &[u8]) -> Option<Mark> {
    let (base, number) = bytes.split_at_checked(8)?;
    let (base, number) = (number_of(base)?, number_of(number)?);
    (base != 0).then_some(Mark { base, number })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("mtc-ledger-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Self(path)
        }

        fn open(&self) -> (LedgerLog, LedgerContents) {
            let database = Database::builder(&self.0).open().expect("a database");
            LedgerLog::open(database).expect("a ledger")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn ledger_is_as_it_was_written_after_the_store_is_opened_again() {
        let directory = Directory::new("again");
        let (log, contents) = directory.open();
        assert!(contents.mark.base != 0 && contents.mark.number == 0);
        let ledger = LocalLedger::default();
        ledger.replace(contents);
        for (tags, expiries) in [(&[1, 2][..], &[][..]), (&[2], &[3, 1]), (&[], &[4])] {
            let change = ledger.change(tags, expiries);
            log.write(&change).expect("a write");
            ledger.apply(&change);
        }
        drop(log);
        let (log, contents) = directory.open();
        assert_eq!(contents.mark, ledger.mark());
        let numbers = |of: &std::collections::HashMap<u64, u64>| {
            let mut numbers: Vec<_> = of.iter().map(|(digest, last)| (*digest, *last)).collect();
            numbers.sort_unstable();
            numbers
        };
        assert_eq!(numbers(&contents.tags), [(1, 1), (2, 2)]);
        assert_eq!(numbers(&contents.expiries), [(1, 2), (3, 2), (4, 3)]);
        let change = ledger.begin_again();
        log.write(&change).expect("a write");
        drop(log);
        let (_, contents) = directory.open();
        let expected = LedgerContents {
            mark: change.mark,
            ..LedgerContents::default()
        };
        assert_eq!(contents, expected);
    }

    #[test]
    fn ledger_that_cannot_be_read_begins_again() {
        let directory = Directory::new("damaged");
        let number = 9_u64.to_le_bytes();
        for (key, value) in [
            (&b"#mark"[..], &b"short"[..]),
            (b"#mark", &[0; 16]),
            (b"tshort", &number),
            (b"t12345678", b"short"),
            (b"x12345678", &number),
            // A number above that of the ledger.
            (b"t12345678", &number),
        ] {
            let (log, before) = directory.open();
            log.keyspace.insert(key, value).expect("a write");
            drop(log);
            let (log, after) = directory.open();
            assert_ne!(after.mark.base, before.mark.base, "{key:?}");
            assert!(after.tags.is_empty());
            drop(log);
            assert_eq!(directory.open().1, after);
        }
    }
}
