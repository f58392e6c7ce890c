//! What is done on one connection, in steps that hold whatever others do between them.

mod items;
mod log;

use std::time::Duration;

use async_memcached::{Client, Error, MetaProtocol as _};
use cache_core::tier::{FillResult, HEADER_LEN, LeaseMode, Refusal, Stamp};

pub(crate) use self::items::{delete, is_refusal};
use self::items::{delete_if, get, get_all, number_or_begin, place, renumber};
pub(crate) use self::log::{Message, hear, invalidate};
use crate::item::{GUARDS, Item, ONLY, RECORD, SHARED, seconds, with_expiry, with_stamp};
use crate::keys::Keys;

/// A lease that stands under a key: its number, and what a record must carry that is filled under it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    cas: u64,
    stamp: Stamp,
}

/// What became of an attempt to take a lease.
#[derive(Debug)]
pub(crate) enum Taken {
    /// With the number that the fill must find, and whether a placeholder stands there that lives for a lease time.
    Given {
        cas: u64,
        stamp: Stamp,
        is_placeholder: bool,
    },
    /// Another loads; this stands there.
    Busy(Standing),
    /// Somebody has filled the key.
    Filled,
    Refused(Refusal),
}

/// Which process of the server this is: the number that the first who asked has left in its memory, where no other has it. (What
/// it says of itself is the same for all that are started from one image.) `None` where it does not number what it has, and so
/// knows no leases.
pub(crate) async fn identity(client: &mut Client, keys: &Keys) -> Result<Option<u64>, Error> {
    let name = keys.process();
    let held = get(client, &name).await?;
    let number = number_or_begin(client, &name, held).await?;
    let is_numbered = get(client, &name).await?.is_none_or(|item| item.cas > 0);
    Ok(is_numbered.then_some(number))
}

/// A record of a key, and what a valid one carries: one round trip.
pub(crate) async fn read(
    client: &mut Client,
    record: &str,
    epoch: &str,
    history: &str,
) -> Result<(Option<Vec<u8>>, Option<Stamp>), Error> {
    // The record last: what is invalidated between two of them is not valid any more by what was read before.
    let [epoch, history, record] = get_all(client, [epoch, history, record]).await?;
    let stamp = stamp_of(epoch, history);
    let record = record.and_then(|item| item.record().map(<[u8]>::to_vec));
    Ok((record, stamp))
}

/// Takes a lease.
pub(crate) async fn lease(
    client: &mut Client,
    names: &Names,
    claim: LeaseMode,
    seen: &[u8],
    life: Duration,
) -> Result<Taken, Error> {
    let guards = Keys::guards(&names.record);
    // What stands there before what it is judged by: a lease is not taken for one that was voided because this call is behind.
    let wanted = [&*names.record, &*names.history, &*names.epoch, &*guards];
    // Each turn found something else there than the one before.
    loop {
        let [held, history, epoch, guards] = get_all(client, wanted).await?;
        let stamp = Stamp {
            history: number_or_begin(client, &names.history, history).await?,
            epoch: number_or_begin(client, &names.epoch, epoch).await?,
        };
        if guards.is_some_and(|guards| guards.flags == GUARDS) {
            return Ok(Taken::Refused(Refusal::Guard));
        }
        if claim == LeaseMode::Probe {
            // Nothing has this number.
            return Ok(Taken::Given {
                cas: 0,
                stamp,
                is_placeholder: false,
            });
        }
        let kind = if claim == LeaseMode::Shared {
            SHARED
        } else {
            ONLY
        };
        let mine = with_stamp(fastrand::u64(..), stamp);
        let placed = match (&held, claim) {
            (None, _) => place(client, &names.record, None, kind, &mine, life).await?,
            // One from before its function was invalidated will not be filled.
            (Some(item), LeaseMode::Exclusive)
                if item.flags == ONLY && item.stamp() == Some(stamp) =>
            {
                let cas = item.cas;
                cut_life(client, &names.record, life).await?;
                return Ok(Taken::Busy(Standing { cas, stamp }));
            }
            (Some(item), LeaseMode::Exclusive) => {
                if let Some(record) = item.record()
                    && record[..record.len().min(HEADER_LEN)] != *seen
                {
                    return Ok(Taken::Filled);
                }
                place(client, &names.record, Some(item.cas), kind, &mine, life).await?
            }
            (Some(item), LeaseMode::Shared) if matches!(item.flags, ONLY | SHARED) => {
                Some(item.cas)
            }
            // A record that may be good still is left where it is: it has another number from now on.
            (Some(item), _) if item.record().is_some() => {
                renumber(client, &names.record, item.cas).await?
            }
            (Some(item), _) => {
                place(client, &names.record, Some(item.cas), kind, &mine, life).await?
            }
        };
        let Some(cas) = placed else { continue };
        let is_placeholder =
            held.is_none_or(|item| item.record().is_none()) || claim == LeaseMode::Exclusive;
        // After it was taken: a guard is there before it deletes what it finds.
        if is_guarded(client, &names.record).await? {
            if is_placeholder {
                delete(client, &names.record, Some(cas)).await?;
            }
            return Ok(Taken::Refused(Refusal::Guard));
        }
        return Ok(Taken::Given {
            cas,
            stamp,
            is_placeholder,
        });
    }
}

