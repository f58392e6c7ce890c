//! The draft of a type's [`Layout`](super::layout::Layout): the structure of what the tracer notes.
//!
//! It is drawn beside the text that is the type's description, because that text is ambiguous: the
//! fields of a variant are not marked in it, and it cannot be changed without changing every
//! fingerprint. Without the feature `inspect`, nothing is drawn.

use std::fmt;

/// A step of a run. The tracer passes it to [`Draft::add`] unless it is silent.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(feature = "inspect"),
    expect(dead_code, reason = "nothing is drawn")
)]
pub(super) enum Event<'a> {
    /// A run begins.
    Begin,
    /// A value without parts, by the name of its kind.
    Scalar(&'a str),
    UnitStruct(&'a str),
    /// A value whose parts are entered next.
    Parts(Parts),
    Enter,
    Leave,
    /// A struct or an enum, by its number.
    Type(usize),
    /// The type that was named last is described.
    Open(Heading),
    /// The description of the type of this number ends. The names are those of its members.
    Close(usize, &'static [&'static str]),
    UnitVariant,
    TupleVariant(usize),
    StructVariant(&'static [&'static str]),
}

/// The kind of a value that has parts and no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    Option,
    Seq,
    Map,
    Tuple(usize),
}

impl Parts {
    /// The name in the description of a type. That of a tuple has its length besides.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Option => "option",
            Self::Seq => "seq",
            Self::Map => "map",
            Self::Tuple(_) => "tuple",
        }
    }
}

/// The heading of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heading {
    Struct,
    Newtype,
    Tuple(usize),
    /// A variant of an enum: its number and its name.
    Variant(usize, &'static str),
}

impl fmt::Display for Heading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Struct => f.write_str("struct"),
            Self::Newtype => f.write_str("newtype"),
            Self::Tuple(len) => write!(f, "tuple{len}"),
            Self::Variant(_, name) => f.write_str(name),
        }
    }
}

#[cfg(feature = "inspect")]
pub(super) use self::drawn::Draft;

/// Draws nothing.
#[cfg(not(feature = "inspect"))]
#[derive(Default)]
pub(super) struct Draft;

#[cfg(not(feature = "inspect"))]
#[expect(
    clippy::needless_pass_by_ref_mut,
    reason = "the one that draws needs it"
)]
impl Draft {
    pub(super) fn add(&mut self, _: Event<'_>) {}

    pub(super) fn keep(&mut self) {}
}

#[cfg(feature = "inspect")]
mod drawn {
    use super::{Event, Heading, Parts};
    use crate::codec::layout::{Field, Layout, Members, NamedType, Part, TypeKind, Variant};

    /// The parts of a type that were seen so far.
    #[derive(Default)]
    pub(in crate::codec) struct Draft {
        /// The values that the run is inside of, the innermost last.
        frames: Vec<Frame>,
        /// The value whose parts are entered next.
        next: Option<Parts>,
        /// The types that this run described, by their numbers.
        described: Vec<(usize, Described)>,
        /// The descriptions of completed runs.
        types: Vec<Option<TypeDraft>>,
        value: Option<Part>,
        /// Set if this run has something that no layout can have.
        is_undrawable: bool,
        /// Set if a completed run had it.
        has_none: bool,
    }

    /// A value whose parts are being read.
    struct Frame {
        of: FrameKind,
        parts: Vec<Part>,
    }

    enum FrameKind {
        /// The run itself.
        Run,
        Parts(Parts),
        /// The members of the type or variant around it.
        Members,
        /// A type that is described. The members are those of a variant, once they are known.
        Type(Heading, Option<VariantMembers>),
    }

    #[derive(Clone, Copy)]
    enum VariantMembers {
        Unit,
        Tuple(usize),
        Struct(&'static [&'static str]),
    }

