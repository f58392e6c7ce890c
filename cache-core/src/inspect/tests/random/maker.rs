//! Makes types and values at random.

use fastrand::Rng;

use super::model::{Body, Kind, Schema, Shape, Val};

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

pub(super) struct Maker {
    rng: Rng,
    /// Set if only those kinds are made that MessagePack and JSON write alike.
    is_plain: bool,
    types: Vec<(&'static str, Shape)>,
    /// The types that are being made.
    open: Vec<usize>,
}

impl Maker {
    pub(super) fn schema(seed: u64, is_plain: bool) -> Schema {
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
pub(super) struct Filler<'s> {
    pub(super) rng: Rng,
    pub(super) schema: &'s Schema,
    /// How many values may still be made: a type that holds itself could go on.
    pub(super) left: u32,
}

impl Filler<'_> {
    pub(super) fn value(&mut self, kind: &Kind) -> Val {
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
