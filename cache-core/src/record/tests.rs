//! Records are read as they were written, and nothing else is read.

use super::*;

fn header() -> Header {
    Header {
        format: Format::Plain,
        codec: 1,
        created: 1_000,
        life: 500,
        load: 7,
        version: 3,
        epoch: 11,
        history: 19,
        shape: 13,
        digest: 17,
        kind: RecordKind::Copy,
    }
}

fn marks(tags: usize) -> RecordMarks {
    RecordMarks {
        mark: Mark {
            base: 23,
            number: 29,
        },
        tags: (0..tags as u64).map(|tag| tag * 31).collect(),
    }
}

/// A record of format 1, and records of format 2 with none, some and the most tags.
fn records() -> impl Iterator<Item = (Header, RecordMarks)> {
    let marked = [0, 1, 3, 64].map(|tags| {
        let format = Format::Marked;
        (Header { format, ..header() }, marks(tags))
    });
    let plain = (header(), RecordMarks::default());
    std::iter::once(plain).chain(marked)
}

#[test]
fn record_is_read_back() {
    let overheads = [84, 101, 109, 125, 613];
    for ((header, marks), overhead) in records().zip(overheads) {
        let bytes = header.encode(&marks, b"payload");
        assert_eq!(bytes.len(), overhead + 7);
        assert_eq!(header.overhead(marks.tags.len()), overhead);
        let record = Record {
            header,
            marks,
            payload: b"payload",
        };
        assert_eq!(Header::open(&bytes), Ok(record));
    }
}

#[test]
fn changed_bit_or_missing_byte_makes_a_record_damaged() {
    for (header, marks) in records() {
        let bytes = header.encode(&marks, b"payload");
        for bit in 0..bytes.len() * 8 {
            let mut turned = bytes.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::open(&turned), Err(Damaged), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(Header::open(&bytes[..len]), Err(Damaged), "cut to {len}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(Header::open(&longer), Err(Damaged));
    }
}

/// Writes the checksum that bytes need to be treated as a record.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum([&bytes[..CHECKSUM], &bytes[HEADER..]]);
    bytes[ETAG].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// A faulty writer, and not a damaged record: the checksum is right.
#[test]
fn number_of_tags_that_does_not_fit_the_record_makes_it_damaged() {
    let header = Header {
        format: Format::Marked,
        ..header()
    };
    let written = header.encode(&marks(2), b"payload");
    for count in (0..=u8::MAX).filter(|count| *count != 2) {
        let mut bytes = written.clone();
        bytes[HEADER] = count;
        assert_eq!(Header::open(&with_checksum(bytes)), Err(Damaged), "{count}");
    }
    // As many tags as the record has bytes for, and more than a value can have.
    let mut bytes = header.encode(&marks(64), &[0; 8]);
    bytes[HEADER] = 65;
    bytes[CHECKSUM - 4..CHECKSUM].copy_from_slice(&0_u32.to_le_bytes());
    assert_eq!(Header::open(&with_checksum(bytes)), Err(Damaged));
}

/// Random marks and payloads are read as they were written, and random bytes never panic.
#[test]
fn random_records_are_read_back_and_random_bytes_do_no_harm() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..2_000 {
        let marks = RecordMarks {
            mark: Mark {
                base: random.u64(..),
                number: random.u64(..),
            },
            tags: (0..random.usize(..=64)).map(|_| random.u64(..)).collect(),
        };
        let payload: Vec<u8> = (0..random.usize(..64)).map(|_| random.u8(..)).collect();
        let header = Header {
            format: Format::Marked,
            digest: random.u128(..),
            ..header()
        };
        let mut bytes = header.encode(&marks, &payload);
        let record = Header::open(&bytes).expect("a record");
        assert_eq!((record.header, &record.marks), (header, &marks));
        assert_eq!(record.payload, payload);
        // The marks and the payload are random, and the checksum is right.
        bytes.truncate(random.usize(HEADER..=bytes.len()));
        random.fill(&mut bytes[HEADER..]);
        let len = random.u32(..=128).to_le_bytes();
        bytes[CHECKSUM - 4..CHECKSUM].copy_from_slice(&len);
        let bytes = with_checksum(bytes);
        if let Ok(record) = Header::open(&bytes) {
            let read = record.header.overhead(record.marks.tags.len());
            assert_eq!(read + record.payload.len(), bytes.len());
            assert!(record.marks.tags.len() <= 64);
        }
    }
}

#[test]
fn value_is_fresh_until_its_life_ends_and_never_for_longer() {
    use Freshness::{Fresh, Stale};
    let at = |now| header().freshness(now);
    let ms = Duration::from_millis;
    assert_eq!(at(1_100), Fresh(ms(400)));
    assert_eq!(at(1_499), Fresh(ms(1)));
    assert_eq!(at(1_500), Stale(ms(0)));
    assert_eq!(at(9_999), Stale(ms(8_499)));
    assert_eq!(at(0), Fresh(ms(500)), "a clock that went back");
}
