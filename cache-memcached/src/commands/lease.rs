//! Takes a lease, the right to fill one key.

mod step;

use std::time::Duration;

use async_memcached::{Client, Error, MetaProtocol as _};
use cache_core::tier::{LeaseMode, Refusal, Stamp};

use self::step::{Found, Step, Way};
use super::command::Command;
use super::granted::{GrantedLease, HeldItem, LeaseId, LeasedItem};
use super::guard::is_guarded;
use super::items::{NewItem, delete_if, get_all, number_or_create, renumber, set_if, touch};
use crate::item::{Kind, expiry_seconds, lease_data, refresh_data};
use crate::keys::{Keys, RecordNames};

/// Asks for a lease: the CAS number of the item under the name of the record.
///
/// If there is no usable record, a placeholder is stored, whose data is the stamp that the record
/// must carry; it expires after `life` unless it is renewed. If there is a record that may still be
/// valid (it is preempted, or its load is not exclusive), the record stays, and gets another CAS
/// number, so that no earlier lease can fill the key.
///
/// A caller that has a value leaves the record in place as well, because others return it until it
/// is replaced. The lease is the CAS number of the record then, and an item beside the record says
/// that it is held: with that CAS number and the stamp, so that it is void as soon as the record is
/// another. Such a lease does not void earlier ones; the first fill wins. The trace of a failed
/// load is in place of the item of its lease: under the name of the record, or beside it.
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
    /// A load failed, and a caller that has a value does not load for this long.
    BackedOff(Duration),
    Refused(Refusal),
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
        let (refresh, guards) = (Keys::refresh(record), Keys::guards(record));
        let names = [record, &refresh, history, epoch, &guards];
        let [item, beside, history_item, epoch_item, guards] =
            get_all(client, names.map(|name| &**name)).await?;
        let stamp = Stamp {
            history: number_or_create(client, history, history_item).await?,
            epoch: number_or_create(client, epoch, epoch_item).await?,
        };
        if guards.is_some_and(|guards| guards.kind == Some(Kind::Guards)) {
            return Ok(Some(Reply::Refused(Refusal::Guard)));
        }
        let found = Found {
            item,
            beside,
            stamp,
        };
        if self.mode == LeaseMode::Probe {
            // No item has this CAS number, so the lease fills nothing.
            let probe = self.granted(0, LeasedItem::Other, &found);
            return Ok(Some(Reply::Granted(probe)));
        }
        let way = match Step::to_lease(self.mode, &self.expected_header, &found) {
            Step::Take(way) => way,
            Step::Wait(lease) => {
                self.cut_life(client, lease.item).await?;
                return Ok(Some(Reply::Held(lease)));
            }
            Step::ReadAgain => return Ok(Some(Reply::Replaced)),
            Step::BackOff(left) => return Ok(Some(Reply::BackedOff(left))),
        };
        let lease = self.take(client, way, &found).await?;
        let Some(lease) = lease else { return Ok(None) };
        // Checked again after the lease was taken: a guard is placed before the leases under it are
        // voided, so a guard that is not seen here finds the lease and voids it.
        if is_guarded(client, record).await? {
            if lease.item != LeasedItem::Other {
                let (name, cas) = lease.held_item();
                delete_if(client, &name, cas).await?;
            }
            return Ok(Some(Reply::Refused(Refusal::Guard)));
        }
        Ok(Some(Reply::Granted(lease)))
    }

    /// Takes a lease, unless another client has changed the item in between.
    async fn take(
        &self,
        client: &mut Client,
        way: Way,
        found: &Found,
    ) -> Result<Option<GrantedLease>, Error> {
        let record = &self.names.record;
        let (cas, item) = match way {
            Way::Join(cas) => (Some(cas), LeasedItem::SharedPlaceholder),
            Way::Renumber(cas) => {
                let cas = renumber(client, record, cas).await?;
                (cas, LeasedItem::Other)
            }
            Way::Place(condition) => {
                let (kind, item) = match self.mode {
                    LeaseMode::Shared => (Kind::SharedLease, LeasedItem::SharedPlaceholder),
                    _ => (Kind::ExclusiveLease, LeasedItem::AwaitedPlaceholder),
                };
                let data = lease_data(found.stamp, found.item.as_ref());
                let placeholder = self.new_item(kind, &data);
                let cas = set_if(client, record, condition, placeholder).await?;
                (cas, item)
            }
            Way::PlaceBeside {
                of_record,
                condition,
            } => {
                let data = refresh_data(of_record, found.stamp);
                let item = self.new_item(Kind::RefreshLease, &data);
                let name = Keys::refresh(record);
                let Some(cas) = set_if(client, &name, condition, item).await? else {
                    return Ok(None);
                };
                (Some(of_record), LeasedItem::BesideRecord { cas })
            }
        };
        Ok(cas.map(|cas| self.granted(cas, item, found)))
    }

    fn granted(&self, cas: u64, item: LeasedItem, found: &Found) -> GrantedLease {
        GrantedLease {
            names: self.names.clone(),
            cas,
            stamp: found.stamp,
            item,
            failures: found.back_off().map_or(0, |back_off| back_off.failures),
        }
    }

    fn new_item<'a>(&self, kind: Kind, data: &'a [u8]) -> NewItem<'a> {
        NewItem {
            kind,
            data,
            life: self.life,
        }
    }

    /// Shortens the life of a lease that lives longer than this instance lets leases live, or that
    /// has no expiry: the clock was set, or another client wrote it. A live holder renews the lease
    /// in time, and callers wait no longer than that for a holder that died.
    async fn cut_life(&self, client: &mut Client, held: HeldItem) -> Result<(), Error> {
        let longest = i64::try_from(expiry_seconds(self.life)).unwrap_or(i64::MAX);
        let name = match held {
            HeldItem::Placeholder { .. } => &self.names.record,
            HeldItem::Beside { .. } => &Keys::refresh(&self.names.record),
        };
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
    use cache_core::tier::kit::StoreLease as _;

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
            item: HeldItem::Placeholder { cas: first.cas },
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
