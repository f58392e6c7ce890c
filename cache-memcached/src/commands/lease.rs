//! Takes a lease, the right to fill one key.

use std::time::Duration;

use async_memcached::{Client, Error, MetaProtocol as _};
use cache_core::tier::kit::StoreLease;
use cache_core::tier::{HEADER_LEN, LeaseMode, Refusal, Stamp};

use super::command::Command;
use super::guard::is_guarded;
use super::items::{
    Condition, NewItem, delete_if, get_all, number_or_create, renumber, set_if, touch,
};
use crate::item::{Item, Kind, expiry_seconds, lease_data};
use crate::keys::{Keys, RecordNames};

/// Asks for a lease: the CAS number of the item under the name of the record.
///
/// If there is no usable record, a placeholder is stored, whose data is the stamp that the record
/// must carry; it expires after `life` unless it is renewed. If there is a record that may still be
/// valid (it is refreshed, or its load is not exclusive), the record stays, and gets another CAS
/// number, so that no earlier lease can fill the key.
///
/// The epoch of the function and the history are created if they are missing. While the key is
/// guarded, no lease is granted.
#[derive(Debug)]
pub(crate) struct TakeLease {
    pub(crate) names: RecordNames,
    pub(crate) mode: LeaseMode,
    /// The beginning of the record that the caller has read and could not use, or nothing.
    pub(crate) expected_header: Vec<u8>,
    /// The time after which a placeholder expires.
    pub(crate) life: Duration,
}

/// The outcome of asking for a lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Granted(GrantedLease),
    /// Another caller holds this lease.
    Held(LeaseId),
    /// The record is another than the one that the caller has read.
    Replaced,
    Refused(Refusal),
}

/// A lease that this instance holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrantedLease {
    pub(crate) names: RecordNames,
    /// The CAS number that the item must have for a fill.
    pub(crate) cas: u64,
    /// The stamp that the record must carry.
    pub(crate) stamp: Stamp,
    pub(crate) item: LeasedItem,
}

/// The item whose CAS number is a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeasedItem {
    /// A placeholder that other callers wait for.
    AwaitedPlaceholder,
    /// A placeholder that no caller waits for.
    SharedPlaceholder,
    /// A record that may still be valid, or nothing. It does not end with the lease.
    Other,
}

impl StoreLease for GrantedLease {
    fn is_renewed(&self) -> bool {
        self.item != LeasedItem::Other
    }

    fn is_released(&self) -> bool {
        self.item == LeasedItem::AwaitedPlaceholder
    }
}

/// Identifies a lease that another caller holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseId {
    pub(crate) cas: u64,
    /// If the stamp of the function is another, the lease is void although its item is still there.
    pub(crate) stamp: Stamp,
}

/// The way to get a lease, by the item under the name of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Wait for the lease with this CAS number.
    Wait(u64),
    /// Read the key again: there is another record.
    ReadAgain,
    /// Share the lease with this CAS number.
    Join(u64),
    /// Keep the record with this CAS number, and give it another number.
    Renumber(u64),
    /// Store a placeholder.
    Place(Condition),
}

impl Command for TakeLease {
    const NAME: &'static str = "lease";
    type Reply = Reply;

    async fn run(self, client: &mut Client) -> Result<Reply, Error> {
        // An attempt fails only if another client changed the item in between. It was successful
        // then, so the clients together make progress.
        loop {
            if let Some(reply) = self.attempt(client).await? {
                return Ok(reply);
            }
        }
    }
}

