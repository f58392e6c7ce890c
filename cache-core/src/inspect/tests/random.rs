//! Types and values at random, which serde writes and the decoder reads.
//!
//! A type is described by data, and a value of [`Random`] asks serde for what the current
//! description says. So each case is another type to the tracer.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use fastrand::Rng;
use proptest::prelude::*;
use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::check_codecs;
use crate::codec::TracedType;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Schema>>> = const { RefCell::new(None) };
}

/// A type.
#[derive(Debug)]
struct Schema {
    value: Kind,
    types: Vec<(&'static str, Shape)>,
}

#[derive(Clone, Debug)]
enum Kind {
    Scalar(&'static str),
    UnitStruct(&'static str),
    Option(Box<Self>),
    Seq(Box<Self>),
    Map(Box<(Self, Self)>),
    Tuple(Vec<Self>),
    Named(usize),
}

#[derive(Clone, Debug)]
enum Shape {
    Struct(Body),
    Enum(&'static [&'static str], Vec<Body>),
}

#[derive(Clone, Debug)]
enum Body {
    Unit,
    Newtype(Kind),
    Tuple(Vec<Kind>),
    Struct(&'static [&'static str], Vec<Kind>),
}

/// A value of a type.
#[derive(Clone, Debug)]
enum Val {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f32),
    Text(String),
    Bytes(Vec<u8>),
    Unit,
    Option(Option<Box<Self>>),
    List(Vec<Self>),
    Entries(Vec<(Self, Self)>),
    Variant(usize, Box<Self>),
}

/// A value of the current type.
struct Random(Val);

const SCALARS: [&str; 17] = [
    "bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64", "char", "str",
    "bytes", "unit", "i128", "u128",
];

/// The scalars that can be keys of a map.
const KEYS: [&str; 11] = [
    "bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "char", "str",
];

/// The scalars that MessagePack writes as JSON does.
const PLAIN: usize = 15;

/// Names that live as long as the process, as those of a program do.
fn names(prefix: &str, count: usize) -> &'static [&'static str] {
    let names = (0..count).map(|at| &*Box::leak(format!("{prefix}_{at}").into_boxed_str()));
    names.collect::<Vec<_>>().leak()
}

struct Maker {
    rng: Rng,
    /// Set if only those kinds are made that MessagePack and JSON write alike.
    is_plain: bool,
    types: Vec<(&'static str, Shape)>,
    /// The types that are being made.
    open: Vec<usize>,
}

impl Maker {
    fn schema(seed: u64, is_plain: bool) -> Schema {
        let mut maker = Self {
            rng: Rng::with_seed(seed),
            is_plain,
            types: Vec::new(),
            open: Vec::new(),
        };
        let value = maker.kind(4);
        let types = maker.types;
        Schema { value, types }
    }

    fn scalar(&mut self) -> Kind {
        let count = if self.is_plain { PLAIN } else { SCALARS.len() };
        Kind::Scalar(SCALARS[self.rng.usize(..count)])
    }

    fn kind(&mut self, depth: u32) -> Kind {
        if depth == 0 {
            return self.scalar();
        }
        let below = depth - 1;
        match self.rng.u32(..14) {
            0..=2 => self.scalar(),
            3 => Kind::Option(self.kind(below).into()),
            4 => Kind::Seq(self.kind(below).into()),
            5 => Kind::Map(Box::new((self.key(), self.kind(below)))),
            6 => Kind::Tuple(self.kinds(below)),
            7 if !self.is_plain => Kind::UnitStruct("Marker"),
            8 if !self.open.is_empty() => {
                let again = self.open[self.rng.usize(..self.open.len())];
                match self.rng.bool() {
                    true => Kind::Option(Kind::Named(again).into()),
                    false => Kind::Seq(Kind::Named(again).into()),
                }
            }
            9 if !self.types.is_empty() => {
                // A type that is complete, for the second time.
                let known = self.rng.usize(..self.types.len());
                match self.open.contains(&known) {
                    true => self.scalar(),
                    false => Kind::Named(known),
                }
            }
            _ => self.named(below),
        }
    }

    fn key(&mut self) -> Kind {
        Kind::Scalar(KEYS[self.rng.usize(..KEYS.len())])
    }

    fn kinds(&mut self, depth: u32) -> Vec<Kind> {
        (0..self.rng.usize(1..4))
            .map(|_| self.kind(depth))
            .collect()
    }

