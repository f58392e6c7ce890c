//! Releases a lease whose load stored nothing.

use std::time::Duration;

use async_memcached::{Client, Error};
use cache_core::tier::BackOff;
pub(crate) use cache_core::tier::kit::ReleaseReason;

use super::command::Command;
use super::granted::{GrantedLease, LeasedItem};
use super::items::{Condition, NewItem, delete_if, set_if};
use crate::item::{Kind, back_off_data};

/// The life of the trace of a failed load: many times the period in which waiters look at the
/// lease.
const TRACE_LIFE: Duration = Duration::from_secs(1);

/// Releases a lease if it is still held.
///
/// If its load failed, a trace takes the place of the lease. Without it, waiters could not tell a
/// failed load from one that was dropped or invalidated. The trace does not keep a caller from
/// taking a lease, unless it has a back-off and the caller has a value.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) lease: GrantedLease,
    pub(crate) reason: ReleaseReason,
}

impl Command for Release {
    const NAME: &'static str = "release";
    type Reply = ();

    async fn run(self, client: &mut Client) -> Result<(), Error> {
        let (name, cas) = self.lease.held_item();
        let ReleaseReason::LoadFailed(back_off) = self.reason else {
            delete_if(client, &name, cas).await?;
            return Ok(());
        };
        let (data, life) = match back_off {
            None => (Vec::new(), TRACE_LIFE),
            Some(back_off) => {
                let record = match self.lease.item {
                    LeasedItem::BesideRecord { .. } => self.lease.cas,
                    _ => 0,
                };
                let lasts = back_off.lasts.min(BackOff::LONGEST);
                let data = back_off_data(record, self.lease.stamp, back_off);
                (data, lasts + BackOff::REMEMBERED)
            }
        };
        let trace = NewItem {
            kind: Kind::FailedLoad,
            data: &data,
            life,
        };
        set_if(client, &name, Condition::Unchanged(cas), trace).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{TestServer, key};

    #[tokio::test]
    async fn lease_is_released_by_its_number_and_a_failed_load_leaves_a_trace() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let lease = server.lease(&key).await;
        let name = &lease.names.record;
        server.release(&lease, ReleaseReason::NotFilled).await;
        assert_eq!(server.item(name).await, None);

        let other = server.lease(&key).await;
        for reason in [ReleaseReason::NotFilled, ReleaseReason::LoadFailed(None)] {
            server.release(&lease, reason).await;
            let item = server.item(name).await.unwrap();
            assert_eq!(item.cas, other.cas, "the lease of another load stays");
        }
        server
            .release(&other, ReleaseReason::LoadFailed(None))
            .await;
        let trace = server.item(name).await.unwrap();
        assert_eq!(trace.kind, Some(Kind::FailedLoad));
        assert_eq!(trace.record(), None);
    }
}
