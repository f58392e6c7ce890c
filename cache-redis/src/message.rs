//! The messages of the channel, as bytes.

/// The largest number of a message. The scripts restart the sequence before it is reached, so a
/// larger number is foreign.
const MAX_NUMBER: u64 = 1 << 53;

/// An event that instances are notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// Keys were invalidated.
    Keys(Digests<'a>),
    /// A key was filled, or its lease released.
    Free(u64),
    /// The load of a key failed, and its lease was released.
    Failed(u64),
    /// A function was invalidated.
    Function(u64),
    /// There is a new history.
    History(u64),
    /// The sequence was missing and restarts with the number of this message.
    Sequence,
    /// Tags were invalidated.
    Tags(Entry<'a>),
    /// Keys, functions or tags were expired.
    Expired(Entry<'a>),
    /// The next generation of the ledger with this base was begun, after the entry with this
    /// number.
    Rotated(u64, u64),
    /// A ledger with this base was begun, because there was none.
    LedgerBegun(u64),
    /// All tags were invalidated, and a ledger with this base was begun.
    AllTags(u64),
}

/// An entry of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// The base of the ledger.
    pub(crate) base: u64,
    /// The number of the entry.
    pub(crate) number: u64,
    pub(crate) digests: Digests<'a>,
}

/// The digests of keys, with a colon between them. There is at least one, and each is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digests<'a>(&'a [u8]);

/// A payload of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    /// A message and its number.
    Message(u64, Message<'a>),
    /// A numbered message of a kind that this version does not know. A newer version may send one.
    UnknownKind(u64),
    /// Not a message of this cache.
    Foreign,
}

impl<'a> Payload<'a> {
    /// Parses `<number>:<kind>:<subject>`. The number is read first: a message of an unknown kind
    /// must count as received, or the next one would look like a gap.
    pub(crate) fn parse(payload: &'a [u8]) -> Self {
        let Some((number, rest)) = split(payload) else {
            return Self::Foreign;
        };
        let Some(number) = sequence_number(number) else {
            return Self::Foreign;
        };
        Message::parse(rest).map_or(Self::UnknownKind(number), |message| {
            Self::Message(number, message)
        })
    }
}

impl<'a> Message<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (kind, subject) = split(text)?;
        match kind {
            b"k" => return Digests::parse(subject).map(Self::Keys),
            b"t" => return Entry::parse(subject).map(Self::Tags),
            b"d" => return Entry::parse(subject).map(Self::Expired),
            b"g" => {
                let (base, last) = split(subject)?;
                return Some(Self::Rotated(number(base)?, number(last)?));
            }
            _ => {}
        }
        let subject = number(subject)?;
        Some(match kind {
            b"f" | b"r" => Self::Free(subject),
            b"x" => Self::Failed(subject),
            b"e" => Self::Function(subject),
            b"h" => Self::History(subject),
            b"s" => Self::Sequence,
            b"b" => Self::LedgerBegun(subject),
            b"a" => Self::AllTags(subject),
            _ => return None,
        })
    }
}

impl<'a> Entry<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (base, rest) = split(text)?;
        let (count, digests) = split(rest)?;
        Some(Self {
            base: number(base)?,
            number: number(count)?,
            digests: Digests::parse(digests)?,
        })
    }
}

impl<'a> Digests<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let all = text.split(|byte| *byte == b':');
        all.map(number)
            .all(|digest| digest.is_some())
            .then_some(Self(text))
    }

    /// Returns each of them.
    pub(crate) fn each(self) -> impl Iterator<Item = u64> {
        self.0.split(|byte| *byte == b':').filter_map(number)
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == b':')?;
    Some((&text[..at], &text[at + 1..]))
}

/// The number of a message, as the scripts write it.
pub(crate) fn sequence_number(text: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(text).ok()?.parse().ok()?;
    (1..=MAX_NUMBER).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_parsed_and_newer_kinds_keep_their_number() {
        fn parsed(text: &str) -> Payload<'_> {
            Payload::parse(text.as_bytes())
        }
        let keys = |text| match Payload::parse(text) {
            Payload::Message(5, Message::Keys(digests)) => digests.each().collect(),
            _ => Vec::new(),
        };
        assert_eq!(keys(b"5:k:7"), [7]);
        assert_eq!(keys(b"5:k:7:8:18446744073709551615"), [7, 8, u64::MAX]);
        for wrong in ["5:k:", "5:k:7:", "5:k::7", "5:k:7:x"] {
            assert_eq!(parsed(wrong), Payload::UnknownKind(5), "{wrong}");
        }
        assert_eq!(parsed("5:r:7"), Payload::Message(5, Message::Free(7)));
        assert_eq!(parsed("6:x:7"), Payload::Message(6, Message::Failed(7)));
        assert_eq!(parsed("8:s:0"), Payload::Message(8, Message::Sequence));
        let entry = |text| match Payload::parse(text) {
            Payload::Message(5, Message::Tags(entry)) => (b't', entry),
            Payload::Message(5, Message::Expired(entry)) => (b'd', entry),
            payload => panic!("{payload:?}"),
        };
        for (kind, text) in [(b't', &b"5:t:9:3:7:8"[..]), (b'd', b"5:d:9:3:7:8")] {
            let (found, entry) = entry(text);
            assert_eq!((found, entry.base, entry.number), (kind, 9, 3));
            assert_eq!(entry.digests.each().collect::<Vec<_>>(), [7, 8]);
        }
        assert_eq!(
            parsed("5:g:9:3"),
            Payload::Message(5, Message::Rotated(9, 3))
        );
        assert_eq!(
            parsed("5:b:9"),
            Payload::Message(5, Message::LedgerBegun(9))
        );
        assert_eq!(parsed("5:a:9"), Payload::Message(5, Message::AllTags(9)));
        for wrong in [
            "5:t:9:3", "5:t:9:3:", "5:d:9", "5:g:9", "5:b:", "5:b:9:3", "5:a:x",
        ] {
            assert_eq!(parsed(wrong), Payload::UnknownKind(5), "{wrong}");
        }
        assert_eq!(parsed("5:tag:7:8"), Payload::UnknownKind(5));
        assert_eq!(parsed("5:k:seven"), Payload::UnknownKind(5));
        assert_eq!(parsed("5:k"), Payload::UnknownKind(5));
        assert_eq!(parsed("5"), Payload::Foreign);
        assert_eq!(parsed("0:k:7"), Payload::Foreign);
        assert_eq!(parsed("18446744073709551615:k:7"), Payload::Foreign);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(bytes: Vec<u8>) {
            if let Payload::Message(number, _) | Payload::UnknownKind(number) = Payload::parse(&bytes) {
                prop_assert!((1..=MAX_NUMBER).contains(&number));
            }
        }

        #[test]
        fn any_number_is_taken_or_refused_by_its_range(number: u64, kind in "[a-z]{0,2}", subject: u64) {
            let text = format!("{number}:{kind}:{subject}");
            let is_taken = Payload::parse(text.as_bytes()) != Payload::Foreign;
            prop_assert_eq!(is_taken, (1..=MAX_NUMBER).contains(&number));
        }
    }
}
