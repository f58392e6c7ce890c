//! Guards a key, so that no caller can fill it.

use std::time::Duration;

use async_memcached::{Client, Error};
use cache_core::tier::RecordKey;
use cache_core::tier::kit::{OwnedTarget, Placement};

use super::command::Command;
use super::invalidate::Invalidate;
use super::items::{Condition, NewItem, delete_if, get, set_if};
use super::log::Effect;
use crate::item::{Item, Kind};
use crate::keys::Keys;

/// Places a guard on a key, or renews it. A new guard invalidates the key, after it was placed:
/// what was leased or stored before is void, and nothing is leased after.
///
/// The guards of a key are one item with the number of each. All of them expire together, `life`
/// after the last placement or renewal of any.
#[derive(Debug)]
pub(crate) struct PlaceGuard {
    pub(crate) keys: Keys,
    pub(crate) key: RecordKey,
    /// Tells the guards of a key apart.
    pub(crate) number: u64,
    pub(crate) life: Duration,
}

impl Command for PlaceGuard {
    const NAME: &'static str = "guard";
    type Reply = Placement;

    async fn run(self, client: &mut Client) -> Result<Placement, Error> {
        let guards = GuardsOfKey::new(self.keys.record(&self.key), self.life);
        let placement = guards
            .change(client, |numbers| {
                if numbers.contains(&self.number) {
                    return Placement::Renewed;
                }
                numbers.push(self.number);
                Placement::New
            })
            .await?;
        if placement == Placement::New {
            let target = OwnedTarget::Key(self.key);
            let keys = self.keys;
            let effect = Effect::Invalidated;
            let invalidate = Invalidate {
                keys,
                target,
                effect,
            };
            invalidate.run(client).await?;
        }
        Ok(placement)
    }
}

/// Ends a guard.
#[derive(Debug)]
pub(crate) struct EndGuard {
    /// The name of the record of the guarded key.
    pub(crate) record: String,
    pub(crate) number: u64,
    /// The life of the other guards of the key from now on.
    pub(crate) life: Duration,
}

impl Command for EndGuard {
    const NAME: &'static str = "end a guard";
    type Reply = ();

    async fn run(self, client: &mut Client) -> Result<(), Error> {
        let guards = GuardsOfKey::new(self.record, self.life);
        let end = |numbers: &mut Vec<u64>| numbers.retain(|number| *number != self.number);
        guards.change(client, end).await
    }
}

/// Returns `true` if the key whose record has this name is guarded.
pub(super) async fn is_guarded(client: &mut Client, record: &str) -> Result<bool, Error> {
    let guards = get(client, &Keys::guards(record)).await?;
    Ok(guards.is_some_and(|item| item.kind == Some(Kind::Guards)))
}

/// The item with the guards of one key.
struct GuardsOfKey {
    name: String,
    life: Duration,
}

impl GuardsOfKey {
    fn new(record: String, life: Duration) -> Self {
        let name = Keys::guards(&record);
        Self { name, life }
    }

    /// Changes the numbers, and returns the result of the change. The change runs again if another
    /// client changed the item in between.
    async fn change<T>(
        &self,
        client: &mut Client,
        change: impl Fn(&mut Vec<u64>) -> T,
    ) -> Result<T, Error> {
        loop {
            let item = get(client, &self.name).await?;
            let mut numbers = item.as_ref().map_or_else(Vec::new, numbers_of);
            let result = change(&mut numbers);
            let is_done = match &item {
                _ if !numbers.is_empty() => {
                    let data: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
                    let guards = NewItem {
                        kind: Kind::Guards,
                        data: &data,
                        life: self.life,
                    };
                    let condition = Condition::as_read(item.as_ref());
                    let stored = set_if(client, &self.name, condition, guards).await?;
                    stored.is_some()
                }
                Some(item) => delete_if(client, &self.name, item.cas).await?,
                None => true,
            };
            if is_done {
                return Ok(result);
            }
        }
    }
}

/// Returns the numbers of the guards in an item. A foreign item has none.
fn numbers_of(item: &Item) -> Vec<u64> {
    if item.kind != Some(Kind::Guards) {
        return Vec::new();
    }
    let (numbers, _) = item.data.as_chunks::<8>();
    numbers.iter().copied().map(u64::from_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{MINUTE, TestServer, key};

    #[tokio::test]
    async fn key_is_guarded_until_its_last_guard_ends() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let record = server.keys.record(&key);
        assert_eq!(server.guard(&key, 7).await, Placement::New);
        assert_eq!(server.guard(&key, 7).await, Placement::Renewed);
        assert_eq!(server.guard(&key, 8).await, Placement::New);
        for (number, is_last) in [(7, false), (9, false), (8, true)] {
            let record = record.clone();
            let end = EndGuard {
                record,
                number,
                life: MINUTE,
            };
            server.send(end).await;
            let guards = server.item(&Keys::guards(&server.keys.record(&key))).await;
            assert_eq!(guards.is_none(), is_last, "after the end of {number}");
        }
    }

    #[tokio::test]
    async fn new_guard_voids_record_and_leases_and_a_renewed_one_does_not() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let record = server.keys.record(&key);
        server.lease(&key).await;
        server.guard(&key, 7).await;
        assert_eq!(server.item(&record).await, None);
        let last = server.last_message().await;
        server.guard(&key, 7).await;
        let messages = server.messages_since(last).await;
        assert_eq!(messages, Some(Vec::new()), "nothing is invalidated");
    }

    #[tokio::test]
    async fn foreign_item_is_replaced_by_the_guards() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let name = Keys::guards(&server.keys.record(&key));
        server.set_foreign(&name, "abc").await;
        assert_eq!(server.guard(&key, 7).await, Placement::New);
        let item = server.item(&name).await.unwrap();
        assert_eq!(item.data, 7_u64.to_le_bytes());
    }
}
