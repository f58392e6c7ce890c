//! Stores a record under the lease of its load.

use std::time::Duration;

use async_memcached::{Client, Error};
use cache_core::tier::{FillResult, Refusal};

use super::command::Command;
use super::granted::GrantedLease;
use super::items::{Condition, NewItem, get_all, set_if};
use crate::item::{Item, Kind, record_data};
use crate::keys::RecordNames;

/// Stores a record if the epoch, the history and the CAS number under its name are still those of
/// the lease.
///
/// The epoch and the history are read before the record is stored. If one of them changes in
/// between, the record is stored with an old stamp, by which it is not valid.
#[derive(Debug)]
pub(crate) struct StoreRecord {
    pub(crate) lease: GrantedLease,
    pub(crate) record: Vec<u8>,
    /// The time after which the record expires.
    pub(crate) life: Duration,
}

impl Command for StoreRecord {
    const NAME: &'static str = "fill";
    type Reply = FillResult;

    async fn run(self, client: &mut Client) -> Result<FillResult, Error> {
        let RecordNames {
            record,
            epoch,
            history,
        } = &self.lease.names;
        let stamp = self.lease.stamp;
        let [epoch, history] = get_all(client, [&**epoch, history]).await?;
        if history.as_ref().and_then(Item::number) != Some(stamp.history) {
            return Ok(FillResult::Refused(Refusal::History));
        }
        if epoch.as_ref().and_then(Item::number) != Some(stamp.epoch) {
            return Ok(FillResult::Refused(Refusal::Function));
        }
        let item = NewItem {
            kind: Kind::Record,
            data: &record_data(&self.record, self.life),
            life: self.life,
        };
        let stored = set_if(client, record, Condition::Unchanged(self.lease.cas), item).await?;
        Ok(match stored {
            Some(_) => FillResult::Stored,
            None => FillResult::Refused(Refusal::Lease),
        })
    }
}

#[cfg(test)]
mod tests {
    use cache_core::tier::kit::OwnedTarget;

    use super::*;
    use crate::commands::testing::{TestServer, key};

    #[tokio::test]
    async fn record_is_stored_under_its_lease_once() {
        let mut server = TestServer::start().await;
        let lease = server.lease(&key("1")).await;
        let name = lease.names.record.clone();
        assert_eq!(
            server.store(lease.clone(), b"one").await,
            FillResult::Stored
        );
        let item = server.item(&name).await.unwrap();
        assert_eq!(item.record(), Some(&b"one"[..]));
        let again = server.store(lease, b"two").await;
        assert_eq!(again, FillResult::Refused(Refusal::Lease));
    }

    #[tokio::test]
    async fn record_is_refused_if_its_key_its_function_or_everything_was_invalidated() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let lease = server.lease(&key).await;
        server.invalidate_key(&key).await;
        let late = server.store(lease, b"late").await;
        assert_eq!(late, FillResult::Refused(Refusal::Lease));

        let lease = server.lease(&key).await;
        server.invalidate_function().await;
        let late = server.store(lease, b"late").await;
        assert_eq!(late, FillResult::Refused(Refusal::Function));

        let lease = server.lease(&key).await;
        server.invalidate(OwnedTarget::All).await;
        let late = server.store(lease.clone(), b"late").await;
        assert_eq!(late, FillResult::Refused(Refusal::History));
        let item = server.item(&lease.names.record).await.unwrap();
        assert_eq!(item.kind, Some(Kind::ExclusiveLease), "nothing was stored");
    }
}
