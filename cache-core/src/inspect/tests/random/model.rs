//! Types and values as data.

use std::cell::RefCell;
use std::rc::Rc;

thread_local! {
    /// The type that [`Random`] has now.
    pub(super) static CURRENT: RefCell<Option<Rc<Schema>>> = const { RefCell::new(None) };
}

/// A type.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) value: Kind,
    pub(super) types: Vec<(&'static str, Shape)>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Scalar(&'static str),
    UnitStruct(&'static str),
    Option(Box<Self>),
    Seq(Box<Self>),
    Map(Box<(Self, Self)>),
    Tuple(Vec<Self>),
    Named(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Struct(Body),
    Enum(&'static [&'static str], Vec<Body>),
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Unit,
    Newtype(Kind),
    Tuple(Vec<Kind>),
    Struct(&'static [&'static str], Vec<Kind>),
}

/// A value of a type.
#[derive(Clone, Debug)]
pub(super) enum Val {
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
pub(super) struct Random(pub(super) Val);
