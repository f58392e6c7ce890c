//! Values that serde writes are decoded as `serde_json` shows them, and any bytes end.

mod random;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::codec::{Encodings, TracedType};
use crate::record::{Format, Header, RecordKind as Kind, RecordMarks};

/// Writes a value with each codec that the build has, and decodes it. MessagePack and JSON are left
/// out unless the type `is_plain`: it has no kind that they write in a way of their own.
#[track_caller]
fn check_codecs<V: Serialize>(value: &V, layout: &Layout, is_plain: bool) {
    let expected = serde_json::to_value(value).expect("JSON can have the value");
    for name in ["postcard", "bincode", "msgpack", "json"] {
        let Ok(encoding) = Encodings::builtin().find(name) else {
            continue;
        };
        let codec = PayloadCodec::of_id(encoding.id()).expect("one of the crate");
        assert_eq!(codec.name(), name);
        if !codec.needs_layout() && !is_plain {
            continue;
        }
        let mut payload = Vec::new();
        encoding.encode(value, &mut payload).expect("a payload");
        let decoded = decode(codec, Some(layout), &payload);
        assert_eq!(decoded.as_ref(), Ok(&expected), "{name}: {payload:02x?}");
        if codec.needs_layout() && !payload.is_empty() {
            let shorter = &payload[..payload.len() - 1];
            assert!(decode(codec, Some(layout), shorter).is_err(), "{name}");
            payload.push(0);
            assert!(decode(codec, Some(layout), &payload).is_err(), "{name}");
        }
    }
}

fn layout_of<V: serde::de::DeserializeOwned>() -> Option<Layout> {
    TracedType::of::<V>().layout()
}

/// Variants that the text of a type's description does not tell apart.
#[derive(Serialize, Deserialize)]
enum Alike {
    Field { u64: u64 },
    Value(u64),
    Unit,
    Nothing(()),
    Two(u8, u8),
    Pair((u8, u8)),
}

#[derive(Serialize, Deserialize)]
struct Marker;

#[derive(Serialize, Deserialize)]
struct Everything {
    alike: Vec<Alike>,
    marker: Marker,
    numbers: (i8, u16, i32, u64, i128, u128, f32, f64),
    letters: Vec<char>,
    by_number: BTreeMap<i16, Option<bool>>,
    by_name: BTreeMap<String, [u8; 3]>,
    took: Result<Duration, String>,
    next: Option<Box<Self>>,
}

fn everything(next: Option<Box<Everything>>) -> Everything {
    Everything {
        alike: vec![
            Alike::Field { u64: 300 },
            Alike::Value(u64::MAX),
            Alike::Unit,
            Alike::Nothing(()),
            Alike::Two(1, 2),
            Alike::Pair((3, 4)),
        ],
        marker: Marker,
        numbers: (-128, 65_535, i32::MIN, u64::MAX, -7, 9, 0.1, f64::INFINITY),
        letters: vec!['a', 'ß', '語', '🦀'],
        by_number: BTreeMap::from([(-3, None), (4, Some(true))]),
        by_name: BTreeMap::from([("é\"".to_owned(), [1, 2, 3])]),
        took: Ok(Duration::from_nanos(1_000_000_001)),
        next,
    }
}

#[test]
fn value_of_every_kind_is_decoded_as_serde_json_shows_it() {
    let layout = layout_of::<Everything>().expect("a layout");
    check_codecs(&everything(None), &layout, false);
    let mut other = everything(Some(everything(None).into()));
    other.took = Err("too long".to_owned());
    check_codecs(&other, &layout, false);
    let (text, back) = (serde_json::to_string(&layout), layout);
    let back_again: Layout = serde_json::from_str(&text.expect("JSON")).expect("a layout");
    assert_eq!(back_again, back);
}

#[test]
fn layout_tells_variants_apart_that_the_description_does_not() {
    let layout = layout_of::<Alike>().expect("a layout");
    let [alike] = &*layout.types else {
        panic!("{layout:?}")
    };
    let TypeKind::Enum(variants) = &alike.kind else {
        panic!("{alike:?}")
    };
    let pair = || vec![Part::U8, Part::U8];
    let field = Field {
        name: "u64".to_owned(),
        part: Part::U64,
    };
    let expected = [
        ("Field", Members::Struct(vec![field])),
        ("Value", Members::Newtype(Part::U64)),
        ("Unit", Members::Unit),
        ("Nothing", Members::Newtype(Part::Unit)),
        ("Two", Members::Tuple(pair())),
        ("Pair", Members::Newtype(Part::Tuple(pair()))),
    ];
    let variants: Vec<_> = variants
        .iter()
        .map(|v| (&*v.name, v.members.clone()))
        .collect();
    assert_eq!(variants, expected);
}

