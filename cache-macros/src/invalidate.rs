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
    let called = |free: &str, method_name: fn(&Ident) -> Ident| {
        let mut path = path.clone();
        if method {
            if let Some(last) = path.path.segments.last_mut() {
                last.ident = method_name(&function);
            }
        } else {
            path.path
                .segments
                .push(Ident::new(free, function.span()).into());
        }
        quote!(#path #generics)
    };
    // The call is the macro's and stands at the user's path: what a compiler suggests for it would be no macro's input.
    let call = span.resolved_at(Span::mixed_site());
    Ok(match arguments {
        None => {
            let all = called("invalidate_all", names::method_invalidate_all);
            quote_spanned!(call=> #all())
        }
        Some(arguments) => {
            let entry = called("entry", names::method_entry);
            quote_spanned!(call=> #entry(#arguments).into_invalidation())
        }
    })
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
