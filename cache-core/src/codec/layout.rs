//! The layout of a value type: what its records contain, in order, as data that another process
//! can read records by.

use serde::{Deserialize, Serialize};

/// The layout of a value type, by which [`decode`](crate::inspect::decode) reads records of formats that do
/// not describe themselves.
///
/// It is traced from what the type asks serde for when it is read. A type that serde cannot read
/// from such a format has none: `untagged`, internally tagged and flattened types, types with
/// aliases of fields, and types that read whatever the bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Layout {
    /// The value itself.
    pub value: Part,
    /// The structs and enums of the value. A [`Part::Type`] is an index of this list.
    #[serde(default)]
    pub types: Vec<NamedType>,
}

/// The kind of a value, or of a part of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// A `bool`.
    Bool,
    /// An `i8`.
    I8,
    /// An `i16`.
    I16,
    /// An `i32`.
    I32,
    /// An `i64`.
    I64,
    /// An `i128`.
    I128,
    /// A `u8`.
    U8,
    /// A `u16`.
    U16,
    /// A `u32`.
    U32,
    /// A `u64`.
    U64,
    /// A `u128`.
    U128,
    /// An `f32`.
    F32,
    /// An `f64`.
    F64,
    /// A `char`.
    Char,
    /// A text.
    Str,
    /// A byte string that is marked as such.
    Bytes,
    /// A `()`.
    Unit,
    /// A struct without fields, by its name.
    UnitStruct(String),
    /// A value that may be missing.
    Option(Box<Self>),
    /// A sequence of any length.
    Seq(Box<Self>),
    /// A map: the kinds of its keys and of its values.
    Map(Box<(Self, Self)>),
    /// A tuple or an array.
    Tuple(Vec<Self>),
    /// A struct or an enum: its index in [`Layout::types`].
    Type(usize),
}

/// A struct or an enum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NamedType {
    /// Name of the type, as serde knows it: without its module and its parameters.
    pub name: String,
    /// Members of the type.
    pub kind: TypeKind,
}

/// The members of a struct or an enum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TypeKind {
    /// A struct.
    Struct(Members),
    /// An enum: its variants by their numbers.
    Enum(Vec<Variant>),
}

/// A variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Variant {
    /// Name of the variant, as serde knows it.
    pub name: String,
    /// Members of the variant.
    pub members: Members,
}

/// The members of a struct, or of a variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Members {
    /// None.
    Unit,
    /// One without a name. Its bytes are those of the member.
    Newtype(Part),
    /// Several without names.
    Tuple(Vec<Part>),
    /// Members with names.
    Struct(Vec<Field>),
}

/// A field of a struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Field {
    /// Name of the field, as serde knows it.
    pub name: String,
    /// Kind of its value.
    pub part: Part,
}
