//! Where the facade is, and every identifier an expansion makes up.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;

/// The facade's package.
const FACADE: &str = "multi-tier-cached";

/// The path of the facade in the user's crate: what `crate = "…"` says, else what its Cargo.toml calls the package.
pub(crate) fn facade(given: Option<&syn::Path>) -> TokenStream {
    if let Some(path) = given {
        return quote!(#path);
    }
    let name = match proc_macro_crate::crate_name(FACADE) {
        Ok(proc_macro_crate::FoundCrate::Name(name)) => name,
        // In the facade itself, its tests and examples, it is known by its own name; so it is where nothing was found,
        // which the compiler then says.
        Ok(proc_macro_crate::FoundCrate::Itself) | Err(_) => FACADE.replace('-', "_"),
    };
    let name = Ident::new(&name, Span::call_site());
    quote!(::#name)
}

/// The name of an argument whose pattern has none.
pub(crate) fn argument(at: usize) -> Ident {
    format_ident!("__arg{at}")
}

/// Beside a method: `get_user_entry`.
pub(crate) fn method_entry(function: &Ident) -> Ident {
    format_ident!("{}_entry", function.unraw(), span = function.span())
}

/// Beside a method: `get_user_invalidate_all`.
pub(crate) fn method_invalidate_all(function: &Ident) -> Ident {
    format_ident!(
        "{}_invalidate_all",
        function.unraw(),
        span = function.span()
    )
}

/// Beside a method: its body.
pub(crate) fn method_body(function: &Ident) -> Ident {
    format_ident!("__{}_body", function.unraw())
}

/// Beside a method: what tells its key.
pub(crate) fn method_with_key(function: &Ident) -> Ident {
    format_ident!("__{}_with_key", function.unraw())
}

/// Beside a method: what tells its result.
pub(crate) fn method_returns(function: &Ident) -> Ident {
    format_ident!("__{}_returns", function.unraw())
}

/// Stands for the value of a const parameter.
pub(crate) fn constant(parameter: &Ident) -> Ident {
    format_ident!("__constant_{parameter}", span = Span::call_site())
}

/// The same beside a method.
pub(crate) fn method_constant(function: &Ident, parameter: &Ident) -> Ident {
    format_ident!(
        "__{}_constant_{parameter}",
        function.unraw(),
        span = Span::call_site()
    )
}

/// Beside a method: its slot.
pub(crate) fn method_site(function: &Ident) -> Ident {
    format_ident!("__{}_site", function.unraw())
}

/// A variable of an expansion's own, which no variable of the user's can be.
pub(crate) fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}
