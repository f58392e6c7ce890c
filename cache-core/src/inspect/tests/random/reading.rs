//! Types at random, as serde reads them.

use std::fmt;

use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::model::{Body, CURRENT, Kind, Random, Schema, Shape, Val};

/// Asks for the parts of a kind, or of a body. The value is not looked at: the tracer makes it up.
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
