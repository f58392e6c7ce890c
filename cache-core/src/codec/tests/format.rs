//! Records in postcard's format, and the shapes of types, are the same in every version.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::writer::Writer;
use super::super::{Encoding, Shape};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Id(u32);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair(i8, f32);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    New(Id),
    Tuple(i16, i64),
    Struct { a: u128, b: Option<Box<Self>> },
}

/// A byte string that is marked as such.
#[derive(Clone, Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl serde::de::Visitor<'_> for Visit {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visit)
    }
}

/// One field for each kind of value that serde has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Every {
    flag: bool,
    small: (i8, u8, i16, u16),
    large: (i32, u32, i64, u64, i128, u128),
    floats: (f32, f64),
    sign: char,
    text: String,
    bytes: Bytes,
    list: Vec<u8>,
    map: BTreeMap<String, u64>,
    some: Option<u16>,
    none: Option<u16>,
    unit: (),
    marker: Marker,
    id: Id,
    pair: Pair,
    kinds: Vec<Kind>,
    address: IpAddr,
}

fn every() -> Every {
    Every {
        flag: true,
        small: (-1, 200, -300, 60_000),
        large: (
            -70_000,
            4_000_000_000,
            i64::MIN,
            u64::MAX,
            i128::MIN,
            1 << 100,
        ),
        floats: (1.5, -0.1),
        sign: 'ß',
        text: "text".to_owned(),
        bytes: Bytes(vec![0, 255]),
        list: vec![1, 2, 3],
        map: BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 300)]),
        some: Some(7),
        none: None,
        unit: (),
        marker: Marker,
        id: Id(300),
        pair: Pair(-128, 2.0),
        kinds: vec![
            Kind::Unit,
            Kind::New(Id(1)),
            Kind::Tuple(-5, 6),
            Kind::Struct {
                a: 9,
                b: Some(Box::new(Kind::Unit)),
            },
        ],
        address: [127, 0, 0, 1].into(),
    }
}

#[test]
fn records_have_the_bytes_that_the_postcard_crate_writes() {
    let value = every();
    let mut record = Vec::new();
    Encoding::Postcard.encode(&value, &mut record).unwrap();
    assert_eq!(record, postcard::to_stdvec(&value).unwrap());
    assert_eq!(Encoding::Postcard.decode::<Every>(&record).unwrap(), value);
}

#[test]
fn record_that_is_cut_or_damaged_is_an_error_and_no_panic() {
    let mut record = postcard::to_stdvec(&every()).unwrap();
    for len in 0..record.len() {
        assert!(Encoding::Postcard.decode::<Every>(&record[..len]).is_err());
    }
    for at in 0..record.len() {
        let byte = record[at];
        for damage in [0, 0x7F, 0xFF] {
            record[at] = damage;
            let ours = Encoding::Postcard.decode::<Every>(&record).ok();
            let theirs = postcard::take_from_bytes::<Every>(&record).ok();
            let theirs = theirs.filter(|(_, left)| left.is_empty());
            // `format!`, because a damaged float can be one that is not equal to itself.
            assert_eq!(
                format!("{ours:?}"),
                format!("{:?}", theirs.map(|(value, _)| value))
            );
        }
        record[at] = byte;
    }
}

/// Variants that the text of a description does not tell apart. The text must stay as it is.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is read")]
enum Alike {
    Field { u64: u64 },
    Value(u64),
    Unit,
    Nothing(()),
    Two(u8, u8),
    Pair((u8, u8)),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is read")]
struct Linked {
    marker: Marker,
    letter: char,
    wide: (i128, u128),
    next: Option<Box<Self>>,
    alike: Vec<Alike>,
    by_name: BTreeMap<String, Bytes>,
}

type Letters = BTreeMap<u16, Option<Vec<(char, Marker)>>>;

#[test]
fn fingerprints_of_shapes_are_those_of_earlier_versions() {
    for (shape, fingerprint) in [
        (Shape::of::<Every>(), 0x4544_5f23_6c10_b19a),
        (Shape::of::<Kind>(), 0xe91f_9568_c5d7_74c2),
        (Shape::of::<Vec<Option<Pair>>>(), 0x8453_4d80_30b1_b307),
        (Shape::of::<Alike>(), 0xbe54_e62c_0deb_f221),
        (Shape::of::<Linked>(), 0x0eff_a276_3b11_a4d8),
        (Shape::of::<Letters>(), 0xc380_a177_701c_2163),
        (
            Shape::of::<Result<Duration, String>>(),
            0x8eb2_c16d_dfce_c88c,
        ),
    ] {
        assert_eq!((shape.traced, shape.fingerprint), (true, fingerprint));
    }
}

/// Its text cannot be formatted.
struct NoText;

impl std::fmt::Display for NoText {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Err(std::fmt::Error)
    }
}

impl Serialize for NoText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[test]
fn text_that_cannot_be_formatted_is_an_error_and_no_panic() {
    let written = NoText.serialize(&mut Writer::new(&mut Vec::new()));
    assert_eq!(written, Err(postcard::Error::CollectStrError));
    assert_eq!(crate::weigh::weigh_by_serde(&NoText), 0);
}

#[test]
fn displayed_value_is_written_as_its_text() {
    struct Shown;

    impl Serialize for Shown {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(&format_args!("{}-{}", 12, "é"))
        }
    }

    let mut written = Vec::new();
    Shown.serialize(&mut Writer::new(&mut written)).unwrap();
    assert_eq!(written, postcard::to_stdvec("12-é").unwrap());
    assert_eq!(crate::weigh::weigh_by_serde(&Shown), "12-é".len());
}

/// Holds itself without a name between.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Nameless(#[expect(dead_code, reason = "only its shape is asked for")] Vec<Self>);

#[test]
fn type_that_holds_itself_without_a_name_is_identified_by_its_name() {
    assert!(!Shape::of::<Nameless>().traced);
    assert!(Shape::of::<Vec<Option<(u8, Vec<u8>)>>>().traced);
}
