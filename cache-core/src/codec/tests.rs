use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Deserialize;

use super::*;

#[derive(Clone, Serialize, Deserialize)]
struct Plain {
    id: u64,
    name: String,
}

mod swapped {
    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its shape is read")]
    pub(super) struct Plain {
        name: String,
        id: u64,
    }
}

mod retyped {
    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its shape is read")]
    pub(super) struct Plain {
        id: u32,
        name: String,
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is read")]
enum Tree {
    Node(Box<Self>, Box<Self>),
    Leaf(Inner),
    Empty,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is read")]
enum Inner {
    One(Plain),
    Two {
        left: Option<Box<Tree>>,
        right: Vec<Self>,
    },
    Three,
}

mod deeper {
    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its shape is read")]
    pub(super) enum Tree {
        Node(Box<Self>, Box<Self>),
        Leaf(Inner),
        Empty,
    }

    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its shape is read")]
    pub(super) enum Inner {
        One(super::Plain),
        Two {
            left: Option<Box<Tree>>,
            right: Vec<Self>,
        },
        Three(u8),
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is read")]
struct Everything {
    plain: Vec<Plain>,
    map: HashMap<String, Option<Plain>>,
    address: IpAddr,
    pair: (u8, [i16; 3]),
    unit: (),
    next: Option<Box<Self>>,
    day: Day,
}

/// Deserializes from a valid date only, as date types do.
struct Day;

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "1970-01-01" => Ok(Self),
            _ => Err(serde::de::Error::custom("no date")),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its shape is read")]
enum Untagged {
    Number(u64),
    Text(String),
}

#[test]
fn shapes_differ_when_fields_are_swapped_or_retyped() {
    let plain = Shape::of::<Plain>();
    assert!(plain.traced);
    assert_eq!(plain, Shape::of::<Plain>());
    assert_ne!(plain, Shape::of::<swapped::Plain>());
    assert_ne!(plain, Shape::of::<retyped::Plain>());
    assert_ne!(
        Shape::of::<Vec<Plain>>(),
        Shape::of::<Vec<swapped::Plain>>()
    );
    assert_ne!(Shape::of::<Option<Plain>>(), plain);
}

#[test]
fn shape_covers_nested_enums_and_recursive_types() {
    let tree = Shape::of::<Tree>();
    assert!(tree.traced);
    assert_ne!(tree, Shape::of::<deeper::Tree>());
    assert!(Shape::of::<Everything>().traced);
    assert!(Shape::of::<BTreeMap<u8, Vec<Inner>>>().traced);
}

#[test]
fn type_that_cannot_be_traced_has_a_shape_by_its_name() {
    assert!(!Shape::of::<Untagged>().traced);
    assert_ne!(Shape::of::<Untagged>(), Shape::of::<Vec<Untagged>>());
}

#[derive(Clone, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<u8>,
    rest: u32,
}

#[derive(Clone, Serialize, Deserialize)]
struct Flattens {
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[track_caller]
fn round_trip<V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static>(
    encoding: &Encoding,
    value: &V,
) -> Result<(), String> {
    let value_type = ValueType::<V>::shared();
    let held = (value_type.hold)(value.clone());
    let mut payload = Vec::new();
    let written = value_type.encode(encoding, &held, &mut payload);
    written.map_err(|error| error.to_string())?;
    check_round_trip(&value_type, encoding, &payload).map_err(|error| error.to_string())
}

#[test]
fn every_codec_reads_back_what_it_wrote_and_refuses_trailing_bytes() {
    let value = HashMap::from([
        (1u8, Some("a".to_owned())),
        (2, None),
        (3, Some("b".to_owned())),
    ]);
    for encoding in ["postcard", "bincode", "msgpack", "json"] {
        let Ok(encoding) = Encodings::builtin().find(encoding) else {
            continue;
        };
        round_trip(&encoding, &value).unwrap();
        let mut payload = Vec::new();
        encoding.encode(&value, &mut payload).unwrap();
        payload.push(b'x');
        assert!(
            encoding
                .decode::<HashMap<u8, Option<String>>>(&payload)
                .is_err(),
            "{encoding} accepts bytes after the value"
        );
    }
}

#[test]
fn type_that_a_codec_cannot_read_back_is_detected() {
    let postcard = Encoding::Postcard;
    assert!(
        round_trip(
            &postcard,
            &Skips {
                note: None,
                rest: 7
            }
        )
        .is_err()
    );
    assert!(
        round_trip(
            &postcard,
            &Flattens {
                rest: BTreeMap::from([("a".into(), 1)])
            }
        )
        .is_err()
    );
    #[cfg(feature = "json")]
    round_trip(
        &Encoding::Json,
        &Skips {
            note: None,
            rest: 7,
        },
    )
    .unwrap();
}

#[cfg(feature = "custom-codec")]
mod custom {
    use std::sync::Arc;

    use super::*;

    #[derive(Debug)]
    struct Mine(u8);

    impl Codec for Mine {
        fn name(&self) -> &'static str {
            "mine"
        }

