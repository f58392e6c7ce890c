//! `invalidate!(path)`, `invalidate!(path, arguments…)` and `invalidate!(tag "text", …)`, and
//! `expire!` with the same input.
//!
//! The expansion for a function calls an item that is generated beside it (see `function_path`).

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Expr, ExprPath, Ident, LitStr, Token};

use crate::function_path::FunctionPath;
use crate::names::{self, HandleNames};
use crate::tag;

/// The macro that is expanded.
#[derive(Clone, Copy)]
pub(crate) enum Effect {
    Invalidate,
    Expire,
}

impl Effect {
    /// Returns how the macro is written with this input.
    fn usage(self, input: &str) -> String {
        match self {
            Self::Invalidate => format!("invalidate!({input})"),
            Self::Expire => format!("expire!({input})"),
        }
    }

    /// The call of the method that changes an invalidation into the effect.
    fn method(self) -> Option<TokenStream> {
        match self {
            Self::Invalidate => None,
            Self::Expire => Some(quote!(.into_expiry())),
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Invalidate => "invalidate",
            Self::Expire => "expire",
        }
    }
}

pub(crate) fn expand(input: TokenStream, effect: Effect) -> syn::Result<TokenStream> {
    let parse = |input: ParseStream<'_>| match names_tags(input) {
        true => tags(input, effect),
        false => function(input, effect),
    };
    parse.parse2(input)
}

/// Returns `true` if the input is `tag` and what is no rest of a path or of a list of arguments.
fn names_tags(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    let first = ahead.call(Ident::parse_any);
    first.is_ok_and(|first| first == "tag") && !ahead.peek(Token![::]) && !ahead.peek(Token![,])
}

/// Expands `tag "user:{id}", "all-users"`.
fn tags(input: ParseStream<'_>, effect: Effect) -> syn::Result<TokenStream> {
    let keyword: Ident = input.call(Ident::parse_any)?;
    let usage = effect.usage("tag \"user:{id}\"");
    if input.is_empty() {
        let whole = effect.usage("self::tag");
        return Err(syn::Error::new(
            keyword.span(),
            format!(
                "expected the text of a tag; help: write such as `{usage}`, or `{whole}` for a \
                 function that is named `tag`"
            ),
        ));
    }
    let mut tags = Vec::new();
    while !input.is_empty() {
        if !input.peek(LitStr) {
            let says = format!("expected the text of a tag; help: write such as `{usage}`");
            return Err(input.error(says));
        }
        tags.push(tag::render(&input.parse()?)?);
        if !input.is_empty() && !input.peek(Token![,]) {
            let says = format!("expected a comma between two tags; help: write such as `{usage}`");
            return Err(input.error(says));
        }
        input.parse::<Option<Token![,]>>()?;
    }
    let facade = names::facade(None);
    let method = effect.method();
    Ok(quote!(#facade::__private::invalidate_tags([#(#tags),*]) #method))
}

/// Expands `path` and `path, arguments…`.
fn function(input: ParseStream<'_>, effect: Effect) -> syn::Result<TokenStream> {
    let usage = effect.usage("get_user, 42");
    let path: ExprPath = input.parse().map_err(|error| {
        syn::Error::new(
            error.span(),
            format!("expected a cached function; help: write such as `{usage}`"),
        )
    })?;
    let arguments = arguments(input, effect)?;
    let function = FunctionPath::new(path, |path| effect.usage(&format!("{path}, ..")))?;
    Ok(call(&function, arguments, effect))
}

/// Reads the arguments. Returns `None` for the whole function.
fn arguments(
    input: ParseStream<'_>,
    effect: Effect,
) -> syn::Result<Option<Punctuated<Expr, Token![,]>>> {
    if input.is_empty() {
        return Ok(None);
    }
    if !input.peek(Token![,]) {
        let usage = effect.usage("get_user, 42");
        return Err(input.error(format!(
            "expected a comma before the arguments; help: write such as `{usage}`"
        )));
    }
    let comma: Token![,] = input.parse()?;
    let arguments: Punctuated<_, _> = Punctuated::parse_terminated(input)?;
    if arguments.is_empty() {
        // A list of arguments that came out empty must not be for more than one key.
        let (verb, usage) = (effect.verb(), effect.usage("get_user"));
        return Err(syn::Error::new(
            comma.span,
            format!(
                "expected arguments after the comma; help: to {verb} the whole function, write \
                 such as `{usage}`, without a comma"
            ),
        ));
    }
    Ok(Some(arguments))
}

/// Renders the call of the item beside the function.
fn call(
    path: &FunctionPath,
    arguments: Option<Punctuated<Expr, Token![,]>>,
    effect: Effect,
) -> TokenStream {
    let FunctionPath {
        function,
        generics,
        is_method,
        span,
        ..
    } = path;
    let names = match is_method {
        true => HandleNames::of_method(function),
        false => HandleNames::of_free(function),
    };
    let name = match arguments {
        Some(_) => names.invalidation,
        None => names.invalidate_all,
    };
    let arguments = arguments.unwrap_or_default();
    // A type that has no such method gets an error that explains itself.
    let missing = (*is_method && generics.is_none())
        .then(|| missing_handle(function, &name, arguments.len(), effect));
    let item = path.item(name);
    // The call belongs to the macro and is at the user's path. A correction that the compiler
    // suggests for it would not be valid input of the macro.
    let call = span.resolved_at(Span::mixed_site());
    let call = quote_spanned!(call=> #item #generics(#arguments));
    let method = effect.method();
    match missing {
        Some(missing) => quote!({ #missing #call #method }),
        None => quote!(#call #method),
    }
}

/// Renders a function that is called if the type has no associated function of that name: functions
/// of a trait come after those of the type itself. No type meets its bound, and the message names
/// the user's method, where the compiler would name a function that the user has never written.
fn missing_handle(function: &Ident, name: &Ident, arguments: usize, effect: Effect) -> TokenStream {
    let (handles, trait_name) = (names::local("__Handle"), names::local("__MissingHandle"));
    let types: Vec<_> = (0..arguments)
        .map(|at| names::local(&format!("__A{at}")))
        .collect();
    let message = format!("`{{Self}}` has no handle for a method `{function}`");
    let label = format!("no cached inherent method `{function}` of this type is visible here");
    let usage = effect.usage(&format!("Type::{function}, .."));
    let note = format!(
        "a method in the `impl` of a trait has no handle; help: annotate an inherent method, \
         call it from the trait's method, and write `{usage}`"
    );
    // The substitute has the method that is called on it, so that there is no second error.
    let missing = names::local("__Missing");
    let (declared, parameter, returned) = match effect {
        Effect::Invalidate => {
            let returned = names::local("__Returned");
            (None, Some(quote!(#returned,)), returned)
        }
        Effect::Expire => {
            let declared = quote! {
                struct #missing;
                #[allow(dead_code)]
                impl #missing {
                    fn into_expiry<__Returned>(self) -> __Returned {
                        ::core::unreachable!()
                    }
                }
            };
            (Some(declared), None, missing)
        }
    };
    quote! {
        #declared
        #[diagnostic::on_unimplemented(message = #message, label = #label, note = #note)]
        trait #handles {}
        #[allow(dead_code, non_snake_case)]
        trait #trait_name {
            fn #name<#parameter #(#types),*>(#(_: #types),*) -> #returned
            where
                Self: #handles,
            {
                ::core::unreachable!()
            }
        }
        impl<__T: ?::core::marker::Sized> #trait_name for __T {}
    }
}