    enum Described {
        Struct(Members),
        /// One variant of as many as there are names.
        Variant(usize, Members, &'static [&'static str]),
    }

    #[derive(PartialEq)]
    enum TypeDraft {
        Struct(Members),
        Enum(&'static [&'static str], Vec<Option<Members>>),
    }

    impl Draft {
        /// Notes a step of the run.
        pub(in crate::codec) fn add(&mut self, event: Event<'_>) {
            match event {
                Event::Begin => self.begin(),
                Event::Scalar(name) => self.add_part(scalar(name)),
                Event::UnitStruct(name) => self.add_part(Some(Part::UnitStruct(name.to_owned()))),
                Event::Type(number) => self.add_part(Some(Part::Type(number))),
                Event::Parts(parts) => self.next = Some(parts),
                Event::Enter => {
                    let of = self
                        .next
                        .take()
                        .map_or(FrameKind::Members, FrameKind::Parts);
                    self.push(of);
                }
                Event::Leave => self.leave(),
                Event::Open(heading) => self.push(FrameKind::Type(heading, None)),
                Event::Close(number, names) => self.close(number, names),
                Event::UnitVariant => self.set_variant(VariantMembers::Unit),
                Event::TupleVariant(len) => self.set_variant(VariantMembers::Tuple(len)),
                Event::StructVariant(names) => self.set_variant(VariantMembers::Struct(names)),
            }
        }

        fn begin(&mut self) {
            self.frames.clear();
            self.push(FrameKind::Run);
            self.next = None;
            self.described.clear();
            self.is_undrawable = false;
        }

        fn push(&mut self, of: FrameKind) {
            let parts = Vec::new();
            self.frames.push(Frame { of, parts });
        }

        fn add_part(&mut self, part: Option<Part>) {
            match (self.frames.last_mut(), part) {
                (Some(frame), Some(part)) => frame.parts.push(part),
                (None, _) | (_, None) => self.is_undrawable = true,
            }
        }

        fn set_variant(&mut self, members: VariantMembers) {
            if let Some(Frame {
                of: FrameKind::Type(_, variant),
                ..
            }) = self.frames.last_mut()
            {
                *variant = Some(members);
            } else {
                self.is_undrawable = true;
            }
        }

        fn leave(&mut self) {
            let Some(Frame { of, parts }) = self.frames.pop() else {
                return;
            };
            match of {
                FrameKind::Parts(kind) => self.add_part(whole(kind, parts)),
                FrameKind::Members => match self.frames.last_mut() {
                    Some(around) => around.parts.extend(parts),
                    None => self.is_undrawable = true,
                },
                FrameKind::Run | FrameKind::Type(..) => self.is_undrawable = true,
            }
        }

        fn close(&mut self, number: usize, names: &'static [&'static str]) {
            let described = match self.frames.pop() {
                Some(Frame {
                    of: FrameKind::Type(heading, variant),
                    parts,
                }) => described(heading, variant, parts, names),
                Some(_) | None => None,
            };
            match described {
                Some(described) => self.described.push((number, described)),
                None => self.is_undrawable = true,
            }
        }

        /// Keeps what this run has noted: it has read a whole value.
        pub(in crate::codec) fn keep(&mut self) {
            let run = self.frames.pop().map(|frame| frame.parts);
            let value = run.and_then(only);
            self.has_none |= self.is_undrawable || value.is_none();
            self.value = value;
            for (number, described) in std::mem::take(&mut self.described) {
                self.has_none |= !self.keep_type(number, described);
            }
        }

        /// Returns `false` if the type was described otherwise before.
        fn keep_type(&mut self, number: usize, described: Described) -> bool {
            if self.types.len() <= number {
                self.types.resize_with(number + 1, || None);
            }
            let known = &mut self.types[number];
            let (at, members, names) = match described {
                Described::Struct(members) => {
                    let new = TypeDraft::Struct(members);
                    return match known {
                        Some(known) => *known == new,
                        None => {
                            *known = Some(new);
                            true
                        }
                    };
                }
                Described::Variant(at, members, names) => (at, members, names),
            };
            let known = known.get_or_insert_with(|| {
                TypeDraft::Enum(names, names.iter().map(|_| None).collect())
            });
            let TypeDraft::Enum(_, variants) = known else {
                return false;
            };
            match variants.get_mut(at) {
                Some(Some(known)) => *known == members,
                Some(unknown) => {
                    *unknown = Some(members);
                    true
                }
                None => false,
            }
        }

        /// Returns the layout, if everything was described. The names are those of the types.
        pub(in crate::codec) fn layout<'a>(
            &self,
            names: impl Iterator<Item = &'a str>,
        ) -> Option<Layout> {
            if self.has_none {
                return None;
            }
            let types = names.enumerate().map(|(number, name)| {
                let kind = match self.types.get(number)?.as_ref()? {
                    TypeDraft::Struct(members) => TypeKind::Struct(members.clone()),
                    TypeDraft::Enum(names, variants) => {
                        let variants = names.iter().zip(variants).map(|(name, members)| {
                            Some(Variant {
                                name: (*name).to_owned(),
                                members: members.clone()?,
                            })
                        });
                        TypeKind::Enum(variants.collect::<Option<_>>()?)
                    }
                };
                let name = name.to_owned();
                Some(NamedType { name, kind })
            });
            Some(Layout {
                types: types.collect::<Option<_>>()?,
                value: self.value.clone()?,
            })
        }
    }

    fn scalar(name: &str) -> Option<Part> {
        Some(match name {
            "bool" => Part::Bool,
            "i8" => Part::I8,
            "i16" => Part::I16,
            "i32" => Part::I32,
            "i64" => Part::I64,
            "i128" => Part::I128,
            "u8" => Part::U8,
            "u16" => Part::U16,
            "u32" => Part::U32,
            "u64" => Part::U64,
            "u128" => Part::U128,
            "f32" => Part::F32,
            "f64" => Part::F64,
            "char" => Part::Char,
            "str" => Part::Str,
            "bytes" => Part::Bytes,
            "unit" => Part::Unit,
            _ => return None,
        })
    }

    /// Returns the only part, if there is one and no other.
    fn only(parts: Vec<Part>) -> Option<Part> {
        <[Part; 1]>::try_from(parts).ok().map(|[part]| part)
    }

    /// Returns a value of the parts that the run has read of it. A type need not read all of them,
    /// and then has no layout.
    fn whole(kind: Parts, parts: Vec<Part>) -> Option<Part> {
        match kind {
            Parts::Option => only(parts).map(|part| Part::Option(Box::new(part))),
            Parts::Seq => only(parts).map(|part| Part::Seq(Box::new(part))),
            Parts::Map => {
                let [key, value] = <[Part; 2]>::try_from(parts).ok()?;
                Some(Part::Map(Box::new((key, value))))
            }
            Parts::Tuple(len) => (parts.len() == len).then_some(Part::Tuple(parts)),
        }
    }

    fn described(
        heading: Heading,
        variant: Option<VariantMembers>,
        parts: Vec<Part>,
        names: &'static [&'static str],
    ) -> Option<Described> {
        let Heading::Variant(at, _) = heading else {
            return Some(Described::Struct(match heading {
                Heading::Newtype => Members::Newtype(only(parts)?),
                Heading::Tuple(len) => tuple(len, parts)?,
                Heading::Struct | Heading::Variant(..) => fields(names, parts)?,
            }));
        };
        let members = match variant {
            Some(VariantMembers::Unit) => parts.is_empty().then_some(Members::Unit)?,
            Some(VariantMembers::Tuple(len)) => tuple(len, parts)?,
            Some(VariantMembers::Struct(names)) => fields(names, parts)?,
            None => Members::Newtype(only(parts)?),
        };
        Some(Described::Variant(at, members, names))
    }

    fn tuple(len: usize, parts: Vec<Part>) -> Option<Members> {
        (parts.len() == len).then_some(Members::Tuple(parts))
    }

    /// Returns the fields of a struct. If it has aliases, there are more names than fields, and it
    /// is not known which are which.
    fn fields(names: &[&str], parts: Vec<Part>) -> Option<Members> {
        (names.len() == parts.len()).then(|| {
            let fields = names.iter().zip(parts).map(|(name, part)| Field {
                name: (*name).to_owned(),
                part,
            });
            Members::Struct(fields.collect())
        })
    }
}
