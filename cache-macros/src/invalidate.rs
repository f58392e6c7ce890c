//! `invalidate!(path)` and `invalidate!(path, arguments…)`.
//!
//! The last name of the path is the function's. The expansion calls an item that is generated
//! beside the function. For a free function that is an associated function of the type of that name
//! (`get_user::invalidation`), which `use … as …` imports too; for a method it is an associated
//! function of the same owner (`Repo::get_user_invalidation`). The spelling of the owner decides
//! which, by Rust's naming rules: a type begins with a capital letter, a module does not.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Expr, ExprPath, Ident, PathArguments, Token};

use crate::names::{self, HandleNames};

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
                "expected a cached function; help: write such as `invalidate!(get_user, 42)`",
            )
        })?;
        if input.is_empty() {
            return Ok(Self {
                path,
                arguments: None,
            });
        }
        if !input.peek(Token![,]) {
            return Err(input.error(
                "expected a comma before the arguments; help: write such as \
                 `invalidate!(get_user, 42)`",
            ));
        }
        let comma: Token![,] = input.parse()?;
        let arguments: Punctuated<_, _> = Punctuated::parse_terminated(input)?;
        if arguments.is_empty() {
            // A list of arguments that came out empty must not invalidate more than one key.
            return Err(syn::Error::new(
                comma.span,
                "expected arguments after the comma; help: to invalidate the whole function, write \
                 such as `invalidate!(get_user)`, without a comma",
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
    let is_named_by_trait = path.qself.as_ref().is_some_and(|of| of.position > 0);
    let whole = path.clone();
    let Some(last) = path.path.segments.last_mut() else {
        return Err(syn::Error::new(span, "expected a cached function"));
    };
    let function = last.ident.clone();
    let generics = match std::mem::replace(&mut last.arguments, PathArguments::None) {
        PathArguments::None => quote!(),
        PathArguments::AngleBracketed(generics) => quote!(#generics),
        PathArguments::Parenthesized(other) => {
            return Err(syn::Error::new_spanned(
                other,
                "these are not generic arguments; help: write such as `find::<User>`",
            ));
        }
    };
    if is_named_by_trait {
        return Err(syn::Error::new_spanned(
            &whole,
            format!(
                "a method in the `impl` of a trait has no handle; help: annotate an inherent \
                 method of the type, call it from the trait's method, and write \
                 `invalidate!(Type::{function}, ..)`"
            ),
        ));
    }
    let names = match method {
        true => HandleNames::of_method(&function),
        false => HandleNames::of_free(&function),
    };
    let name = match arguments {
        Some(_) => names.invalidation,
        None => names.invalidate_all,
    };
    let arguments = arguments.unwrap_or_default();
    // A type that has no such method gets an error that explains itself.
    let missing =
        (method && generics.is_empty()).then(|| missing_handle(&function, &name, arguments.len()));
    if method {
        last.ident = name;
    } else {
        path.path.segments.push(name.into());
    }
    // The call belongs to the macro and is at the user's path. A correction that the compiler
    // suggests for it would not be valid input of the macro.
    let call = span.resolved_at(Span::mixed_site());
    let call = quote_spanned!(call=> #path #generics(#arguments));
    Ok(match missing {
        Some(missing) => quote!({ #missing #call }),
        None => call,
    })
}

/// Renders a function that is called if the type has no associated function of that name: functions
/// of a trait come after those of the type itself. No type meets its bound, and the message names
/// the user's method, where the compiler would name a function that the user has never written.
fn missing_handle(function: &Ident, name: &Ident, arguments: usize) -> TokenStream {
    let (handles, trait_name) = (names::local("__Handle"), names::local("__MissingHandle"));
    let types: Vec<_> = (0..arguments)
        .map(|at| names::local(&format!("__A{at}")))
        .collect();
    let message = format!("`{{Self}}` has no handle for a method `{function}`");
    let label = format!("no cached inherent method `{function}` of this type is visible here");
    let note = format!(
        "a method in the `impl` of a trait has no handle; help: annotate an inherent method, \
         call it from the trait's method, and write `invalidate!(Type::{function}, ..)`"
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
