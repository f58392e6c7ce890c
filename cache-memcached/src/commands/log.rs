//! The log of invalidations: a counter, and a message under each number.

use std::slice;
use std::time::Duration;

use async_memcached::{Client, Error, MetaProtocol as _};
use cache_core::tier::Target;

use super::command::Command;
use super::items::{WHOLE_ITEM, control, delete, item_of, set};
use crate::error::is_refusal;
use crate::item::Kind;
use crate::keys::Keys;

/// The life of a message: many times the longest period in which an instance reads the log. An
/// instance that is later than that invalidates everything.
const MESSAGE_LIFE: Duration = Duration::from_secs(120);

/// The largest number of messages that are read one by one. If there are more, everything is
/// invalidated.
const MAX_MESSAGES: u64 = 512;

/// The numbers that a counter may have. Another number under its name is foreign.
const NUMBERS: std::ops::Range<u64> = 1..1 << 60;

/// The first numbers of a counter. They are random, so that a counter which was lost does not go on
/// with numbers that instances have already read.
const FIRST_NUMBERS: std::ops::Range<u64> = 1 << 32..1 << 48;

/// The effect of an invalidation on the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// They are void.
    Invalidated,
    /// They are stale.
    Expired,
}

/// The length of a digest.
const DIGEST_LEN: usize = 8;

/// An invalidation, as the log has it: keys, functions and tags by their digests.
///
/// An instance that does not know the kind of a message invalidates everything, as for one that is
/// missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Key(u64),
    Function(u64),
    All,
    /// All values that carry one of these tags.
    Tags(Vec<u64>),
    /// All values that carry a tag.
    AllTags,
    /// Keys, functions or tags whose values are stale, and not void.
    Expired(Vec<u64>),
}

impl Message {
    pub(super) fn of(target: Target<'_>, effect: Effect) -> Self {
        match (target, effect) {
            (Target::Key(key), Effect::Invalidated) => Self::Key(key.digest),
            (Target::Key(key), Effect::Expired) => Self::Expired(vec![key.digest]),
            (Target::Function(function), Effect::Invalidated) => Self::Function(function.digest),
            (Target::Function(function), Effect::Expired) => Self::Expired(vec![function.digest]),
            (Target::All, Effect::Invalidated | Effect::Expired) => Self::All,
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let (kind, digests) = match self {
            Self::Key(digest) => (b'k', slice::from_ref(digest)),
            Self::Function(digest) => (b'f', slice::from_ref(digest)),
            Self::All => (b'a', &[0][..]),
            Self::Tags(digests) => (b't', &digests[..]),
            Self::AllTags => (b'u', &[][..]),
            Self::Expired(digests) => (b'd', &digests[..]),
        };
        let mut bytes = vec![kind];
        bytes.extend(digests.iter().flat_map(|digest| digest.to_le_bytes()));
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, digests) = bytes.split_first()?;
        let (digests, rest) = digests.as_chunks::<DIGEST_LEN>();
        if !rest.is_empty() {
            return None;
        }
        let several = || digests.iter().copied().map(u64::from_le_bytes).collect();
        match (kind, digests) {
            (b'k', [digest]) => Some(Self::Key(u64::from_le_bytes(*digest))),
            (b'f', [digest]) => Some(Self::Function(u64::from_le_bytes(*digest))),
            (b'a', [_]) => Some(Self::All),
            (b't', [_, ..]) => Some(Self::Tags(several())),
            (b'u', []) => Some(Self::AllTags),
            (b'd', [_, ..]) => Some(Self::Expired(several())),
            _ => None,
        }
    }
}

/// Reads the messages after the one with number `last`.
#[derive(Debug)]
pub(crate) struct ReadLog {
    pub(crate) keys: Keys,
    /// `None` if the caller has not read the log before.
    pub(crate) last: Option<u64>,
}

/// Messages of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The number of the last message.
    pub(crate) last: u64,
    /// `None` if it is unknown what was invalidated: the caller has not read the log before, a
    /// message is missing, or there are too many.
    pub(crate) messages: Option<Vec<Message>>,
}

impl Command for ReadLog {
    const NAME: &'static str = "read the log of invalidations";
    type Reply = Reply;

    async fn run(self, client: &mut Client) -> Result<Reply, Error> {
        let now = add_to_count(client, &self.keys, 0).await?;
        let messages = match self.last {
            Some(last) if last == now => Some(Vec::new()),
            // A smaller number means that the server lost the counter, and another was begun.
            Some(last) if last < now && now - last <= MAX_MESSAGES => {
                let names = (last + 1..=now).map(|number| self.keys.message(number));
                read_messages(client, names.collect()).await?
            }
            Some(_) | None => None,
        };
        Ok(Reply {
            last: now,
            messages,
        })
    }
}

/// Reads messages. Returns `None` if one of them is missing, because it is not written yet or has
/// expired, or if one cannot be parsed.
async fn read_messages(
    client: &mut Client,
    names: Vec<String>,
) -> Result<Option<Vec<Message>>, Error> {
    let found = client.meta_get_multi(&names, Some(WHOLE_ITEM)).await?;
    if found.len() != names.len() {
        return Ok(None);
    }
    let messages = found.iter().map(|value| {
        let item = item_of(value).filter(|item| item.kind == Some(Kind::Control))?;
        Message::from_bytes(&item.data)
    });
    Ok(messages.collect())
}

