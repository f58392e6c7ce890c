//! One item at a time, and how the server says no.

use std::time::Duration;

use async_memcached::{Client, Error, MetaProtocol as _, MetaValue, Status};

use crate::item::{CONTROL, Item, seconds};

/// What records carry never ends by itself: all of them would with it.
pub(super) const CONTROL_LIFE: Duration = Duration::MAX;

/// The number that stands under a name, made where there is none; `held` was found there.
pub(super) async fn number_or_begin(
    client: &mut Client,
    name: &str,
    mut held: Option<Item>,
) -> Result<u64, Error> {
    loop {
        if let Some(number) = held.as_ref().and_then(Item::number) {
            return Ok(number);
        }
        let fresh = fresh();
        let cas = held.map(|item| item.cas);
        let data = fresh.to_le_bytes();
        if place(client, name, cas, CONTROL, &data, CONTROL_LIFE)
            .await?
            .is_some()
        {
            return Ok(fresh);
        }
        held = get(client, name).await?;
    }
}

/// Another number, whatever stands there.
pub(super) async fn renew(client: &mut Client, name: &str) -> Result<(), Error> {
    let fresh = fresh().to_le_bytes();
    place_anyway(client, name, CONTROL, &fresh, CONTROL_LIFE).await
}

pub(super) async fn place_anyway(
    client: &mut Client,
    name: &str,
    flags: u32,
    data: &[u8],
    life: Duration,
) -> Result<(), Error> {
    let (flags, time) = (format!("F{flags}"), format!("T{}", seconds(life)));
    client
        .meta_set(name, data, false, None, Some(&[&flags, &time]))
        .await?;
    Ok(())
}

/// Random, never counted: one that was evicted must not come back.
pub(super) fn fresh() -> u64 {
    fastrand::u64(1..)
}

/// What stands under names, in one round trip, read in this order.
pub(super) async fn get_all<const N: usize>(
    client: &mut Client,
    names: [&str; N],
) -> Result<[Option<Item>; N], Error> {
    let found = client
        .meta_get_multi(&names, Some(&["c", "f", "v"]))
        .await?;
    Ok(names.map(|name| {
        let is_it = |value: &&MetaValue| value.key.as_deref() == Some(name.as_bytes());
        found.iter().find(is_it).and_then(item_of)
    }))
}

pub(super) async fn get(client: &mut Client, name: &str) -> Result<Option<Item>, Error> {
    let found = client
        .meta_get(name, false, None, Some(&["c", "f", "v"]))
        .await?;
    Ok(found.as_ref().and_then(item_of))
}

pub(super) fn item_of(value: &MetaValue) -> Option<Item> {
    Some(Item {
        cas: value.cas?,
        flags: value.flags.unwrap_or(0),
        data: value.data.clone().unwrap_or_default(),
    })
}

/// Stores something where nothing stands, or what has that number; `None` where it is not so. With its new number.
pub(super) async fn place(
    client: &mut Client,
    name: &str,
    cas: Option<u64>,
    flags: u32,
    data: &[u8],
    life: Duration,
) -> Result<Option<u64>, Error> {
    let condition = cas.map_or_else(|| "ME".to_owned(), |cas| format!("C{cas}"));
    let (flags, time) = (format!("F{flags}"), format!("T{}", seconds(life)));
    let stored = client
        .meta_set(
            name,
            data,
            false,
            None,
            Some(&["c", &condition, &flags, &time]),
        )
        .await;
    number_of(stored)
}

/// Another number for what has this one: nothing is added to it.
pub(super) async fn renumber(
    client: &mut Client,
    name: &str,
    cas: u64,
) -> Result<Option<u64>, Error> {
    let condition = format!("C{cas}");
    let nothing: &[u8] = &[];
    let stored = client
        .meta_set(name, nothing, false, None, Some(&["c", "MA", &condition]))
        .await;
    number_of(stored)
}

pub(super) fn number_of(stored: Result<Option<MetaValue>, Error>) -> Result<Option<u64>, Error> {
    match stored {
        Ok(value) => Ok(value.and_then(|value| value.cas).filter(|cas| *cas > 0)),
        Err(error) if is_missed(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes what stands there, if it has that number.
pub(crate) async fn delete(client: &mut Client, name: &str, cas: Option<u64>) -> Result<(), Error> {
    let condition = cas.map(|cas| format!("C{cas}"));
    let flags: Vec<&str> = condition.iter().map(String::as_str).collect();
    match client.meta_delete(name, false, None, Some(&flags)).await {
        Err(error) if !is_missed(&error) => Err(error),
        _ => Ok(()),
    }
}

/// The same; `false` where it was another.
pub(super) async fn delete_if(client: &mut Client, name: &str, cas: u64) -> Result<bool, Error> {
    let condition = format!("C{cas}");
    match client
        .meta_delete(name, false, None, Some(&[&condition]))
        .await
    {
        Ok(_) | Err(Error::Protocol(Status::NotFound)) => Ok(true),
        Err(error) if is_missed(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an error says that something else stands there than what was named, or nothing.
pub(super) fn is_missed(error: &Error) -> bool {
    matches!(
        error,
        Error::Protocol(Status::Exists | Status::NotFound | Status::NotStored)
    )
}

/// Whether the server said no, to what it had understood: the connection is as it was.
pub(crate) fn is_refusal(error: &Error) -> bool {
    is_missed(error) || matches!(error, Error::Protocol(Status::Error(_)))
}
