//! Instantiations of generic functions, and their names.

use std::any::TypeId;
use std::fmt;

/// One choice of types of a generic function.
#[derive(Clone, Copy)]
pub struct Instantiation {
    pub(crate) id: TypeId,
    types: fn() -> String,
}

impl fmt::Debug for Instantiation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.types())
    }
}

impl Instantiation {
    /// Returns the instantiation that `T` stands for, whatever lifetimes `T` contains.
    #[must_use]
    pub fn of<T: ?Sized>() -> Self {
        Self {
            id: typeid::of::<T>(),
            types: || types_in(std::any::type_name::<T>()),
        }
    }

    /// Returns the types as names of functions end with them: `<app::User><u8>`.
    pub(crate) fn types(&self) -> String {
        (self.types)()
    }
}

/// Returns the types of an instantiation: `<app::User><u8>`. `name` is the name of the type that
/// stands for it: an expansion wraps each type in a `PhantomData`, and all of them in a tuple.
fn types_in(name: &str) -> String {
    let name = name
        .replace("core::marker::PhantomData<", "<")
        .replace(">, <", "><")
        .replace("::__here", "")
        // Only some compilers print lifetimes, and every process must use the same name.
        .replace("<'_>", "")
        .replace("'_, ", "");
    let mut name = name
        .trim_start_matches('(')
        .trim_end_matches(')')
        .trim_end_matches(',')
        .to_owned();
    // `<app::find::__constant_N<3>>`, which stands for the value of a const parameter, becomes
    // `<3>`.
    while let Some(at) = name.find("__constant_") {
        let start = name[..at].rfind('<').map_or(0, |open| open + 1);
        let Some(end) = name[at..].find('<').map(|open| at + open + 1) else {
            break;
        };
        name.replace_range(start..end, "");
        if let Some(close) = name[start..].find(">>") {
            name.remove(start + close);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_without_the_wrappers_of_an_expansion() {
        for (name, expected) in [
            ("(core::marker::PhantomData<u8>,)", "<u8>"),
            (
                "(core::marker::PhantomData<app::User<'_>>, core::marker::PhantomData<u8>)",
                "<app::User><u8>",
            ),
            (
                "(core::marker::PhantomData<app::find::__constant_N<3>>,)",
                "<3>",
            ),
        ] {
            assert_eq!(types_in(name), expected, "{name}");
        }
    }
}