/// Writes a message into the log. A reader that sees its number before the message itself is
/// written finds it missing, and invalidates everything.
pub(super) async fn append(
    client: &mut Client,
    keys: &Keys,
    message: Message,
) -> Result<(), Error> {
    let number = add_to_count(client, keys, 1).await?;
    let data = message.to_bytes();
    set(client, &keys.message(number), control(&data, MESSAGE_LIFE)).await
}

/// Adds to the counter of the log, and returns its number. A counter that is missing is created.
async fn add_to_count(client: &mut Client, keys: &Keys, more: u64) -> Result<u64, Error> {
    let name = keys.log_count();
    loop {
        let first = format!("J{}", fastrand::u64(FIRST_NUMBERS));
        let counted = client
            .meta_increment(&name, false, None, Some(more), Some(&["N0", &first, "v"]))
            .await;
        let text = match counted {
            Ok(value) => value.and_then(|value| value.data).unwrap_or_default(),
            // A foreign text, which the server cannot add to.
            Err(error) if is_refusal(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        let number = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        if let Some(number) = number.filter(|number| NUMBERS.contains(number)) {
            return Ok(number);
        }
        delete(client, &name).await?;
    }
}

#[cfg(test)]
mod tests {
    use cache_core::tier::kit::OwnedTarget;

    use super::*;
    use crate::commands::testing::{TestServer, key};

    #[tokio::test]
    async fn messages_are_read_in_order_from_the_number_that_was_read_last() {
        let mut server = TestServer::start().await;
        let keys = server.keys.clone();
        let read = |last| ReadLog {
            keys: keys.clone(),
            last,
        };
        let first = server.send(read(None)).await;
        assert_eq!(first.messages, None, "it has not read the log before");
        let again = server.send(read(Some(first.last))).await;
        assert_eq!(again.messages, Some(Vec::new()));
        server.invalidate_key(&key("1")).await;
        server.invalidate(OwnedTarget::All).await;
        let reply = server.send(read(Some(first.last))).await;
        assert_eq!(reply.last, first.last + 2);
        let expected = vec![Message::Key(key("1").digest), Message::All];
        assert_eq!(reply.messages, Some(expected));
    }

    #[tokio::test]
    async fn messages_are_unknown_if_one_of_them_or_the_counter_is_lost() {
        let mut server = TestServer::start().await;
        let last = server.last_message().await;
        server.invalidate(OwnedTarget::All).await;
        server.invalidate(OwnedTarget::All).await;
        let lost = server.keys.message(last + 1);
        server.delete(&lost).await;
        assert_eq!(server.messages_since(last).await, None, "a message");
        let last = server.last_message().await;
        for foreign in [None, Some("abc"), Some("0")] {
            let name = server.keys.log_count();
            server.delete(&name).await;
            if let Some(text) = foreign {
                server.set_foreign(&name, text).await;
            }
            assert_eq!(server.messages_since(last).await, None, "{foreign:?}");
        }
        let last = server.last_message().await;
        let many = last.saturating_sub(MAX_MESSAGES + 1);
        assert_eq!(server.messages_since(many).await, None, "too many");
    }

    /// A message of a later version.
    #[derive(Debug)]
    struct AppendUnknown {
        keys: Keys,
    }

    impl Command for AppendUnknown {
        const NAME: &'static str = "append a message";
        type Reply = ();

        async fn run(self, client: &mut Client) -> Result<(), Error> {
            let number = add_to_count(client, &self.keys, 1).await?;
            let message = control(b"x12345678", MESSAGE_LIFE);
            set(client, &self.keys.message(number), message).await
        }
    }

    #[tokio::test]
    async fn messages_are_unknown_if_the_kind_of_one_is_and_later_ones_are_read() {
        let mut server = TestServer::start().await;
        let keys = server.keys.clone();
        let last = server.last_message().await;
        server.invalidate(OwnedTarget::All).await;
        server.send(AppendUnknown { keys: keys.clone() }).await;
        let last = Some(last);
        let unknown = server.send(ReadLog { keys, last }).await;
        assert_eq!(unknown.messages, None);
        server.invalidate(OwnedTarget::All).await;
        let messages = server.messages_since(unknown.last).await;
        assert_eq!(messages, Some(vec![Message::All]));
    }

    #[test]
    fn message_survives_encoding_and_other_bytes_are_none() {
        for message in [
            Message::Key(7),
            Message::Function(8),
            Message::All,
            Message::Tags(vec![9]),
            Message::Tags(vec![9, u64::MAX]),
            Message::AllTags,
            Message::Expired(vec![7, 8, 9]),
        ] {
            let bytes = message.to_bytes();
            assert_eq!(Message::from_bytes(&bytes), Some(message));
        }
        for bytes in [
            &b""[..],
            b"k",
            b"x12345678",
            b"k123456789",
            b"k1234567812345678",
            b"t",
            b"t123456789",
            b"u12345678",
            b"d",
        ] {
            assert_eq!(Message::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