    fn named(&mut self, depth: u32) -> Kind {
        let at = self.types.len();
        let name = names(&format!("Type{at}"), 1)[0];
        self.types.push((name, Shape::Struct(Body::Unit)));
        self.open.push(at);
        let shape = match self.rng.bool() {
            true => Shape::Struct(loop {
                // A struct without members is a kind of its own.
                match self.body(depth) {
                    Body::Unit => {}
                    body => break body,
                }
            }),
            false => {
                let count = self.rng.usize(1..5);
                // The first has no members, so that a type which holds itself has an end.
                let rest = (1..count).map(|_| self.body(depth));
                let bodies = std::iter::once(Body::Unit).chain(rest).collect();
                Shape::Enum(names(&format!("Variant{at}"), count), bodies)
            }
        };
        self.types[at].1 = shape;
        self.open.pop();
        Kind::Named(at)
    }

    fn body(&mut self, depth: u32) -> Body {
        match self.rng.u32(..4) {
            0 => Body::Unit,
            1 => Body::Newtype(self.kind(depth)),
            2 => {
                let mut kinds = self.kinds(depth);
                kinds.push(self.scalar());
                Body::Tuple(kinds)
            }
            _ => {
                let kinds = self.kinds(depth);
                Body::Struct(names("field", kinds.len()), kinds)
            }
        }
    }
}

/// Makes values of a type.
struct Filler<'s> {
    rng: Rng,
    schema: &'s Schema,
    /// How many values may still be made: a type that holds itself could go on.
    left: u32,
}

impl Filler<'_> {
    fn value(&mut self, kind: &Kind) -> Val {
        self.left = self.left.saturating_sub(1);
        let is_short = self.left == 0;
        match kind {
            Kind::Scalar(name) => self.scalar(name),
            Kind::UnitStruct(_) => Val::Unit,
            Kind::Option(some) => Val::Option(match self.rng.bool() && !is_short {
                true => Some(self.value(some).into()),
                false => None,
            }),
            Kind::Seq(element) => Val::List(self.list(element, is_short)),
            Kind::Map(entry) => {
                let keys = self.list(&entry.0, is_short);
                let entries = keys.into_iter().map(|key| (key, self.value(&entry.1)));
                Val::Entries(entries.collect())
            }
            Kind::Tuple(kinds) => self.all(kinds),
            Kind::Named(at) => match &self.schema.types[*at].1 {
                Shape::Struct(body) => self.body(body),
                Shape::Enum(_, bodies) => {
                    let count = if is_short { 1 } else { bodies.len() };
                    let variant = self.rng.usize(..count);
                    Val::Variant(variant, self.body(&bodies[variant]).into())
                }
            },
        }
    }

    fn list(&mut self, element: &Kind, is_short: bool) -> Vec<Val> {
        let count = if is_short { 0 } else { self.rng.usize(..4) };
        (0..count).map(|_| self.value(element)).collect()
    }

    fn all(&mut self, kinds: &[Kind]) -> Val {
        Val::List(kinds.iter().map(|kind| self.value(kind)).collect())
    }

    fn body(&mut self, body: &Body) -> Val {
        match body {
            Body::Unit => Val::Unit,
            Body::Newtype(kind) => self.value(kind),
            Body::Tuple(kinds) | Body::Struct(_, kinds) => self.all(kinds),
        }
    }

    fn scalar(&mut self, name: &str) -> Val {
        // Numbers of all lengths, and the ends of the ranges.
        let bits = self.rng.u64(..) >> self.rng.u32(..64);
        let bits = [bits, u64::MAX, 0][usize::from(self.rng.u8(..20) / 18)];
        match name {
            "bool" => Val::Bool(bits & 1 == 1),
            "i8" => Val::Signed((bits as i8).into()),
            "i16" => Val::Signed((bits as i16).into()),
            "i32" => Val::Signed((bits as i32).into()),
            "i64" | "i128" => Val::Signed(bits as i64),
            "u8" => Val::Unsigned((bits as u8).into()),
            "u16" => Val::Unsigned((bits as u16).into()),
            "u32" => Val::Unsigned((bits as u32).into()),
            "u64" | "u128" => Val::Unsigned(bits),
            // Exact in either width, and as a text.
            "f32" | "f64" => Val::Float(f32::from(bits as i16) / 4.0),
            "char" => Val::Text(self.rng.char(..).to_string()),
            "str" => Val::Text(
                (0..self.rng.usize(..5))
                    .map(|_| self.rng.char(..))
                    .collect(),
            ),
            "bytes" => Val::Bytes(bits.to_be_bytes()[..self.rng.usize(..8)].to_vec()),
            _ => Val::Unit,
        }
    }
}