        fn id(&self) -> u8 {
            self.0
        }

        fn encode(
            &self,
            value: &dyn erased_serde::Serialize,
            out: &mut Vec<u8>,
        ) -> Result<(), CodecError> {
            out.extend(postcard::to_stdvec(value)?);
            Ok(())
        }

        fn decode(&self, bytes: &[u8], decode: Decode<'_>) -> Result<(), CodecError> {
            let mut deserializer = postcard::Deserializer::from_bytes(bytes);
            decode(&mut <dyn erased_serde::Deserializer<'_>>::erase(
                &mut deserializer,
            ))?;
            Ok(())
        }
    }

    #[test]
    fn custom_codec_is_found_by_name_and_cannot_be_added_twice() {
        let mut encodings = Encodings::builtin();
        assert!(encodings.add(Arc::new(Mine(1))).is_err());
        encodings.add(Arc::new(Mine(200))).unwrap();
        assert!(encodings.add(Arc::new(Mine(200))).is_err());
        let mine = encodings.find("mine").unwrap();
        round_trip(
            &mine,
            &Plain {
                id: 1,
                name: "a".into(),
            },
        )
        .unwrap();
        let unknown = encodings.find("yours").unwrap_err().to_string();
        assert!(
            unknown.contains("yours") && unknown.contains("postcard"),
            "{unknown}"
        );
    }
}

/// If the first field is left out, a codec without field names reads the bytes of the rest as that
/// field: the bytes decode, to another value.
#[derive(Clone, Serialize, Deserialize)]
struct SkipsAhead {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<u8>,
    c: Vec<(u8, u8)>,
}

#[test]
fn skipped_field_is_detected_in_any_element() {
    let skips = ValueType::<Vec<SkipsAhead>>::shared()
        .records
        .unwrap()
        .skips;
    assert!(!skips(&vec![SkipsAhead {
        a: Some(1),
        c: vec![]
    }]));
    assert!(skips(&vec![
        SkipsAhead {
            a: Some(1),
            c: vec![]
        },
        SkipsAhead {
            a: None,
            c: vec![(5, 0)]
        }
    ]));
}

#[derive(Deserialize)]
#[serde(from = "String")]
struct Panics;

impl From<String> for Panics {
    fn from(text: String) -> Self {
        text.strip_prefix("id-").expect("an id");
        Self
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is read")]
enum Wide {
    Leaf,
    A(Box<Self>, Box<Self>),
    B(Box<Self>, Box<Self>),
    C(Box<Self>, Box<Self>),
    D(Box<Self>, Box<Self>),
    E(Box<Self>, Box<Self>),
    F(Box<Self>, Box<Self>),
    G(Box<Self>, Box<Self>),
    H(Box<Self>, Box<Self>),
    I(Box<Self>, Box<Self>),
    J(Box<Self>, Box<Self>),
    K(Box<Self>, Box<Self>),
    L(Box<Self>, Box<Self>),
    M(Box<Self>, Box<Self>),
    N(Box<Self>, Box<Self>),
    O(Box<Self>, Box<Self>),
    P(Box<Self>, Box<Self>),
    Q(Box<Self>, Box<Self>),
    R(Box<Self>, Box<Self>),
    S(Box<Self>, Box<Self>),
    T(Box<Self>, Box<Self>),
}

#[test]
fn type_whose_tracing_panics_or_branches_too_far_has_a_shape_by_its_name() {
    assert!(!Shape::of::<Panics>().traced);
    assert!(!Shape::of::<Wide>().traced);
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is read")]
struct Envelope<T> {
    inner: T,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is read")]
struct Batch<T> {
    items: Vec<Envelope<T>>,
}

mod pair {
    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its shape is read")]
    pub(super) struct Pair<A, B> {
        pub(super) a: A,
        pub(super) b: B,
    }
}

/// The tracer must not take an instance for another one of the same generic type, whose name is the
/// same.
#[test]
fn instances_of_a_generic_type_have_different_shapes_at_any_depth() {
    use pair::Pair;
    type Mail<T> = Envelope<Batch<T>>;
    assert!(Shape::of::<Mail<Plain>>().traced);
    assert_ne!(
        Shape::of::<Mail<Plain>>(),
        Shape::of::<Mail<swapped::Plain>>()
    );
    assert_ne!(
        Shape::of::<Envelope<Envelope<u8>>>(),
        Shape::of::<Envelope<Envelope<u16>>>()
    );
    assert_ne!(
        Shape::of::<Pair<Envelope<u64>, Envelope<i64>>>(),
        Shape::of::<Pair<Envelope<i64>, Envelope<u64>>>()
    );
}

/// The module path of a type is not part of its shape.
#[test]
fn type_that_moved_to_another_module_has_the_same_shape() {
    mod elsewhere {
        #[derive(serde::Deserialize)]
        #[expect(dead_code, reason = "only its shape is read")]
        pub(super) struct Plain {
            id: u64,
            name: String,
        }
    }
    assert_eq!(Shape::of::<Plain>(), Shape::of::<elsewhere::Plain>());
}
