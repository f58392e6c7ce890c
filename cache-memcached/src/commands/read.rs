//! Reads a record.

use async_memcached::{Client, Error};
use cache_core::tier::Stamp;

use super::command::Command;
use super::items::get_all;
use super::stamp::stamp_of;
use crate::keys::RecordNames;

/// Reads the record of a key, and the stamp that a valid one carries, in one round trip.
#[derive(Debug)]
pub(crate) struct ReadRecord {
    pub(crate) names: RecordNames,
}

/// A record, and the stamp that a valid one carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// `None` if there is no record, or if it has expired.
    pub(crate) record: Option<Vec<u8>>,
    /// `None` if the epoch or the history is missing.
    pub(crate) stamp: Option<Stamp>,
}

impl Command for ReadRecord {
    const NAME: &'static str = "read";
    type Reply = Reply;

    async fn run(self, client: &mut Client) -> Result<Reply, Error> {
        // The record is read last, so that a record which is deleted between two of the reads is
        // not returned. If the function is invalidated in between, the stamp is the old one: a
        // record from after the invalidation does not match it, and one that matches was valid when
        // this read began.
        let RecordNames {
            record,
            epoch,
            history,
        } = &self.names;
        let [epoch, history, record] = get_all(client, [epoch, history, record]).await?;
        Ok(Reply {
            record: record.and_then(|item| item.record().map(<[u8]>::to_vec)),
            stamp: stamp_of(epoch.as_ref(), history.as_ref()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{TestServer, key};

    #[tokio::test]
    async fn stamp_of_a_function_without_records_is_unknown() {
        let mut server = TestServer::start().await;
        let names = server.keys.names(&key("1"));
        let reply = server.send(ReadRecord { names }).await;
        let expected = Reply {
            record: None,
            stamp: None,
        };
        assert_eq!(reply, expected);
    }

    #[tokio::test]
    async fn record_is_read_with_the_stamp_that_its_lease_had() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let lease = server.lease(&key).await;
        let names = server.keys.names(&key);
        let read = || ReadRecord {
            names: names.clone(),
        };
        let before = server.send(read()).await;
        assert_eq!((before.record, before.stamp), (None, Some(lease.stamp)));
        server.store(lease.clone(), b"record").await;
        let after = server.send(read()).await;
        assert_eq!(after.record.as_deref(), Some(&b"record"[..]));
        assert_eq!(after.stamp, Some(lease.stamp));
    }
}
