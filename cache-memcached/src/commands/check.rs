//! Checks whether a lease is still held.

use async_memcached::{Client, Error};

use super::command::Command;
use super::granted::{HeldItem, LeaseId};
use super::items::get_all;
use super::stamp::stamp_of;
use crate::keys::{Keys, RecordNames};

/// Asks for the state of a lease that another caller holds, in one round trip.
#[derive(Debug)]
pub(crate) struct CheckLease {
    pub(crate) names: RecordNames,
    pub(crate) lease: LeaseId,
}

/// The state of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The lease is held, and may be filled.
    Held,
    /// A load of the key has failed since. The holder leaves a trace of it in place of the lease,
    /// and the lease of the next load shows that it took the place of the trace.
    LoadFailed,
    /// The key was filled or invalidated, or the lease was released, replaced, evicted, or expired.
    Ended,
}

impl Command for CheckLease {
    const NAME: &'static str = "wait for a load";
    type Reply = Reply;

    async fn run(self, client: &mut Client) -> Result<Reply, Error> {
        let RecordNames {
            record,
            epoch,
            history,
        } = &self.names;
        let names = [record, &Keys::refresh(record), epoch, history];
        let [item, beside, epoch, history] = get_all(client, names.map(|name| &**name)).await?;
        let (of_lease, cas, is_record_current) = match self.lease.item {
            HeldItem::Placeholder { cas } => (item, cas, true),
            HeldItem::Beside { cas, record } => {
                let is_current = item.is_some_and(|item| item.cas == record);
                (beside, cas, is_current)
            }
        };
        let Some(of_lease) = of_lease else {
            return Ok(Reply::Ended);
        };
        let is_valid = stamp_of(epoch.as_ref(), history.as_ref()) == Some(self.lease.stamp);
        Ok(if of_lease.cas != cas {
            match of_lease.follows_failure() {
                true => Reply::LoadFailed,
                false => Reply::Ended,
            }
        } else if is_valid && is_record_current {
            Reply::Held
        } else {
            Reply::Ended
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::granted::GrantedLease;
    use crate::commands::release::ReleaseReason;
    use crate::commands::testing::{TestServer, key};

    async fn check(server: &mut TestServer, lease: &GrantedLease) -> Reply {
        let check = CheckLease {
            names: lease.names.clone(),
            lease: LeaseId {
                item: HeldItem::Placeholder { cas: lease.cas },
                stamp: lease.stamp,
            },
        };
        server.send(check).await
    }

    #[tokio::test]
    async fn lease_ends_without_a_failure_when_it_is_filled_released_or_invalidated() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let lease = server.lease(&key).await;
        assert_eq!(check(&mut server, &lease).await, Reply::Held);
        server.store(lease.clone(), b"record").await;
        assert_eq!(check(&mut server, &lease).await, Reply::Ended, "filled");

        server.invalidate_key(&key).await;
        let lease = server.lease(&key).await;
        server.release(&lease, ReleaseReason::NotFilled).await;
        assert_eq!(check(&mut server, &lease).await, Reply::Ended, "released");

        let lease = server.lease(&key).await;
        server.invalidate_key(&key).await;
        assert_eq!(
            check(&mut server, &lease).await,
            Reply::Ended,
            "invalidated"
        );

        let lease = server.lease(&key).await;
        server.invalidate_function().await;
        assert_eq!(
            check(&mut server, &lease).await,
            Reply::Ended,
            "its function"
        );
    }

    #[tokio::test]
    async fn failed_load_is_reported_also_after_the_next_load_has_begun() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let failed = server.lease(&key).await;
        server
            .release(&failed, ReleaseReason::LoadFailed(None))
            .await;
        assert_eq!(check(&mut server, &failed).await, Reply::LoadFailed);
        let next = server.lease(&key).await;
        assert_eq!(check(&mut server, &failed).await, Reply::LoadFailed);
        assert_eq!(check(&mut server, &next).await, Reply::Held);
        server.store(next, b"record").await;
        assert_eq!(check(&mut server, &failed).await, Reply::Ended, "filled");
    }
}