/// Stores a record where the number is still that of the lease.
pub(crate) async fn fill(
    client: &mut Client,
    names: &Names,
    cas: u64,
    leased: Stamp,
    bytes: &[u8],
    life: Duration,
) -> Result<FillResult, Error> {
    let [epoch, history] = get_all(client, [&*names.epoch, &*names.history]).await?;
    // One that changes after this leaves a record that is not valid by it.
    if history.as_ref().and_then(Item::number) != Some(leased.history) {
        return Ok(FillResult::Refused(Refusal::History));
    }
    if epoch.as_ref().and_then(Item::number) != Some(leased.epoch) {
        return Ok(FillResult::Refused(Refusal::Function));
    }
    let data = with_expiry(bytes, life);
    let stored = place(client, &names.record, Some(cas), RECORD, &data, life).await?;
    Ok(match stored {
        Some(_) => FillResult::Stored,
        None => FillResult::Refused(Refusal::Lease),
    })
}

/// Whether a lease still stands there, and what it brings may count.
pub(crate) async fn stands(
    client: &mut Client,
    names: &Names,
    standing: Standing,
) -> Result<bool, Error> {
    let wanted = [&*names.record, &*names.epoch, &*names.history];
    let [held, epoch, history] = get_all(client, wanted).await?;
    let is_there = held.is_some_and(|item| item.cas == standing.cas);
    Ok(is_there && stamp_of(epoch, history) == Some(standing.stamp))
}

/// What a valid record carries; `None` where that is not there.
fn stamp_of(epoch: Option<Item>, history: Option<Item>) -> Option<Stamp> {
    let number = |item: Option<Item>| item.as_ref().and_then(Item::number);
    let (epoch, history) = number(epoch).zip(number(history))?;
    Some(Stamp { epoch, history })
}

/// Lets a lease live on, where it is still there.
pub(crate) async fn keep_lease(
    client: &mut Client,
    record: &str,
    cas: u64,
    life: Duration,
) -> Result<(), Error> {
    if get(client, record)
        .await?
        .is_some_and(|item| item.cas == cas)
    {
        let time = format!("T{}", seconds(life));
        // A record that took its place between the two is kept for as long, and missed after that: what it is good for is not
        // decided by that.
        client.meta_get(record, false, None, Some(&[&time])).await?;
    }
    Ok(())
}

/// Cuts the life of a lease that lives longer than this cache lets leases live, or has no expiry:
/// a live holder renews it, and nobody waits longer for a dead one.
async fn cut_life(client: &mut Client, record: &str, life: Duration) -> Result<(), Error> {
    let longest = i64::try_from(seconds(life)).unwrap_or(i64::MAX);
    let found = client.meta_get(record, false, None, Some(&["t"])).await?;
    let left = found.and_then(|found| found.ttl_remaining);
    if left.is_some_and(|left| left < 0 || left > longest) {
        let time = format!("T{longest}");
        // A record that replaced the lease in between expires early, which costs one more load.
        client.meta_get(record, false, None, Some(&[&time])).await?;
    }
    Ok(())
}

/// Puts a guard with that number in place, or lets it live on; `true` when it was not there.
pub(crate) async fn guard(
    client: &mut Client,
    record: &str,
    number: u64,
    life: Duration,
) -> Result<bool, Error> {
    change_guards(client, record, life, |guards| {
        let is_new = !guards.contains(&number);
        if is_new {
            guards.push(number);
        }
        is_new
    })
    .await
}

/// Ends a guard.
pub(crate) async fn unguard(
    client: &mut Client,
    record: &str,
    number: u64,
    life: Duration,
) -> Result<(), Error> {
    change_guards(client, record, life, |guards| {
        guards.retain(|guard| *guard != number);
    })
    .await
}

async fn change_guards<T>(
    client: &mut Client,
    record: &str,
    life: Duration,
    change: impl Fn(&mut Vec<u64>) -> T,
) -> Result<T, Error> {
    let name = Keys::guards(record);
    loop {
        let held = get(client, &name).await?;
        let mut guards: Vec<u64> = match &held {
            Some(item) if item.flags == GUARDS => {
                let (numbers, _) = item.data.as_chunks::<8>();
                numbers.iter().copied().map(u64::from_le_bytes).collect()
            }
            _ => Vec::new(),
        };
        let changed = change(&mut guards);
        let cas = held.map(|item| item.cas);
        if guards.is_empty() {
            match cas {
                // It may have been another by then: the guards are read anew.
                Some(cas) if !delete_if(client, &name, cas).await? => continue,
                _ => return Ok(changed),
            }
        }
        let data: Vec<u8> = guards
            .iter()
            .flat_map(|guard| guard.to_le_bytes())
            .collect();
        if place(client, &name, cas, GUARDS, &data, life)
            .await?
            .is_some()
        {
            return Ok(changed);
        }
    }
}

async fn is_guarded(client: &mut Client, record: &str) -> Result<bool, Error> {
    let guards = get(client, &Keys::guards(record)).await?;
    Ok(guards.is_some_and(|item| item.flags == GUARDS))
}

/// The names that a lease needs.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) record: String,
    pub(crate) epoch: String,
    pub(crate) history: String,
}