#[test]
fn number_that_json_does_not_have_is_its_digits() {
    let layout = layout_of::<(i128, u128)>().expect("a layout");
    let payload = ::postcard::to_stdvec(&(i128::MIN, u128::MAX)).expect("a payload");
    let decoded = decode(PayloadCodec::Postcard, Some(&layout), &payload);
    let digits = json!([i128::MIN.to_string(), u128::MAX.to_string()]);
    assert_eq!(decoded, Ok(digits));
}

#[test]
fn type_that_cannot_be_read_without_names_has_no_layout() {
    #[derive(Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only its layout is read")]
    enum Untagged {
        Number(u64),
        Text(String),
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its layout is read")]
    struct Renamed {
        #[serde(alias = "number")]
        id: u64,
        name: String,
    }

    #[derive(Deserialize)]
    #[serde(tag = "kind", content = "value")]
    #[expect(dead_code, reason = "only its layout is read")]
    enum Adjacent {
        Number(u64),
        Text(String),
    }

    assert_eq!(layout_of::<Untagged>(), None);
    assert_eq!(layout_of::<Renamed>(), None);
    assert_eq!(layout_of::<Adjacent>(), None);
    let payload = [1, 2, 3];
    assert!(decode(PayloadCodec::Postcard, None, &payload).is_err());
}

/// Returns the number of bytes that a value takes, at least.
fn size(value: &Value) -> usize {
    let parts = match value {
        Value::Array(elements) => elements.iter().map(size).sum(),
        Value::Object(members) if members.is_empty() => 0,
        // A node of a map has room for 11 entries.
        Value::Object(members) => {
            let entries = members.iter().map(|(name, v)| name.len() + size(v));
            entries.sum::<usize>() + 11 * (size_of::<String>() + size_of::<Value>())
        }
        Value::String(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + parts
}

/// Layouts of types that a few bytes could make large or deep.
fn hostile() -> Vec<Layout> {
    let named = |kind| NamedType {
        name: "A".to_owned(),
        kind,
    };
    let of_itself = |part| Layout {
        value: Part::Type(0),
        types: vec![named(TypeKind::Struct(Members::Tuple(vec![part])))],
    };
    let twice = Members::Tuple(vec![Part::Type(0), Part::Type(0)]);
    vec![
        Layout {
            value: Part::Seq(Part::Unit.into()),
            types: Vec::new(),
        },
        Layout {
            value: Part::Type(9),
            types: Vec::new(),
        },
        of_itself(Part::Type(0)),
        of_itself(Part::Option(Part::Type(0).into())),
        of_itself(Part::Seq(Part::Type(0).into())),
        Layout {
            value: Part::Seq(Part::Type(0).into()),
            types: vec![named(TypeKind::Struct(twice))],
        },
        Layout {
            value: Part::Map(Box::new((Part::Unit, Part::Seq(Part::Unit.into())))),
            types: Vec::new(),
        },
        layout_of::<Everything>().expect("a layout"),
        layout_of::<Vec<Alike>>().expect("a layout"),
    ]
}

#[track_caller]
fn ends(payload: &[u8]) {
    for codec in [
        PayloadCodec::Postcard,
        PayloadCodec::Bincode,
        PayloadCodec::MessagePack,
        PayloadCodec::Json,
    ] {
        for layout in hostile() {
            if let Ok(value) = decode(codec, Some(&layout), payload) {
                assert!(
                    size(&value) <= (64 << 20).min((64 << 10) + 1024 * payload.len()),
                    "{codec:?}"
                );
            }
        }
    }
}

#[test]
fn few_bytes_are_no_large_value() {
    let units = Layout {
        value: Part::Seq(Part::Unit.into()),
        types: Vec::new(),
    };
    let mut billion = Vec::new();
    billion.extend([0x80, 0x80, 0x80, 0x80, 0x04]);
    let decoded = decode(PayloadCodec::Postcard, Some(&units), &billion);
    assert!(decoded.unwrap_err().to_string().contains("memory"));
    let some = decode(PayloadCodec::Postcard, Some(&units), &[3]);
    assert_eq!(some, Ok(json!([null, null, null])));
    for byte in [0x00, 0x01, 0x7f, 0x80, 0x91, 0x81, 0xdd, 0xff] {
        ends(&vec![byte; 10_000]);
    }
    ends(b"[[[[[[");
}

/// A struct that takes one byte in a payload, and a whole map in the result.
#[derive(Serialize, Deserialize)]
struct Item {
    a: Option<u8>,
}

#[test]
fn list_of_small_structs_takes_no_more_than_64_mib() {
    let layout = layout_of::<Vec<Item>>().expect("a layout");
    let items = |count: usize| {
        let mut payload = Vec::new();
        let items: Vec<_> = (0..count).map(|_| Item { a: None }).collect();
        let encoding = Encodings::builtin().find("postcard").expect("built in");
        encoding.encode(&items, &mut payload).expect("a payload");
        decode(PayloadCodec::Postcard, Some(&layout), &payload)
    };
    let some = items(10_000).expect("a list of a usual size");
    assert_eq!(some[9_999], json!({"a": null}));
    assert!(items(1_000_000).is_err_and(|error| error.to_string().contains("memory")));

    let maps = format!("[{}0]", "{\"\":0},".repeat(200_000));
    let decoded = decode(PayloadCodec::Json, None, maps.as_bytes());
    assert!(decoded.is_err_and(|error| error.to_string().contains("memory")));
    let mut maps = vec![0xdd, 0, 3, 0x0d, 0x40];
    maps.extend([0x81, 0, 0].repeat(200_000));
    let decoded = decode(PayloadCodec::MessagePack, None, &maps);
    assert!(decoded.is_err_and(|error| error.to_string().contains("memory")));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_end_without_a_panic_and_within_their_memory(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        ends(&bytes);
        // Not read by chance: the checksum is wrong.
        prop_assert!(Record::read(&bytes).is_err());
    }

    #[test]
    fn damaged_payload_ends_without_a_panic(at in 0_usize..400, byte in any::<u8>()) {
        let value = everything(Some(everything(None).into()));
        let layout = layout_of::<Everything>().expect("a layout");
        for name in ["postcard", "bincode", "msgpack", "json"] {
            let Ok(encoding) = Encodings::builtin().find(name) else {
                continue;
            };
            let mut payload = Vec::new();
            encoding.encode(&value, &mut payload).expect("a payload");
            let codec = PayloadCodec::of_id(encoding.id()).expect("one of the crate");
            let at = at % payload.len();
            payload[at] = byte;
            let _ = decode(codec, Some(&layout), &payload);
            payload.truncate(at);
            prop_assert!(decode(codec, Some(&layout), &payload).is_err());
        }
    }
}

#[test]
fn record_is_read_with_its_header_marks_and_value() {
    let header = Header {
        format: Format::Marked,
        codec: 1,
        created: 1_700_000_000_000,
        life: 60_000,
        load: 12,
        version: 3,
        epoch: 5,
        history: 6,
        shape: 7,
        digest: u128::MAX - 1,
        kind: Kind::Copy,
    };
    let marks = RecordMarks {
        mark: Mark { base: 8, number: 9 },
        tags: [10, 11].into(),
    };
    let mut bytes = header.encode(&marks, &[42]);
    let record = Record::read(&bytes).expect("a record");
    assert_eq!(
        (record.codec, record.kind, record.version),
        (1, RecordKind::Copy, 3)
    );
    assert_eq!(
        (record.epoch, record.history, record.fingerprint),
        (5, 6, 7)
    );
    assert_eq!(record.life, Duration::from_secs(60));
    assert_eq!(record.load, Duration::from_millis(12));
    assert_eq!(record.digest, u128::MAX - 1);
    assert_eq!(record.short_digest(), u64::MAX - 1);
    assert_eq!(
        (record.mark, &*record.tags),
        (Some(marks.mark), &[10, 11][..])
    );
    let second = Duration::from_secs(1);
    assert_eq!(record.fresh_for(record.created + 59_000), Some(second));
    assert_eq!(record.fresh_for(record.created + 60_000), None);
    let layout = layout_of::<u8>();
    assert_eq!(record.value(layout.as_ref()), Ok(json!(42)));
    let text = serde_json::to_string(&record).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Record>(&text).expect("a record"),
        record
    );
    bytes[90] ^= 1;
    assert_eq!(Record::read(&bytes), Err(DamagedRecord));
}

/// An older version leaves fields out, and a newer one adds some.
#[test]
fn state_that_another_version_published_is_read() {
    let function: PublishedFunction = serde_json::from_value(json!({
        "name": "f", "version": 1, "tiers": [{"level": "l2", "later": 1}], "later": {},
    }))
    .expect("a function");
    assert_eq!((function.tiers.len(), &*function.template), (1, ""));
    let instance: PublishedInstance = serde_json::from_value(json!({
        "id": "a-1", "name": "a", "number": 1, "later": [],
        "snapshot": {"tiers": [], "functions": [{"name": "f", "version": 1, "later": 2}]},
    }))
    .expect("an instance");
    assert_eq!(instance.snapshot.functions[0].loads, 0);
    let layout: Layout = serde_json::from_value(json!({"value": "u8", "later": 1})).expect("one");
    assert_eq!(layout.value, Part::U8);
}
