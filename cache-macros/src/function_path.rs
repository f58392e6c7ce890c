//! A cached function, as code elsewhere names it.
//!
//! The last name of the path is the function's. The items beside a free function are associated
//! functions of the type of that name (`get_user::invalidation`), which `use … as …` imports too;
//! those of a method are associated functions of the same owner (`Repo::get_user_invalidation`).
//! The spelling of the owner decides which, by Rust's naming rules: a type begins with a capital
//! letter, a module does not.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{ExprPath, PathArguments};

/// The path of a cached function.
pub(crate) struct FunctionPath {
    /// Without the generic arguments of the function.
    path: ExprPath,
    /// The function's own name.
    pub(crate) function: Ident,
    /// The generic arguments of the function, with their `::`, if there are any.
    pub(crate) generics: Option<syn::AngleBracketedGenericArguments>,
    pub(crate) is_method: bool,
    pub(crate) span: Span,
}

impl FunctionPath {
    /// `usage` shows how the path of a method is written.
    pub(crate) fn new(mut path: ExprPath, usage: impl Fn(&str) -> String) -> syn::Result<Self> {
        let span = path.span();
        let is_method = is_method(&path);
        let is_named_by_trait = path.qself.as_ref().is_some_and(|of| of.position > 0);
        let whole = path.clone();
        let Some(last) = path.path.segments.last_mut() else {
            return Err(syn::Error::new(span, "expected a cached function"));
        };
        let function = last.ident.clone();
        let generics = match std::mem::replace(&mut last.arguments, PathArguments::None) {
            PathArguments::None => None,
            PathArguments::AngleBracketed(generics) => Some(generics),
            PathArguments::Parenthesized(other) => {
                return Err(syn::Error::new_spanned(
                    other,
                    "these are not generic arguments; help: write such as `find::<User>`",
                ));
            }
        };
        if is_named_by_trait {
            let usage = usage(&format!("Type::{function}"));
            return Err(syn::Error::new_spanned(
                &whole,
                format!(
                    "a method in the `impl` of a trait has no handle; help: annotate an inherent \
                     method of the type, call it from the trait's method, and write `{usage}`"
                ),
            ));
        }
        Ok(Self {
            path,
            function,
            generics,
            is_method,
            span,
        })
    }

    /// Returns the path of an item beside the function, by the name that it has there.
    pub(crate) fn item(&self, name: Ident) -> TokenStream {
        let mut path = self.path.clone();
        match path.path.segments.last_mut() {
            Some(last) if self.is_method => last.ident = name,
            _ => path.path.segments.push(name.into()),
        }
        quote!(#path)
    }
}

/// Returns `true` if the owner in the path is a type.
fn is_method(path: &ExprPath) -> bool {
    let owner = path.path.segments.iter().rev().nth(1);
    path.qself.is_some()
        || owner.is_some_and(|owner| {
            !owner.arguments.is_none()
                || owner
                    .ident
                    .to_string()
                    .trim_start_matches("r#")
                    .starts_with(char::is_uppercase)
        })
}
