//! The path of the facade, and every identifier that an expansion invents.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;

/// The package of the facade.
const FACADE: &str = "multi-tier-cached";

/// Returns the path of the facade in the user's crate: the one that `crate = "…"` gives, or the
/// name of the package in the user's Cargo.toml.
pub(crate) fn facade(given: Option<&syn::Path>) -> TokenStream {
    if let Some(path) = given {
        return quote!(#path);
    }
    let name = match proc_macro_crate::crate_name(FACADE) {
        Ok(proc_macro_crate::FoundCrate::Name(name)) => name,
        // In the facade itself, its tests and its examples, it has its own name. If it was not
        // found, the compiler reports that name.
        Ok(proc_macro_crate::FoundCrate::Itself) | Err(_) => FACADE.replace('-', "_"),
    };
    let name = Ident::new(&name, Span::call_site());
    quote!(::#name)
}

/// The name of an argument whose pattern has none.
pub(crate) fn argument(at: usize) -> Ident {
    format_ident!("__arg{at}")
}

/// The names of the public items beside a function.
pub(crate) struct HandleNames {
    pub(crate) entry: Ident,
    pub(crate) invalidation: Ident,
    pub(crate) invalidate_all: Ident,
}

impl HandleNames {
    /// Associated functions of a struct that has the function's name: `get_user::entry`.
    pub(crate) fn of_free(function: &Ident) -> Self {
        let name = |name| Ident::new(name, function.span());
        Self {
            entry: name("entry"),
            invalidation: name("invalidation"),
            invalidate_all: name("invalidate_all"),
        }
    }

    /// Associated functions of the method's type: `get_user_entry`.
    pub(crate) fn of_method(function: &Ident) -> Self {
        let name = |suffix| format_ident!("{}_{suffix}", function.unraw(), span = function.span());
        Self {
            entry: name("entry"),
            invalidation: name("invalidation"),
            invalidate_all: name("invalidate_all"),
        }
    }
}

/// The name of a hidden item beside a free function: `get_user::__body`.
pub(crate) fn hidden(item: &str) -> Ident {
    format_ident!("__{item}")
}

/// The name of a hidden item beside a method: `Self::__get_user_body`.
///
/// Its span belongs to the expansion, so that the compiler does not lint the name: that of `gen_`
/// has two underscores in a row. An `allow` at the body would also hide the lints of the user's
/// variables.
pub(crate) fn hidden_of_method(function: &Ident, item: &str) -> Ident {
    let span = function.span().resolved_at(Span::call_site());
    format_ident!("__{}_{item}", function.unraw(), span = span)
}

/// The name of a function that stands for the value of a const parameter.
pub(crate) fn constant(parameter: &Ident) -> Ident {
    format_ident!("__constant_{parameter}", span = Span::call_site())
}

/// Returns the name of the constant beside a method.
pub(crate) fn method_constant(function: &Ident, parameter: &Ident) -> Ident {
    format_ident!(
        "__{}_constant_{parameter}",
        function.unraw(),
        span = Span::call_site()
    )
}

/// A variable of the expansion, which cannot be mistaken for one of the user.
pub(crate) fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}
