//! The shape of a value type: a fingerprint of what serde reads, traced without a value.
//!
//! A [`Tracer`] plays a deserializer that has no bytes: it notes every question the type asks (the names of structs,
//! fields and variants, the kinds of numbers, nested) and answers with made-up values, so that the type goes on asking.
//! An enum is traced once per variant; a type inside itself ends at its second appearance. A type that refuses a made-up
//! text (a date, an address) is offered others. What cannot be traced this way (`untagged`, `flatten`, values that
//! describe themselves) falls back on the name of the type.

mod tracer;

use std::any::type_name;
use std::fmt;
use std::panic::catch_unwind;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Visitor};
use xxhash_rust::xxh3::xxh3_64;

use self::tracer::{Named, Tracer};

/// What the header of a record says of the value type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) fingerprint: u64,
    /// Whether serde was followed to the end; else the fingerprint is of the type's name.
    pub(crate) traced: bool,
}

impl Shape {
    pub(crate) fn of<V: DeserializeOwned>() -> Self {
        Self::traced(type_name::<V>(), read::<V>)
    }

    /// The shape of the type of that name. `read` reads a value of it.
    fn traced(name: &str, read: fn(Node<'_>) -> Result<(), Stop>) -> Self {
        // A type may panic over a made-up text; that must not be the caller's panic.
        match catch_unwind(|| trace(read)).ok().flatten() {
            Some(description) => Self {
                fingerprint: xxh3_64(description.as_bytes()),
                traced: true,
            },
            None => Self::of_name(name),
        }
    }

    /// The shape of a type that is known by its name alone.
    pub(crate) fn of_name(name: &str) -> Self {
        Self {
            fingerprint: xxh3_64(name.as_bytes()),
            traced: false,
        }
    }
}

/// A run that goes deeper, or a type that needs more runs, is given up: tracing happens on a caller's path, once.
const DEEPEST: usize = 96;
const MOST_RUNS: usize = 2_048;
/// Structs and enums described in all, in all runs: a type that branches at every level would take for ever.
const MOST_DESCRIBED: usize = 20_000;

fn read<V: DeserializeOwned>(node: Node<'_>) -> Result<(), Stop> {
    V::deserialize(node)?;
    Ok(())
}

/// The description of a type, the same for every run of every build that sees the same type.
fn trace(read: fn(Node<'_>) -> Result<(), Stop>) -> Option<String> {
    let mut tracer = Tracer::default();
    for _ in 0..MOST_RUNS {
        tracer.begin();
        match read(Node {
            tracer: &mut tracer,
            silent: false,
        }) {
            Ok(()) => {
                if tracer.end() {
                    return Some(tracer.description());
                }
            }
            Err(Stop::Unsupported) => return None,
            Err(Stop::Refused) => {
                if !tracer.offer_another_text() {
                    return None;
                }
            }
        }
    }
    None
}

/// Why a run ended before its value was complete.
#[derive(Debug)]
enum Stop {
    /// The type asks what the bytes are, and there are none.
    Unsupported,
    /// The type did not like a made-up value.
    Refused,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shape cannot be traced")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Refused
    }
}

/// One question. `silent` where the answer is only there to finish a value of a type that is being described already.
struct Node<'t> {
    tracer: &'t mut Tracer,
    silent: bool,
}

impl Node<'_> {
    fn note(&mut self, what: &str) {
        if !self.silent {
            self.tracer.note(what);
        }
    }
}

/// A struct, or one variant of an enum, that is being described.
struct Description<'t> {
    tracer: &'t mut Tracer,
    named: Named,
    /// Whether the part around it is noted.
    is_named: bool,
    /// Whether its own parts are noted.
    is_noted: bool,
}

impl<'t> Node<'t> {
    /// Begins a description under that heading.
    fn describe(self, named: Named, head: &str) -> Result<Description<'t>, Stop> {
        let tracer = self.tracer;
        tracer.depth += 1;
        tracer.described += 1;
        if tracer.depth > DEEPEST || tracer.described > MOST_DESCRIBED {
            return Err(Stop::Unsupported);
        }
        let is_named = !self.silent;
        let is_noted = is_named && tracer.enter(named);
        if is_noted {
            tracer.writing.push(format!("{head} "));
        }
        Ok(Description {
            tracer,
            named,
            is_named,
            is_noted,
        })
    }
}

impl Description<'_> {
    fn node(&mut self) -> Node<'_> {
        Node {
            tracer: self.tracer,
            silent: !self.is_noted,
        }
    }

    fn elements(&mut self, left: usize) -> Elements<'_> {
        Elements {
            node: self.node(),
            left,
        }
    }

    /// Keeps what was noted.
    fn end(self) {
        let tracer = self.tracer;
        if self.is_noted
            && let Some(noted) = tracer.writing.pop()
        {
            let number = tracer.number(self.named);
            tracer.keep(number, noted);
        }
        if self.is_named {
            tracer.inside.pop();
        }
        tracer.depth -= 1;
    }
}

