//! `invalidate!(path)` and `invalidate!(path, arguments…)`.
//!
//! The path's last name is the function's; what is called stands beside the function under that name. For a free
//! function that is a type (`get_user::entry`), which travels with `use … as …`; for a method associated functions of
//! the same owner (`Repo::get_user_entry`). Which of the two it is, the owner's spelling tells, as Rust's own naming
//! rules have it: a type begins with a capital letter, a module does not.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Expr, ExprPath, Ident, PathArguments, Token};

use crate::names;

struct Input {
    path: ExprPath,
    /// `None` for the whole function.
    arguments: Option<Punctuated<Expr, Token![,]>>,
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let path: ExprPath = input.parse().map_err(|error| {
            syn::Error::new(
                error.span(),
                "name a cached function and its arguments: `invalidate!(get_user, 42)`",
            )
        })?;
        if input.is_empty() {
            return Ok(Self {
                path,
                arguments: None,
            });
        }
        if !input.peek(Token![,]) {
            return Err(
                input.error("the arguments follow after a comma: `invalidate!(get_user, 42)`")
            );
        }
        let comma: Token![,] = input.parse()?;
        let arguments: Punctuated<_, _> = Punctuated::parse_terminated(input)?;
        if arguments.is_empty() {
            // A list of arguments that came out empty must not drop more than one key.
            return Err(syn::Error::new(
                comma.span,
                "an argument follows here; the whole function is dropped by `invalidate!(get_user)`, without a comma",
            ));
        }
        Ok(Self {
            path,
            arguments: Some(arguments),
        })
    }
}

pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let Input {
        mut path,
        arguments,
    } = syn::parse2(input)?;
    let span = path.span();
    let method = is_method(&path);
    let Some(last) = path.path.segments.last_mut() else {
        return Err(syn::Error::new(span, "name a cached function"));
    };
    let function = last.ident.clone();
    let generics = std::mem::replace(&mut last.arguments, PathArguments::None);
    let generics = match generics {
        PathArguments::None => quote!(),
        PathArguments::AngleBracketed(generics) => quote!(#generics),
        PathArguments::Parenthesized(other) => {
            return Err(syn::Error::new_spanned(
                other,
                "name a cached function, such as `find::<User>`",
            ));
        }
    };
    let is_named_by_trait = path.qself.as_ref().is_some_and(|of| of.position > 0);
    if is_named_by_trait {
        return Err(syn::Error::new_spanned(
            &path,
            format!(
                "a method in the `impl` of a trait has no handle to invalidate it by: annotate an inherent method of the \
                 type, call that from the trait's method, and write `invalidate!(Type::{function}, ..)`"
            ),
        ));
    }
    let (name, suffix) = match (&arguments, method) {
        (None, false) => (Ident::new("invalidate_all", function.span()), quote!()),
        (None, true) => (names::method_invalidate_all(&function), quote!()),
        (Some(_), false) => (
            Ident::new("entry", function.span()),
            quote!(.into_invalidation()),
        ),
        (Some(_), true) => (names::method_entry(&function), quote!(.into_invalidation())),
    };
    let arguments = arguments.unwrap_or_default();
    // A type of its own that has no such method gets an error that says why.
    let missing =
        (method && generics.is_empty()).then(|| missing_handle(&function, &name, arguments.len()));
    if method {
        if let Some(last) = path.path.segments.last_mut() {
            last.ident = name;
        }
    } else {
        path.path.segments.push(name.into());
    }
    // The call is the macro's and stands at the user's path: what a compiler suggests for it would be no macro's input.
    let call = span.resolved_at(Span::mixed_site());
    let call = quote_spanned!(call=> #path #generics(#arguments)#suffix);
    Ok(match missing {
        Some(missing) => quote!({ #missing #call }),
        None => call,
    })
}

/// What is called where the type has no such associated function: a trait's function comes after those of the type itself. Its
/// bound is met by no type, and its message speaks of the user's method, where the compiler would name one that the user has
/// never written.
fn missing_handle(function: &Ident, name: &Ident, arguments: usize) -> TokenStream {
    let (handles, trait_name) = (names::local("__Handle"), names::local("__MissingHandle"));
    let types: Vec<_> = (0..arguments)
        .map(|at| names::local(&format!("__A{at}")))
        .collect();
    let message = format!("`{{Self}}` has no handle for a method `{function}`");
    let label = format!("no cached inherent method `{function}` of this type is visible here");
    let note = format!(
        "a method in the `impl` of a trait has no handle: annotate an inherent method, call it from the trait's method, and \
         write `invalidate!(Type::{function}, ..)`"
    );
    quote! {
        #[diagnostic::on_unimplemented(message = #message, label = #label, note = #note)]
        trait #handles {}
        #[allow(dead_code, non_snake_case)]
        trait #trait_name {
            fn #name<__Returned, #(#types),*>(#(_: #types),*) -> __Returned
            where
                Self: #handles,
            {
                ::core::unreachable!()
            }
        }
        impl<__T: ?::core::marker::Sized> #trait_name for __T {}
    }
}

/// Whether the path's owner is a type.
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