/// A value with its type.
#[derive(Clone, Copy)]
struct Typed<'a>(&'a Schema, &'a Kind, &'a Val);

impl Typed<'_> {
    fn each<'a>(&self, kinds: &'a [Kind], val: &'a Val) -> impl Iterator<Item = Typed<'a>>
    where
        Self: 'a,
    {
        let Val::List(vals) = val else {
            panic!("{val:?}")
        };
        let schema = self.0;
        // The schema lives as long as the value.
        kinds
            .iter()
            .zip(vals)
            .map(move |(kind, val)| Typed(schema, kind, val))
    }
}

impl Serialize for Random {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let schema = CURRENT.with_borrow(Clone::clone).expect("a type");
        Typed(&schema, &schema.value, &self.0).serialize(serializer)
    }
}

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(schema, kind, val) = *self;
        match (kind, val) {
            (Kind::Scalar(name), val) => scalar(name, val, serializer),
            (Kind::UnitStruct(name), _) => serializer.serialize_unit_struct(name),
            (Kind::Option(_), Val::Option(None)) => serializer.serialize_none(),
            (Kind::Option(kind), Val::Option(Some(val))) => {
                serializer.serialize_some(&Typed(schema, kind, val))
            }
            (Kind::Seq(kind), Val::List(vals)) => {
                let mut seq = serializer.serialize_seq(Some(vals.len()))?;
                for val in vals {
                    seq.serialize_element(&Typed(schema, kind, val))?;
                }
                seq.end()
            }
            (Kind::Map(entry), Val::Entries(entries)) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, val) in entries {
                    map.serialize_entry(
                        &Typed(schema, &entry.0, key),
                        &Typed(schema, &entry.1, val),
                    )?;
                }
                map.end()
            }
            (Kind::Tuple(kinds), val) => {
                let mut tuple = serializer.serialize_tuple(kinds.len())?;
                for element in self.each(kinds, val) {
                    tuple.serialize_element(&element)?;
                }
                tuple.end()
            }
            (Kind::Named(at), val) => match (&schema.types[*at], val) {
                ((name, Shape::Struct(body)), val) => self.structure(name, body, val, serializer),
                ((name, Shape::Enum(names, bodies)), Val::Variant(variant, val)) => {
                    let variant = (*variant as u32, names[*variant], &bodies[*variant]);
                    self.variant(name, variant, val, serializer)
                }
                (named, val) => panic!("{named:?}: {val:?}"),
            },
            (kind, val) => panic!("{kind:?}: {val:?}"),
        }
    }
}

impl Typed<'_> {
    fn structure<S: Serializer>(
        &self,
        name: &'static str,
        body: &Body,
        val: &Val,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match body {
            Body::Unit => serializer.serialize_unit_struct(name),
            Body::Newtype(kind) => {
                serializer.serialize_newtype_struct(name, &Typed(self.0, kind, val))
            }
            Body::Tuple(kinds) => {
                let mut tuple = serializer.serialize_tuple_struct(name, kinds.len())?;
                for element in self.each(kinds, val) {
                    tuple.serialize_field(&element)?;
                }
                tuple.end()
            }
            Body::Struct(fields, kinds) => {
                let mut members = serializer.serialize_struct(name, kinds.len())?;
                for (field, element) in fields.iter().zip(self.each(kinds, val)) {
                    members.serialize_field(field, &element)?;
                }
                members.end()
            }
        }
    }

    fn variant<S: Serializer>(
        &self,
        name: &'static str,
        (at, variant, body): (u32, &'static str, &Body),
        val: &Val,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match body {
            Body::Unit => serializer.serialize_unit_variant(name, at, variant),
            Body::Newtype(kind) => {
                let val = Typed(self.0, kind, val);
                serializer.serialize_newtype_variant(name, at, variant, &val)
            }
            Body::Tuple(kinds) => {
                let mut tuple =
                    serializer.serialize_tuple_variant(name, at, variant, kinds.len())?;
                for element in self.each(kinds, val) {
                    tuple.serialize_field(&element)?;
                }
                tuple.end()
            }
            Body::Struct(fields, kinds) => {
                let mut members =
                    serializer.serialize_struct_variant(name, at, variant, kinds.len())?;
                for (field, element) in fields.iter().zip(self.each(kinds, val)) {
                    members.serialize_field(field, &element)?;
                }
                members.end()
            }
        }
    }
}

