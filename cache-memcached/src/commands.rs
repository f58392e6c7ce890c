//! What is done on one connection, in steps that hold whatever others do between them.

use std::time::Duration;

use async_memcached::{Client, Error, MetaProtocol as _, MetaValue, Status};
use cache_core::tier::{Claim, Fill, Refusal, SEEN, Stamp, Target};

use crate::item::{CONTROL, GUARDS, Item, ONLY, RECORD, SHARED, seconds, with_expiry, with_stamp};
use crate::keys::Keys;

/// What records carry never ends by itself: all of them would with it.
const CONTROL_LIFE: Duration = Duration::MAX;

/// How long a message stays: many times what an instance may take until it asks; then it takes everything for invalidated.
const MESSAGE_LIFE: Duration = Duration::from_secs(120);

/// More messages than that are not read one by one.
const MOST_MESSAGES: u64 = 512;

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

/// What an instance hears when it asks what was invalidated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The number of the last one.
    pub(crate) last: u64,
    /// `None`: it is not known what.
    pub(crate) messages: Option<Vec<Message>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Key(u64),
    Function(u64),
    All,
}

impl Message {
    fn of(target: Target<'_>) -> Self {
        match target {
            Target::Key(key) => Self::Key(key.digest),
            Target::Function(function) => Self::Function(function.digest),
            _ => Self::All,
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        let (kind, digest) = match self {
            Self::Key(digest) => (b'k', digest),
            Self::Function(digest) => (b'f', digest),
            Self::All => (b'a', 0),
        };
        let mut bytes = vec![kind];
        bytes.extend(digest.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, digest) = bytes.split_first()?;
        let digest = u64::from_le_bytes(digest.try_into().ok()?);
        match kind {
            b'k' => Some(Self::Key(digest)),
            b'f' => Some(Self::Function(digest)),
            b'a' => Some(Self::All),
            _ => None,
        }
    }
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
    let number = |item: Option<Item>| item.as_ref().and_then(Item::number);
    let stamp = number(epoch)
        .zip(number(history))
        .map(|(epoch, history)| Stamp { epoch, history });
    let record = record.and_then(|item| item.record().map(<[u8]>::to_vec));
    Ok((record, stamp))
}

/// Takes a lease.
pub(crate) async fn lease(
    client: &mut Client,
    names: &Names,
    claim: Claim,
    seen: &[u8],
    life: Duration,
) -> Result<Taken, Error> {
    let guards = Keys::guards(&names.record);
    let wanted = [&*names.history, &*names.epoch, &*guards, &*names.record];
    let [history, epoch, guards, mut held] = get_all(client, wanted).await?;
    let stamp = Stamp {
        history: number_or_begin(client, &names.history, history).await?,
        epoch: number_or_begin(client, &names.epoch, epoch).await?,
    };
    if guards.is_some_and(|guards| guards.flags == GUARDS) {
        return Ok(Taken::Refused(Refusal::Guard));
    }
    if claim == Claim::Look {
        // Nothing has this number.
        return Ok(Taken::Given {
            cas: 0,
            stamp,
            is_placeholder: false,
        });
    }
    let mine = |flags| (flags, with_stamp(fastrand::u64(..), stamp));
    let kind = if claim == Claim::Share { SHARED } else { ONLY };
    // Each turn found something else there than the one before.
    loop {
        // One from before its function was invalidated will not be filled. It may be this call that is behind.
        if claim == Claim::Only
            && let Some(item) = &held
            && item.flags == ONLY
            && let Some(under) = item.stamp()
            && (under == stamp || stamp_now(client, names).await? == Some(under))
        {
            return Ok(Taken::Busy(Standing {
                cas: item.cas,
                stamp: under,
            }));
        }
        let placed = match (&held, claim) {
            (None, _) => {
                let (flags, token) = mine(kind);
                place(client, &names.record, None, flags, &token, life).await?
            }
            (Some(item), Claim::Only) => {
                if let Some(record) = item.record()
                    && record[..record.len().min(SEEN)] != *seen
                {
                    return Ok(Taken::Filled);
                }
                let (flags, token) = mine(kind);
                place(client, &names.record, Some(item.cas), flags, &token, life).await?
            }
            (Some(item), Claim::Share) if matches!(item.flags, ONLY | SHARED) => Some(item.cas),
            // A record that may be good still is left where it is: it has another number from now on.
            (Some(item), _) if item.record().is_some() => {
                renumber(client, &names.record, item.cas).await?
            }
            (Some(item), _) => {
                let (flags, token) = mine(kind);
                place(client, &names.record, Some(item.cas), flags, &token, life).await?
            }
        };
        let Some(cas) = placed else {
            held = get(client, &names.record).await?;
            continue;
        };
        let is_placeholder =
            held.is_none_or(|item| item.record().is_none()) || claim == Claim::Only;
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
) -> Result<Fill, Error> {
    let [epoch, history] = get_all(client, [&*names.epoch, &*names.history]).await?;
    // One that changes after this leaves a record that is not valid by it.
    if history.as_ref().and_then(Item::number) != Some(leased.history) {
        return Ok(Fill::Refused(Refusal::History));
    }
    if epoch.as_ref().and_then(Item::number) != Some(leased.epoch) {
        return Ok(Fill::Refused(Refusal::Function));
    }
    let data = with_expiry(bytes, life);
    let stored = place(client, &names.record, Some(cas), RECORD, &data, life).await?;
    Ok(match stored {
        Some(_) => Fill::Stored,
        None => Fill::Refused(Refusal::Lease),
    })
}

/// Deletes what a target names, and tells of it. Whoever asks after this hears of it.
pub(crate) async fn invalidate(
    client: &mut Client,
    keys: &Keys,
    target: Target<'_>,
) -> Result<(), Error> {
    match target {
        Target::Key(key) => delete(client, &keys.record(key), None).await?,
        Target::Function(function) => renew(client, &keys.epoch(function)).await?,
        _ => renew(client, &keys.history()).await?,
    }
    let number = count(client, keys, 1).await?;
    let message = Message::of(target).to_bytes();
    place_anyway(
        client,
        &keys.message(number),
        CONTROL,
        &message,
        MESSAGE_LIFE,
    )
    .await
}

/// Asks what was invalidated since the one with number `last`; `None` for who asks the first time.
pub(crate) async fn hear(
    client: &mut Client,
    keys: &Keys,
    last: Option<u64>,
) -> Result<Heard, Error> {
    let now = count(client, keys, 0).await?;
    let unknown = Heard {
        last: now,
        messages: None,
    };
    let Some(last) = last else { return Ok(unknown) };
    if now == last {
        let messages = Some(Vec::new());
        return Ok(Heard {
            last: now,
            messages,
        });
    }
    // Less: another count was begun, since the server lost the one before.
    if now < last || now - last > MOST_MESSAGES {
        return Ok(unknown);
    }
    let names: Vec<_> = (last + 1..=now)
        .map(|number| keys.message(number))
        .collect();
    let found = client
        .meta_get_multi(&names, Some(&["c", "f", "v"]))
        .await?;
    let mut messages = Vec::with_capacity(found.len());
    for value in &found {
        let item = item_of(value).filter(|item| item.flags == CONTROL);
        match item.and_then(|item| Message::from_bytes(&item.data)) {
            Some(message) => messages.push(message),
            None => return Ok(unknown),
        }
    }
    // One is missing: it is not written yet, or not there any more.
    let messages = (messages.len() == names.len()).then_some(messages);
    Ok(Heard {
        last: now,
        messages,
    })
}

/// Whether a lease still stands there, and what it brings may count.
pub(crate) async fn stands(
    client: &mut Client,
    names: &Names,
    standing: Standing,
) -> Result<bool, Error> {
    let found = client
        .meta_get(&names.record, false, None, Some(&["c"]))
        .await?;
    let is_there = found.and_then(|value| value.cas) == Some(standing.cas);
    Ok(is_there && stamp_now(client, names).await? == Some(standing.stamp))
}

/// What a valid record carries now; `None` where that is not there.
async fn stamp_now(client: &mut Client, names: &Names) -> Result<Option<Stamp>, Error> {
    let [epoch, history] = get_all(client, [&*names.epoch, &*names.history]).await?;
    let number = |item: Option<Item>| item.as_ref().and_then(Item::number);
    let stamp = number(epoch).zip(number(history));
    Ok(stamp.map(|(epoch, history)| Stamp { epoch, history }))
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

/// How many invalidations there were, `more` among them. A count that is not there begins anywhere.
async fn count(client: &mut Client, keys: &Keys, more: u64) -> Result<u64, Error> {
    let name = keys.count();
    loop {
        let begin = format!("J{}", fastrand::u64(1 << 32..1 << 48));
        let counted = client
            .meta_increment(&name, false, None, Some(more), Some(&["N0", &begin, "v"]))
            .await;
        let text = match counted {
            Ok(value) => value.and_then(|value| value.data).unwrap_or_default(),
            // Somebody else's text, which cannot be counted.
            Err(error) if is_refusal(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        let number = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        if let Some(number) = number.filter(|number| (1..1 << 60).contains(number)) {
            return Ok(number);
        }
        delete(client, &name, None).await?;
    }
}

/// The number that stands under a name, made where there is none; `held` was found there.
async fn number_or_begin(
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
async fn renew(client: &mut Client, name: &str) -> Result<(), Error> {
    let fresh = fresh().to_le_bytes();
    place_anyway(client, name, CONTROL, &fresh, CONTROL_LIFE).await
}

async fn place_anyway(
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
fn fresh() -> u64 {
    fastrand::u64(1..)
}

/// What stands under names, in one round trip, read in this order.
async fn get_all<const N: usize>(
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

async fn get(client: &mut Client, name: &str) -> Result<Option<Item>, Error> {
    let found = client
        .meta_get(name, false, None, Some(&["c", "f", "v"]))
        .await?;
    Ok(found.as_ref().and_then(item_of))
}

fn item_of(value: &MetaValue) -> Option<Item> {
    Some(Item {
        cas: value.cas?,
        flags: value.flags.unwrap_or(0),
        data: value.data.clone().unwrap_or_default(),
    })
}

/// Stores something where nothing stands, or what has that number; `None` where it is not so. With its new number.
async fn place(
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
async fn renumber(client: &mut Client, name: &str, cas: u64) -> Result<Option<u64>, Error> {
    let condition = format!("C{cas}");
    let nothing: &[u8] = &[];
    let stored = client
        .meta_set(name, nothing, false, None, Some(&["c", "MA", &condition]))
        .await;
    number_of(stored)
}

fn number_of(stored: Result<Option<MetaValue>, Error>) -> Result<Option<u64>, Error> {
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
async fn delete_if(client: &mut Client, name: &str, cas: u64) -> Result<bool, Error> {
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
fn is_missed(error: &Error) -> bool {
    matches!(
        error,
        Error::Protocol(Status::Exists | Status::NotFound | Status::NotStored)
    )
}

/// Whether the server said no, to what it had understood: the connection is as it was.
pub(crate) fn is_refusal(error: &Error) -> bool {
    is_missed(error) || matches!(error, Error::Protocol(Status::Error(_)))
}