impl TakeLease {
    async fn attempt(&self, client: &mut Client) -> Result<Option<Reply>, Error> {
        let RecordNames {
            record,
            epoch,
            history,
        } = &self.names;
        // The lease is read before the stamp that it is compared with. In the other order, a lease
        // from after an invalidation could be compared with the stamp from before it, and be
        // treated as void.
        let names = [record, history, epoch, &Keys::guards(record)];
        let [item, history_item, epoch_item, guards] =
            get_all(client, names.map(|name| &**name)).await?;
        let stamp = Stamp {
            history: number_or_create(client, history, history_item).await?,
            epoch: number_or_create(client, epoch, epoch_item).await?,
        };
        if guards.is_some_and(|guards| guards.kind == Some(Kind::Guards)) {
            return Ok(Some(Reply::Refused(Refusal::Guard)));
        }
        let granted = |cas, item| GrantedLease {
            names: self.names.clone(),
            cas,
            stamp,
            item,
        };
        if self.mode == LeaseMode::Probe {
            // No item has this CAS number, so the lease fills nothing.
            return Ok(Some(Reply::Granted(granted(0, LeasedItem::Other))));
        }
        let step = self.step(item.as_ref(), stamp);
        let cas = match step {
            Step::Wait(cas) => {
                self.cut_life(client).await?;
                return Ok(Some(Reply::Held(LeaseId { cas, stamp })));
            }
            Step::ReadAgain => return Ok(Some(Reply::Replaced)),
            Step::Join(cas) => Some(cas),
            Step::Renumber(cas) => renumber(client, record, cas).await?,
            Step::Place(condition) => {
                let placeholder = NewItem {
                    kind: self.placeholder_kind(),
                    data: &lease_data(stamp, item.as_ref()),
                    life: self.life,
                };
                set_if(client, record, condition, placeholder).await?
            }
        };
        let Some(cas) = cas else { return Ok(None) };
        let lease = granted(cas, self.leased_item(step));
        // Checked again after the lease was taken: a guard is placed before the leases under it are
        // voided, so a guard that is not seen here finds the lease and voids it.
        if is_guarded(client, record).await? {
            if lease.item != LeasedItem::Other {
                delete_if(client, record, cas).await?;
            }
            return Ok(Some(Reply::Refused(Refusal::Guard)));
        }
        Ok(Some(Reply::Granted(lease)))
    }

    fn step(&self, item: Option<&Item>, stamp: Stamp) -> Step {
        let Some(item) = item else {
            return Step::Place(Condition::Missing);
        };
        let is_other_record =
            |record: &[u8]| record[..record.len().min(HEADER_LEN)] != *self.expected_header;
        match self.mode {
            LeaseMode::Exclusive => match (item.kind, item.record()) {
                // A lease with another stamp is void, and will not be filled.
                (Some(Kind::ExclusiveLease), _) if item.stamp() == Some(stamp) => {
                    Step::Wait(item.cas)
                }
                (_, Some(record)) if is_other_record(record) => Step::ReadAgain,
                _ => Step::Place(Condition::Unchanged(item.cas)),
            },
            LeaseMode::Shared if item.is_lease() => Step::Join(item.cas),
            _ if item.record().is_some() => Step::Renumber(item.cas),
            _ => Step::Place(Condition::Unchanged(item.cas)),
        }
    }

    fn placeholder_kind(&self) -> Kind {
        match self.mode {
            LeaseMode::Shared => Kind::SharedLease,
            _ => Kind::ExclusiveLease,
        }
    }

    fn leased_item(&self, step: Step) -> LeasedItem {
        match (step, self.mode) {
            (Step::Renumber(_), _) => LeasedItem::Other,
            (_, LeaseMode::Shared) => LeasedItem::SharedPlaceholder,
            _ => LeasedItem::AwaitedPlaceholder,
        }
    }

