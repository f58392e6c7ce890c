//! The messages of the channel, as bytes.

/// The largest number of a message. The scripts restart the sequence before it is reached, so a
/// larger number is foreign.
const MAX_NUMBER: u64 = 1 << 53;

/// An event that instances are notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A key was invalidated.
    Key(u64),
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
}

/// A payload of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// A message and its number.
    Message(u64, Message),
    /// A numbered message of a kind that this version does not know. A newer version may send one.
    UnknownKind(u64),
    /// Not a message of this cache.
    Foreign,
}

impl Payload {
    /// Parses `<number>:<kind>:<subject>`. The number is read first: a message of an unknown kind
    /// must count as received, or the next one would look like a gap.
    pub(crate) fn parse(payload: &[u8]) -> Self {
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

impl Message {
    fn parse(text: &[u8]) -> Option<Self> {
        let (kind, subject) = split(text)?;
        let subject = std::str::from_utf8(subject).ok()?.parse().ok()?;
        Some(match kind {
            b"k" => Self::Key(subject),
            b"f" | b"r" => Self::Free(subject),
            b"x" => Self::Failed(subject),
            b"e" => Self::Function(subject),
            b"h" => Self::History(subject),
            b"s" => Self::Sequence,
            _ => return None,
        })
    }
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
        let parsed = |text: &str| Payload::parse(text.as_bytes());
        assert_eq!(parsed("5:k:7"), Payload::Message(5, Message::Key(7)));
        assert_eq!(parsed("5:r:7"), Payload::Message(5, Message::Free(7)));
        assert_eq!(parsed("6:x:7"), Payload::Message(6, Message::Failed(7)));
        assert_eq!(parsed("8:s:0"), Payload::Message(8, Message::Sequence));
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
            let payload = Payload::parse(format!("{number}:{kind}:{subject}").as_bytes());
            let is_taken = payload != Payload::Foreign;
            prop_assert_eq!(is_taken, (1..=MAX_NUMBER).contains(&number));
        }
    }
}
