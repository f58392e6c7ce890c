//! Arguments of type `impl Trait`: the name of their type, without pointers, is part of the key.
//!
//! Two types may serialize alike and behave differently, so the key must distinguish them. But
//! `&str` and `String` are the same text: an invalidation with one must find the value of a call
//! with the other.

use std::any::type_name;

use serde::ser::{Serialize, SerializeTuple, Serializer};

/// An argument of type `impl Trait`.
pub(crate) struct Opaque<'a, T: ?Sized>(pub(crate) &'a T);

/// Types that the encoding itself distinguishes from all others.
const PLAIN: &[&str] = &[
    "str", "bool", "char", "u8", "u16", "u32", "u64", "u128", "i8", "i16", "i32", "i64", "i128",
    "f32", "f64", "()",
];

impl<T: Serialize + ?Sized> Serialize for Opaque<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = without_pointers(type_name::<T>());
        if PLAIN.contains(&name.as_str()) {
            return self.0.serialize(serializer);
        }
        let mut pair = serializer.serialize_tuple(2)?;
        pair.serialize_element(&name)?;
        pair.serialize_element(self.0)?;
        pair.end()
    }
}

/// Prefixes of pointer types, with the opening and the closing that replace them.
const POINTERS: &[(&str, &str, &str)] = &[
    ("alloc::boxed::Box<", "", ""),
    ("alloc::sync::Arc<", "", ""),
    ("alloc::rc::Rc<", "", ""),
    ("alloc::borrow::Cow<", "", ""),
    ("alloc::vec::Vec<", "[", "]"),
];

const STRING: &str = "alloc::string::String";

/// Returns the name of a type without references, smart pointers and lifetimes (which some
/// compilers print), with slices instead of vectors and `str` instead of `String`: serde does not
/// distinguish them.
fn without_pointers(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut closing = Vec::new();
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let begins_a_path = !out.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if let Some(after) = skipped(rest) {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("->") {
            out.push_str("->");
            rest = after;
        } else if let Some((opening, close, after)) = begins_a_path.then(|| pointer(rest)).flatten()
        {
            out.push_str(opening);
            closing.push(close);
            rest = after;
        } else if let Some(after) = rest.strip_prefix(STRING).filter(|_| begins_a_path) {
            out.push_str("str");
            rest = after;
        } else {
            match c {
                '<' => {
                    out.push('<');
                    closing.push(">");
                }
                '>' => out.push_str(closing.pop().unwrap_or(">")),
                c => out.push(c),
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// Returns the rest of the name after a reference or a lifetime.
fn skipped(rest: &str) -> Option<&str> {
    ["<'_>", "'_, ", "'_ ", "&mut ", "&"]
        .iter()
        .find_map(|prefix| rest.strip_prefix(prefix))
}

/// Returns the opening and the closing that replace a pointer type, and the rest of the name.
fn pointer(rest: &str) -> Option<(&'static str, &'static str, &str)> {
    POINTERS
        .iter()
        .find_map(|(prefix, open, close)| Some((*open, *close, rest.strip_prefix(prefix)?)))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;

    fn of<T: ?Sized>() -> String {
        without_pointers(type_name::<T>())
    }

    struct Borrowed<'a>(#[expect(dead_code, reason = "a type with a lifetime")] &'a str);

    #[test]
    fn names_of_pointers_are_removed() {
        for name in [
            of::<&str>(),
            of::<String>(),
            of::<&mut &String>(),
            of::<Cow<'_, str>>(),
            of::<Arc<Box<str>>>(),
        ] {
            assert_eq!(name, "str");
        }
        assert_eq!(of::<Vec<String>>(), of::<&[&str]>());
        assert_eq!(
            of::<Option<Rc<Vec<(u8, String)>>>>(),
            "core::option::Option<[(u8, str)]>"
        );
        assert_eq!(
            of::<Box<dyn Fn(&str) -> Box<u8>>>(),
            of::<&dyn Fn(&str) -> u8>()
        );
    }

    #[test]
    fn names_of_other_types_are_kept() {
        assert_eq!(
            of::<Option<Result<u8, [u16; 3]>>>(),
            type_name::<Option<Result<u8, [u16; 3]>>>()
        );
        assert_eq!(
            of::<Borrowed<'_>>(),
            format!("{}::Borrowed", module_path!())
        );
        assert_eq!(
            without_pointers("my_alloc::boxed::Box<u8>"),
            "my_alloc::boxed::Box<u8>"
        );
        assert_eq!(
            without_pointers("app::alloc::vec::Vec<u8>"),
            "app::alloc::vec::Vec<u8>"
        );
        assert_ne!(of::<u8>(), of::<u16>());
    }
}