macro_rules! scalars {
    ($($method:ident => $visit:ident($($value:expr)?), $name:literal;)*) => {
        $(
            fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
                self.note($name);
                visitor.$visit($($value)?)
            }
        )*
    };
}

impl<'de> de::Deserializer<'de> for Node<'_> {
    type Error = Stop;

    scalars! {
        deserialize_bool => visit_bool(false), "bool";
        deserialize_i8 => visit_i8(1), "i8";
        deserialize_i16 => visit_i16(1), "i16";
        deserialize_i32 => visit_i32(1), "i32";
        deserialize_i64 => visit_i64(1), "i64";
        deserialize_i128 => visit_i128(1), "i128";
        deserialize_u8 => visit_u8(1), "u8";
        deserialize_u16 => visit_u16(1), "u16";
        deserialize_u32 => visit_u32(1), "u32";
        deserialize_u64 => visit_u64(1), "u64";
        deserialize_u128 => visit_u128(1), "u128";
        deserialize_f32 => visit_f32(1.0), "f32";
        deserialize_f64 => visit_f64(1.0), "f64";
        deserialize_char => visit_char('a'), "char";
        deserialize_unit => visit_unit(), "unit";
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::Unsupported)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::Unsupported)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::Unsupported)
    }

    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.note("str");
        visitor.visit_str(self.tracer.next_text())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.note("bytes");
        // Sixteen bytes are what a UUID asks for; a type that takes any number takes them too.
        visitor.visit_bytes(&[0; 16])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.note("option");
        // Without this a list linked through `Option<Box<Self>>` would never end.
        if self.silent {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.note(name);
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let named = (type_name::<V::Value>(), name, &["0"][..]);
        let mut description = self.describe(named, "newtype")?;
        let value = visitor.visit_newtype_struct(description.node())?;
        description.end();
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.note("seq");
        let left = usize::from(!self.silent);
        visitor.visit_seq(Elements { node: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        mut self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.note(&format!("tuple{len}"));
        visitor.visit_seq(Elements {
            node: self,
            left: len,
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let named = (type_name::<V::Value>(), name, &["0", "1"][..]);
        let mut description = self.describe(named, &format!("tuple{len}"))?;
        let value = visitor.visit_seq(description.elements(len))?;
        description.end();
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.note("map");
        let left = usize::from(!self.silent);
        visitor.visit_map(Elements { node: self, left })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let mut description = self.describe((type_name::<V::Value>(), name, fields), "struct")?;
        let value = visitor.visit_seq(description.elements(fields.len()))?;
        description.end();
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let named = (type_name::<V::Value>(), name, variants);
        // Inside itself an enum shows each variant in turn until one ends: the first may hold the enum again.
        let index = if self.silent || self.tracer.inside.contains(&named) {
            self.tracer.depth % variants.len().max(1)
        } else {
            self.tracer.meet(named) % variants.len().max(1)
        };
        let head = variants.get(index).copied().unwrap_or("none");
        let mut description = self.describe(named, head)?;
        let node = description.node();
        let value = visitor.visit_enum(Variant { node, index })?;
        description.end();
        Ok(value)
    }
}

struct Elements<'t> {
    node: Node<'t>,
    left: usize,
}

impl<'t> Elements<'t> {
    fn next(&mut self) -> Option<Node<'_>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.again())
    }

    fn again(&mut self) -> Node<'_> {
        Node {
            tracer: self.node.tracer,
            silent: self.node.silent,
        }
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        self.next().map(|node| seed.deserialize(node)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_> {
    type Error = Stop;

    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        self.next().map(|node| seed.deserialize(node)).transpose()
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(self.again())
    }
}

struct Variant<'t> {
    node: Node<'t>,
    index: usize,
}

impl<'de, 't> de::EnumAccess<'de> for Variant<'t> {
    type Error = Stop;
    type Variant = Node<'t>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Node<'t>), Stop> {
        let index = u32::try_from(self.index).unwrap_or(u32::MAX);
        let which = seed.deserialize(de::value::U32Deserializer::<Stop>::new(index))?;
        Ok((which, self.node))
    }
}

impl<'de> de::VariantAccess<'de> for Node<'_> {
    type Error = Stop;

    fn unit_variant(mut self) -> Result<(), Stop> {
        self.note("unit");
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.note(&format!("tuple{len}"));
        visitor.visit_seq(Elements {
            node: self,
            left: len,
        })
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        for field in fields {
            self.note(field);
        }
        visitor.visit_seq(Elements {
            node: self,
            left: fields.len(),
        })
    }
}