fn scalar<S: Serializer>(name: &str, val: &Val, serializer: S) -> Result<S::Ok, S::Error> {
    match (name, val) {
        ("bool", Val::Bool(val)) => serializer.serialize_bool(*val),
        ("i8", Val::Signed(val)) => serializer.serialize_i8(*val as i8),
        ("i16", Val::Signed(val)) => serializer.serialize_i16(*val as i16),
        ("i32", Val::Signed(val)) => serializer.serialize_i32(*val as i32),
        ("i64", Val::Signed(val)) => serializer.serialize_i64(*val),
        ("i128", Val::Signed(val)) => serializer.serialize_i128((*val).into()),
        ("u8", Val::Unsigned(val)) => serializer.serialize_u8(*val as u8),
        ("u16", Val::Unsigned(val)) => serializer.serialize_u16(*val as u16),
        ("u32", Val::Unsigned(val)) => serializer.serialize_u32(*val as u32),
        ("u64", Val::Unsigned(val)) => serializer.serialize_u64(*val),
        ("u128", Val::Unsigned(val)) => serializer.serialize_u128((*val).into()),
        ("f32", Val::Float(val)) => serializer.serialize_f32(*val),
        ("f64", Val::Float(val)) => serializer.serialize_f64((*val).into()),
        ("char", Val::Text(val)) => serializer.serialize_char(val.chars().next().expect("one")),
        ("str", Val::Text(val)) => serializer.serialize_str(val),
        ("bytes", Val::Bytes(val)) => serializer.serialize_bytes(val),
        ("unit", Val::Unit) => serializer.serialize_unit(),
        _ => panic!("{name}: {val:?}"),
    }
}

/// Reads what a kind, or a body, says. The value is not looked at: the tracer makes it up.
#[derive(Clone, Copy)]
struct Reading<'a>(&'a Schema, What<'a>);

