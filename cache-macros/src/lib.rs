//! `#[multi_tier_cached]`, `invalidate!`, `expire!` and `tag!`: parse, check, expand.
//!
//! An expansion is thin: the options as data in one `static`, the body as it was, and one call into
//! the runtime. It names nothing but the facade's `__private`. The documentation for users is on
//! the facade's re-exports.

mod args;
mod errors;
mod expand;
mod fallback;
mod function_path;
mod handles;
mod invalidate;
mod item;
mod model;
mod names;
mod tag;
mod template;
mod types;

use proc_macro::TokenStream;

/// Caches an `async fn`; see the facade's documentation.
#[proc_macro_attribute]
pub fn multi_tier_cached(args: TokenStream, item: TokenStream) -> TokenStream {
    cached(args.into(), item.into()).into()
}

/// Invalidates values of a cached function; see the facade's documentation.
#[proc_macro]
pub fn invalidate(input: TokenStream) -> TokenStream {
    expression(invalidate::expand(
        input.into(),
        invalidate::Effect::Invalidate,
    ))
}

/// Makes values of a cached function stale; see the facade's documentation.
#[proc_macro]
pub fn expire(input: TokenStream) -> TokenStream {
    expression(invalidate::expand(input.into(), invalidate::Effect::Expire))
}

/// Makes a tag; see the facade's documentation.
#[proc_macro]
pub fn tag(input: TokenStream) -> TokenStream {
    expression(tag::expand(input.into()))
}

fn expression(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Parses, checks and expands. If there is any mistake, emits the function as written, its handles
/// and all mistakes.
fn cached(
    args: proc_macro2::TokenStream,
    item: proc_macro2::TokenStream,
) -> proc_macro2::TokenStream {
    let mut errors = errors::Errors::default();
    let args = args::Args::parse(args, &mut errors);
    let parsed = match syn::parse2::<item::Function>(item.clone()) {
        Ok(parsed) => parsed,
        Err(error) => {
            errors.push(error);
            return fallback::unparsed(item, errors);
        }
    };
    match model::Model::new(args, &parsed, &mut errors) {
        Ok(model) => expand::expand(&model),
        Err(outline) => fallback::expand(&outline, errors),
    }
}

#[cfg(test)]
mod tests;
