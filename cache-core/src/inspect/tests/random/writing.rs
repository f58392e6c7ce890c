//! Values of types at random, as serde writes them.

use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Serialize, Serializer};

use super::model::{Body, CURRENT, Kind, Random, Schema, Shape, Val};

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
