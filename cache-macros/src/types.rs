//! Properties of a type that can be seen from how it is written.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{GenericArgument, PathArguments, Type, TypeParamBound};

/// Returns `R` of `Pin<Box<dyn Future<Output = R> + …>>`.
pub(crate) fn boxed_output(returned: &Type) -> Option<&Type> {
    let boxed = only_argument(only_argument(returned, "Pin")?, "Box")?;
    let Type::TraitObject(object) = boxed else {
        return None;
    };
    object.bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else {
            return None;
        };
        let last = bound
            .path
            .segments
            .last()
            .filter(|last| last.ident == "Future")?;
        let PathArguments::AngleBracketed(arguments) = &last.arguments else {
            return None;
        };
        arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(output) if output.ident == "Output" => Some(&output.ty),
            _ => None,
        })
    })
}

/// Returns the first generic argument of a type of that name.
fn only_argument<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::Type(inner) => Some(inner),
        _ => None,
    }
}

/// Properties of a type, as it is written, that make it unfit as a cached value.
#[derive(Default)]
pub(crate) struct Unfit<'a> {
    /// `impl Trait`: it has no name under which it could be stored.
    pub(crate) opaque: Option<&'a syn::TypeImplTrait>,
    /// A reference to a value of the caller, or a lifetime that stands for one (`Cow<'_, str>`).
    pub(crate) borrowed: Option<Span>,
    /// A `'static` reference: a value that is read back from a tier is not `'static`.
    pub(crate) forever: Option<Span>,
    /// A named lifetime, which an error may have and a value may not.
    pub(crate) named: Option<Span>,
}

impl<'a> Unfit<'a> {
    pub(crate) fn of(ty: &'a Type) -> Self {
        let mut unfit = Self::default();
        unfit.visit_type(ty);
        unfit
    }

    /// Looks at the type that is kept: the first type in a `Result`, or the whole of any other
    /// type.
    pub(crate) fn of_value(ty: &'a Type) -> Self {
        Self::of(only_argument(ty, "Result").unwrap_or(ty))
    }
}

impl<'a> Visit<'a> for Unfit<'a> {
    fn visit_type_impl_trait(&mut self, opaque: &'a syn::TypeImplTrait) {
        self.opaque.get_or_insert(opaque);
    }

    fn visit_type_reference(&mut self, reference: &'a syn::TypeReference) {
        if reference
            .lifetime
            .as_ref()
            .is_none_or(|lifetime| lifetime.ident != "static")
        {
            self.borrowed.get_or_insert_with(|| reference.span());
        } else {
            self.forever.get_or_insert_with(|| reference.span());
        }
        syn::visit::visit_type_reference(self, reference);
    }

    fn visit_lifetime(&mut self, lifetime: &'a syn::Lifetime) {
        if lifetime.ident == "_" {
            self.borrowed.get_or_insert_with(|| lifetime.span());
        } else if lifetime.ident != "static" {
            self.named.get_or_insert_with(|| lifetime.span());
        }
    }
}

/// Returns the name of a set without a fixed order, if a type is one or contains one.
pub(crate) fn unordered_set(ty: &Type) -> Option<&syn::Ident> {
    struct Search<'a>(Option<&'a syn::Ident>);
    impl<'a> Visit<'a> for Search<'a> {
        fn visit_path_segment(&mut self, segment: &'a syn::PathSegment) {
            if segment.ident == "HashSet" {
                self.0.get_or_insert(&segment.ident);
            }
            syn::visit::visit_path_segment(self, segment);
        }
    }
    let mut search = Search(None);
    search.visit_type(ty);
    search.0
}

/// Returns `true` if the type is an `&mut`, also inside parentheses and the groups of a
/// `macro_rules`.
pub(crate) fn is_mutable(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => reference.mutability.is_some(),
        Type::Group(group) => is_mutable(&group.elem),
        Type::Paren(paren) => is_mutable(&paren.elem),
        _ => false,
    }
}

/// Returns the type behind the shared references that a type consists of, and their number. What a
/// `'static` reference refers to lives for as long as anything, so such a reference is no part of
/// them.
pub(crate) fn referred(ty: &Type) -> (usize, &Type) {
    match ty {
        Type::Reference(reference) if reference.mutability.is_none() => {
            let lifetime = reference.lifetime.as_ref();
            match lifetime.is_some_and(|lifetime| lifetime.ident == "static") {
                true => (0, ty),
                false => {
                    let (references, inner) = referred(&reference.elem);
                    (references + 1, inner)
                }
            }
        }
        Type::Group(group) => referred(&group.elem),
        Type::Paren(paren) => referred(&paren.elem),
        _ => (0, ty),
    }
}

/// Returns the type of the elements of `&[K]` and `Vec<K>`, and whether the list is owned.
pub(crate) fn list(ty: &Type) -> Option<(&Type, bool)> {
    match ty {
        Type::Group(group) => list(&group.elem),
        Type::Paren(paren) => list(&paren.elem),
        Type::Reference(reference) if reference.mutability.is_none() => match &*reference.elem {
            Type::Slice(slice) => Some((&slice.elem, false)),
            _ => None,
        },
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            let PathArguments::AngleBracketed(arguments) = &last.arguments else {
                return None;
            };
            match (
                last.ident == "Vec",
                arguments.args.len(),
                arguments.args.first()?,
            ) {
                (true, 1, GenericArgument::Type(element)) => Some((element, true)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Returns the type of the values in a result, without its error.
pub(crate) fn values(returned: &Type) -> &Type {
    only_argument(returned, "Result").unwrap_or(returned)
}

/// Returns `true` for a type that does not say which value belongs to which id, whatever it is an
/// alias of: one of the standard library, or one without a name.
pub(crate) fn names_no_ids(ty: &Type) -> bool {
    const OTHERS: &[&str] = &[
        "Arc", "BTreeSet", "Box", "HashSet", "Option", "Rc", "String", "VecDeque", "bool", "char",
        "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64",
        "u128", "usize",
    ];
    match ty {
        Type::Group(group) => names_no_ids(&group.elem),
        Type::Paren(paren) => names_no_ids(&paren.elem),
        Type::Tuple(_) | Type::Array(_) | Type::Slice(_) => true,
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            let name = last.ident.to_string();
            match list(ty) {
                Some((element, true)) => is_no_element(element),
                _ => OTHERS.contains(&name.as_str()),
            }
        }),
        _ => false,
    }
}

/// Returns `true` for an element of a `Vec` that is neither a pair of an id and a value nor an
/// optional value.
fn is_no_element(element: &Type) -> bool {
    match element {
        Type::Group(group) => is_no_element(&group.elem),
        Type::Tuple(tuple) => tuple.elems.len() != 2,
        // An alias of such an element is not recognized.
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_none_or(|last| last.ident != "Option"),
        _ => true,
    }
}
