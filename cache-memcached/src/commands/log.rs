//! The log of invalidations: each is done, counted, and written under its number; who asks for the count reads those it lacks.

use std::time::Duration;

use async_memcached::{Client, Error, MetaProtocol as _};
use cache_core::tier::Target;

use super::items::{delete, is_refusal, item_of, place_anyway, renew};
use crate::item::CONTROL;
use crate::keys::Keys;

/// How long a message stays: many times what an instance may take until it asks; then it takes everything for invalidated.
const MESSAGE_LIFE: Duration = Duration::from_secs(120);

/// More messages than that are not read one by one.
const MOST_MESSAGES: u64 = 512;

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
            Target::All => Self::All,
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

/// Deletes what a target names, and tells of it. Whoever asks after this hears of it.
pub(crate) async fn invalidate(
    client: &mut Client,
    keys: &Keys,
    target: Target<'_>,
) -> Result<(), Error> {
    match target {
        Target::Key(key) => delete(client, &keys.record(key), None).await?,
        Target::Function(function) => renew(client, &keys.epoch(function)).await?,
        Target::All => renew(client, &keys.history()).await?,
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
