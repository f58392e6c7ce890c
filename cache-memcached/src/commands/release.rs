//! Releases a lease whose load stored nothing.

use std::time::Duration;

use async_memcached::{Client, Error};

use super::command::Command;
use super::items::{Condition, NewItem, delete_if, set_if};
use crate::item::Kind;

/// The life of the trace of a failed load: many times the period in which waiters look at the
/// lease.
const TRACE_LIFE: Duration = Duration::from_secs(1);

/// Releases a lease if it is still held.
///
/// If its load failed, a trace takes the place of the lease. Without it, waiters could not tell a
/// failed load from one that was dropped or invalidated. The trace does not keep a caller from
/// taking a lease.
#[derive(Debug)]
pub(crate) struct Release {
    /// The name of the record that the lease may fill.
    pub(crate) record: String,
    pub(crate) cas: u64,
    pub(crate) reason: Reason,
}

/// Why a lease is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nothing is to be stored. A waiter loads.
    NotFilled,
    /// The load failed. Waiters on other instances do not wait for another one.
    LoadFailed,
}

impl Command for Release {
    const NAME: &'static str = "release";
    type Reply = ();

    async fn run(self, client: &mut Client) -> Result<(), Error> {
        match self.reason {
            Reason::NotFilled => {
                delete_if(client, &self.record, self.cas).await?;
            }
            Reason::LoadFailed => {
                let trace = NewItem {
                    kind: Kind::FailedLoad,
                    data: &[],
                    life: TRACE_LIFE,
                };
                let condition = Condition::Unchanged(self.cas);
                set_if(client, &self.record, condition, trace).await?;
            }
        }
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
        server.release(&lease, Reason::NotFilled).await;
        assert_eq!(server.item(name).await, None);

        let other = server.lease(&key).await;
        for reason in [Reason::NotFilled, Reason::LoadFailed] {
            server.release(&lease, reason).await;
            let item = server.item(name).await.unwrap();
            assert_eq!(item.cas, other.cas, "the lease of another load stays");
        }
        server.release(&other, Reason::LoadFailed).await;
        let trace = server.item(name).await.unwrap();
        assert_eq!(trace.kind, Some(Kind::FailedLoad));
        assert_eq!(trace.record(), None);
    }
}