#[derive(Clone, Copy)]
enum What<'a> {
    Kind(&'a Kind),
    Elements(&'a [Kind]),
    Enum(&'a [Body]),
}

impl<'de> Deserialize<'de> for Random {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let schema = CURRENT.with_borrow(Clone::clone).expect("a type");
        Reading(&schema, What::Kind(&schema.value)).deserialize(deserializer)?;
        Ok(Self(Val::Unit))
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Val;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Val, D::Error> {
        let Self(schema, What::Kind(kind)) = self else {
            panic!("a kind is read")
        };
        let elements = |kinds| Reading(schema, What::Elements(kinds));
        match kind {
            Kind::Scalar("bool") => deserializer.deserialize_bool(self),
            Kind::Scalar("i8") => deserializer.deserialize_i8(self),
            Kind::Scalar("i16") => deserializer.deserialize_i16(self),
            Kind::Scalar("i32") => deserializer.deserialize_i32(self),
            Kind::Scalar("i64") => deserializer.deserialize_i64(self),
            Kind::Scalar("i128") => deserializer.deserialize_i128(self),
            Kind::Scalar("u8") => deserializer.deserialize_u8(self),
            Kind::Scalar("u16") => deserializer.deserialize_u16(self),
            Kind::Scalar("u32") => deserializer.deserialize_u32(self),
            Kind::Scalar("u64") => deserializer.deserialize_u64(self),
            Kind::Scalar("u128") => deserializer.deserialize_u128(self),
            Kind::Scalar("f32") => deserializer.deserialize_f32(self),
            Kind::Scalar("f64") => deserializer.deserialize_f64(self),
            Kind::Scalar("char") => deserializer.deserialize_char(self),
            Kind::Scalar("str") => deserializer.deserialize_string(self),
            Kind::Scalar("bytes") => deserializer.deserialize_byte_buf(self),
            Kind::Scalar(_) => deserializer.deserialize_unit(self),
            Kind::UnitStruct(name) => deserializer.deserialize_unit_struct(name, self),
            Kind::Option(_) => deserializer.deserialize_option(self),
            Kind::Seq(_) => deserializer.deserialize_seq(self),
            Kind::Map(_) => deserializer.deserialize_map(self),
            Kind::Tuple(kinds) => deserializer.deserialize_tuple(kinds.len(), elements(kinds)),
            Kind::Named(at) => match &schema.types[*at] {
                (name, Shape::Struct(Body::Unit)) => {
                    deserializer.deserialize_unit_struct(name, self)
                }
                (name, Shape::Struct(Body::Newtype(kind))) => {
                    let inner = Reading(schema, What::Kind(kind));
                    deserializer.deserialize_newtype_struct(name, inner)
                }
                (name, Shape::Struct(Body::Tuple(kinds))) => {
                    deserializer.deserialize_tuple_struct(name, kinds.len(), elements(kinds))
                }
                (name, Shape::Struct(Body::Struct(fields, kinds))) => {
                    deserializer.deserialize_struct(name, fields, elements(kinds))
                }
                (name, Shape::Enum(names, bodies)) => {
                    let variants = Reading(schema, What::Enum(bodies));
                    deserializer.deserialize_enum(name, names, variants)
                }
            },
        }
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Val;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the type")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Val, E> {
        Ok(Val::Unit)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Val, E> {
        Ok(Val::Unit)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Val, E> {
        Ok(Val::Unit)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Val, E> {
        Ok(Val::Unit)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Val, E> {
        Ok(Val::Unit)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Val, E> {
        Ok(Val::Unit)
    }

    fn visit_str<E>(self, _: &str) -> Result<Val, E> {
        Ok(Val::Unit)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Val, E> {
        Ok(Val::Unit)
    }

    fn visit_unit<E>(self) -> Result<Val, E> {
        Ok(Val::Unit)
    }

    fn visit_none<E>(self) -> Result<Val, E> {
        Ok(Val::Unit)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Val, D::Error> {
        match self {
            Self(schema, What::Kind(Kind::Option(some))) => {
                Reading(schema, What::Kind(some)).deserialize(deserializer)
            }
            _ => panic!("no option"),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Val, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Val, A::Error> {
        match self {
            Self(schema, What::Kind(Kind::Seq(element))) => {
                while seq
                    .next_element_seed(Reading(schema, What::Kind(element)))?
                    .is_some()
                {}
            }
            Self(schema, What::Elements(kinds)) => {
                for kind in kinds {
                    let element = seq.next_element_seed(Reading(schema, What::Kind(kind)))?;
                    element.ok_or_else(|| de::Error::custom("too short"))?;
                }
            }
            _ => panic!("no sequence"),
        }
        Ok(Val::Unit)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Val, A::Error> {
        let Self(schema, What::Kind(Kind::Map(entry))) = self else {
            panic!("no map")
        };
        while map
            .next_key_seed(Reading(schema, What::Kind(&entry.0)))?
            .is_some()
        {
            map.next_value_seed(Reading(schema, What::Kind(&entry.1)))?;
        }
        Ok(Val::Unit)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Val, A::Error> {
        let Self(schema, What::Enum(bodies)) = self else {
            panic!("no enum")
        };
        let (at, variant) = data.variant::<u32>()?;
        let body = bodies.get(at as usize);
        match body.ok_or_else(|| de::Error::custom("no such variant"))? {
            Body::Unit => variant.unit_variant().map(|()| Val::Unit),
            Body::Newtype(kind) => variant.newtype_variant_seed(Reading(schema, What::Kind(kind))),
            Body::Tuple(kinds) => {
                variant.tuple_variant(kinds.len(), Reading(schema, What::Elements(kinds)))
            }
            Body::Struct(fields, kinds) => {
                variant.struct_variant(fields, Reading(schema, What::Elements(kinds)))
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_value_of_a_random_type_is_decoded_as_serde_json_shows_it(
        seed in any::<u64>(),
        is_plain in any::<bool>(),
    ) {
        let schema = Rc::new(Maker::schema(seed, is_plain));
        CURRENT.set(Some(Rc::clone(&schema)));
        let traced = TracedType::of::<Random>();
        prop_assert!(traced.shape().traced, "{schema:#?}");
        let layout = traced.layout();
        let layout = layout.ok_or_else(|| TestCaseError::fail(format!("{schema:#?}")))?;
        let mut filler = Filler {
            rng: Rng::with_seed(seed ^ 1),
            schema: &schema,
            left: 60,
        };
        for _ in 0..4 {
            filler.left = 60;
            let value = Random(filler.value(&schema.value));
            check_codecs(&value, &layout, is_plain);
        }
    }
}
