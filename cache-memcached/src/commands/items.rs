//! Reading and writing one item.

use std::time::Duration;

use async_memcached::{Client, Error, MetaProtocol as _, MetaValue, Status};

use crate::error::is_condition_failure;
use crate::item::{Item, Kind, expiry_seconds};

/// The flags of a read: the CAS number, the flags and the data of the item.
pub(super) const WHOLE_ITEM: &[&str] = &["c", "f", "v"];

/// The life of epochs and histories: for ever. All records that carry one would end with it.
pub(super) const CONTROL_LIFE: Duration = Duration::MAX;

/// An item to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewItem<'a> {
    pub(super) kind: Kind,
    pub(super) data: &'a [u8],
    /// The time for which the server keeps it, at least.
    pub(super) life: Duration,
}

impl NewItem<'_> {
    fn flag(&self) -> String {
        format!("F{}", self.kind.flags())
    }

    fn expiry(&self) -> String {
        format!("T{}", expiry_seconds(self.life))
    }
}

/// The condition of a write: the item that must be under the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// No item.
    Missing,
    /// The item with this CAS number.
    Unchanged(u64),
}

impl Condition {
    /// Requires that the item that was read, or its absence, is unchanged.
    pub(super) fn as_read(item: Option<&Item>) -> Self {
        item.map_or(Self::Missing, |item| Self::Unchanged(item.cas))
    }

    fn flag(self) -> String {
        match self {
            Self::Missing => "ME".to_owned(),
            Self::Unchanged(cas) => format!("C{cas}"),
        }
    }
}

/// Reads an item.
pub(super) async fn get(client: &mut Client, name: &str) -> Result<Option<Item>, Error> {
    let found = client.meta_get(name, false, None, Some(WHOLE_ITEM)).await?;
    Ok(found.as_ref().and_then(item_of))
}

/// Reads several items in one round trip, in the order of the names.
pub(super) async fn get_all<const N: usize>(
    client: &mut Client,
    names: [&str; N],
) -> Result<[Option<Item>; N], Error> {
    let found = client.meta_get_multi(&names, Some(WHOLE_ITEM)).await?;
    Ok(names.map(|name| {
        let has_name = |value: &&MetaValue| value.key.as_deref() == Some(name.as_bytes());
        found.iter().find(has_name).and_then(item_of)
    }))
}

/// Returns the item of a reply. A server that was started with `-C` sends no CAS number.
pub(super) fn item_of(value: &MetaValue) -> Option<Item> {
    Some(Item {
        cas: value.cas?,
        kind: value.flags.and_then(Kind::of_flags),
        data: value.data.clone().unwrap_or_default(),
    })
}

/// Writes an item, whatever is under its name.
pub(super) async fn set(client: &mut Client, name: &str, item: NewItem<'_>) -> Result<(), Error> {
    client
        .meta_set(
            name,
            item.data,
            false,
            None,
            Some(&[&item.flag(), &item.expiry()]),
        )
        .await?;
    Ok(())
}

/// Writes an item on a condition. Returns its CAS number, or `None` if the condition does not hold.
pub(super) async fn set_if(
    client: &mut Client,
    name: &str,
    condition: Condition,
    item: NewItem<'_>,
) -> Result<Option<u64>, Error> {
    let flags = ["c", &condition.flag(), &item.flag(), &item.expiry()];
    let stored = client
        .meta_set(name, item.data, false, None, Some(&flags))
        .await;
    cas_of(stored)
}

/// Gives an unchanged item another CAS number, by appending nothing to it. Returns the number, or
/// `None` if the item is another, or missing.
pub(super) async fn renumber(
    client: &mut Client,
    name: &str,
    cas: u64,
) -> Result<Option<u64>, Error> {
    let condition = Condition::Unchanged(cas).flag();
    let nothing: &[u8] = &[];
    let stored = client
        .meta_set(name, nothing, false, None, Some(&["c", "MA", &condition]))
        .await;
    cas_of(stored)
}

fn cas_of(stored: Result<Option<MetaValue>, Error>) -> Result<Option<u64>, Error> {
    match stored {
        Ok(value) => Ok(value.and_then(|value| value.cas).filter(|cas| *cas > 0)),
        Err(error) if is_condition_failure(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the server keep an item for this long from now, whatever it is.
pub(super) async fn touch(client: &mut Client, name: &str, life: Duration) -> Result<(), Error> {
    let expiry = format!("T{}", expiry_seconds(life));
    client.meta_get(name, false, None, Some(&[&expiry])).await?;
    Ok(())
}

/// Deletes whatever is under a name.
pub(super) async fn delete(client: &mut Client, name: &str) -> Result<(), Error> {
    match client.meta_delete(name, false, None, None).await {
        Err(error) if !is_condition_failure(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Deletes the item with this CAS number. Returns `false` if there is another item.
pub(super) async fn delete_if(client: &mut Client, name: &str, cas: u64) -> Result<bool, Error> {
    let condition = Condition::Unchanged(cas).flag();
    let flags: &[&str] = &[&condition];
    let deleted = client.meta_delete(name, false, None, Some(flags));
    match deleted.await {
        Ok(_) | Err(Error::Protocol(Status::NotFound)) => Ok(true),
        Err(error) if is_condition_failure(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the number of a control item, and creates the item if there is none. `item` is what was
/// read under the name.
pub(super) async fn number_or_create(
    client: &mut Client,
    name: &str,
    mut item: Option<Item>,
) -> Result<u64, Error> {
    loop {
        if let Some(number) = item.as_ref().and_then(Item::number) {
            return Ok(number);
        }
        let number = fresh_number();
        let condition = Condition::as_read(item.as_ref());
        let data = number.to_le_bytes();
        let created = set_if(client, name, condition, control(&data, CONTROL_LIFE)).await?;
        if created.is_some() {
            return Ok(number);
        }
        // Another client created it, or changed it, in between.
        item = get(client, name).await?;
    }
}

/// Gives a control item another number, whatever it had.
pub(super) async fn replace_number(client: &mut Client, name: &str) -> Result<(), Error> {
    let data = fresh_number().to_le_bytes();
    set(client, name, control(&data, CONTROL_LIFE)).await
}

/// A control item with this data.
pub(super) fn control(data: &[u8], life: Duration) -> NewItem<'_> {
    NewItem {
        kind: Kind::Control,
        data,
        life,
    }
}

/// Returns a random number. Numbers are not counted, because a counter that was evicted would begin
/// again with numbers that were used before.
fn fresh_number() -> u64 {
    fastrand::u64(1..)
}