    /// Shortens the life of a lease that lives longer than this instance lets leases live, or that
    /// has no expiry: the clock was set, or another client wrote it. A live holder renews the lease
    /// in time, and callers wait no longer than that for a holder that died.
    async fn cut_life(&self, client: &mut Client) -> Result<(), Error> {
        let longest = i64::try_from(expiry_seconds(self.life)).unwrap_or(i64::MAX);
        let name = &self.names.record;
        let found = client.meta_get(name, false, None, Some(&["t"])).await?;
        let left = found.and_then(|found| found.ttl_remaining);
        if left.is_some_and(|left| left < 0 || left > longest) {
            // A record that replaced the lease in between expires early, which costs one more load.
            touch(client, name, self.life).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::release::ReleaseReason;
    use crate::commands::testing::{MINUTE, TestServer, key};

    fn take(server: &TestServer, mode: LeaseMode) -> TakeLease {
        TakeLease {
            names: server.keys.names(&key("1")),
            mode,
            expected_header: Vec::new(),
            life: MINUTE,
        }
    }

    fn granted(reply: Reply) -> GrantedLease {
        match reply {
            Reply::Granted(lease) => lease,
            other => panic!("the lease was not granted: {other:?}"),
        }
    }

    #[tokio::test]
    async fn exclusive_lease_is_held_until_it_is_released_and_preempt_takes_it_over() {
        let mut server = TestServer::start().await;
        let first = granted(server.send(take(&server, LeaseMode::Exclusive)).await);
        assert!(first.is_renewed() && first.is_released());
        let held = Reply::Held(LeaseId {
            cas: first.cas,
            stamp: first.stamp,
        });
        assert_eq!(server.send(take(&server, LeaseMode::Exclusive)).await, held);
        let second = granted(server.send(take(&server, LeaseMode::Preempt)).await);
        assert_ne!(second.cas, first.cas);
        server.release(&first, ReleaseReason::NotFilled).await;
        assert_eq!(
            server.item(&first.names.record).await.unwrap().cas,
            second.cas
        );
        server.release(&second, ReleaseReason::NotFilled).await;
        granted(server.send(take(&server, LeaseMode::Exclusive)).await);
    }

    #[tokio::test]
    async fn shared_lease_is_granted_to_all_and_replaced_by_an_exclusive_one() {
        let mut server = TestServer::start().await;
        let first = granted(server.send(take(&server, LeaseMode::Shared)).await);
        assert!(first.is_renewed() && !first.is_released());
        let second = granted(server.send(take(&server, LeaseMode::Shared)).await);
        assert_eq!(second.cas, first.cas);
        let exclusive = granted(server.send(take(&server, LeaseMode::Exclusive)).await);
        assert_ne!(exclusive.cas, first.cas);
    }

    #[tokio::test]
    async fn probe_takes_nothing() {
        let mut server = TestServer::start().await;
        let probe = granted(server.send(take(&server, LeaseMode::Probe)).await);
        assert!(!probe.is_renewed() && !probe.is_released());
        assert_eq!(server.item(&probe.names.record).await, None);
    }

    #[tokio::test]
    async fn lease_from_before_an_invalidation_of_its_function_is_replaced() {
        let mut server = TestServer::start().await;
        let void = granted(server.send(take(&server, LeaseMode::Exclusive)).await);
        server.invalidate_function().await;
        let lease = granted(server.send(take(&server, LeaseMode::Exclusive)).await);
        assert_ne!(lease.cas, void.cas);
        assert_ne!(lease.stamp, void.stamp);
    }

    #[tokio::test]
    async fn record_that_was_not_read_is_reported_and_one_that_was_read_is_replaced() {
        let mut server = TestServer::start().await;
        let lease = granted(server.send(take(&server, LeaseMode::Exclusive)).await);
        server.store(lease.clone(), b"record").await;
        let reply = server.send(take(&server, LeaseMode::Exclusive)).await;
        assert_eq!(reply, Reply::Replaced);
        let refresh = granted(server.send(take(&server, LeaseMode::Preempt)).await);
        assert!(!refresh.is_renewed() && !refresh.is_released());
        let item = server.item(&lease.names.record).await.unwrap();
        assert_eq!(item.record(), Some(&b"record"[..]), "the record stays");
        assert_eq!(item.cas, refresh.cas);
        let read = TakeLease {
            expected_header: b"record".to_vec(),
            ..take(&server, LeaseMode::Exclusive)
        };
        granted(server.send(read).await);
        let item = server.item(&lease.names.record).await.unwrap();
        assert_eq!(item.kind, Some(Kind::ExclusiveLease));
    }

    #[tokio::test]
    async fn lease_of_a_guarded_key_is_refused() {
        let mut server = TestServer::start().await;
        server.guard(&key("1"), 7).await;
        for mode in [LeaseMode::Exclusive, LeaseMode::Shared, LeaseMode::Probe] {
            let reply = server.send(take(&server, mode)).await;
            assert_eq!(reply, Reply::Refused(Refusal::Guard), "{mode:?}");
        }
    }
}
