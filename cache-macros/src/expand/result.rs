//! The function's result, as the runtime must know it.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use super::pieces::{Hidden, at, private, reported_at};
use crate::model::{CallForm, Model};
use crate::names;

/// Returns the type of the result for one key: for one id, if the function has several.
pub(super) fn result_of_key(model: &Model<'_>) -> TokenStream {
    let returned = model.returned;
    match model.batch {
        None => quote!(#returned),
        Some(_) => {
            let span = reported_at(returned.span());
            let private = at(span, &private(model));
            quote_spanned!(span=> <#returned as #private::BatchResult>::Item)
        }
    }
}

/// Renders `__returns`, which describes the result and hides everything that a call does not need.
pub(super) fn returns_function(model: &Model<'_>, hidden: &Hidden) -> TokenStream {
    let name = &hidden.returns;
    let private = private(model);
    let returned = result_of_key(model);
    let returns = returns(model);
    let generics = &model.function.sig.generics;
    let where_clause = &generics.where_clause;
    let attrs = model.function.shared_attrs();
    quote! {
        #attrs
        #[doc(hidden)]
        #[inline]
        #[allow(unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
        fn #name #generics() -> impl #private::CachedResult<Result = #returned> #where_clause {
            #returns
        }
    }
}

/// Renders the description of the result, which is probed by its type. Errors are reported at that
/// type.
pub(super) fn returns(model: &Model<'_>) -> TokenStream {
    let (returned, span) = (result_of_key(model), model.returned.span());
    let private = at(span, &private(model));
    let kind = if model.is_memory_only() {
        quote!(memory_only)
    } else {
        quote!(shared)
    };
    // That an error can be cloned does not mean that it lives long enough to be shared.
    let share = match &model.share_error {
        Some(rebuild) => Some(quote!(rebuilt(#rebuild))),
        None => model.borrows_its_error.then(|| quote!(unshared)),
    };
    let returns = quote_spanned!(span=> #private::returns!(#share #kind #returned));
    with_rules(model, with_conditions(model, returns))
}

/// Adds the functions of the user that decide about a value.
fn with_conditions(model: &Model<'_>, mut returns: TokenStream) -> TokenStream {
    if let Some(cache_if) = &model.cache_if {
        returns = quote_spanned!(cache_if.span()=> #returns.keep_if(#cache_if));
    }
    if let Some(ttl_from) = &model.ttl_from {
        returns = quote_spanned!(ttl_from.span()=> #returns.ttl_from(#ttl_from));
    }
    if let Some(tags_of) = &model.tags_of {
        let (span, value) = (tags_of.span(), names::local("__value"));
        let private = at(span, &private(model));
        let tags = quote_spanned!(span=> #private::collect_tags(#value, #tags_of));
        returns = quote_spanned!(span=> #returns.tags_of(|#value| #tags));
    }
    returns
}

/// Adds the options that only some results can have, which are probed by their type too. Errors are
/// reported at that type.
fn with_rules(model: &Model<'_>, mut returns: TokenStream) -> TokenStream {
    let (returned, span) = (result_of_key(model), model.returned.span());
    let private = at(span, &private(model));
    let mut add = |option: TokenStream| {
        returns = quote_spanned!(span=> #private::rule!(#option #returned, #returns));
    };
    if let Some(stale_if) = &model.stale_if {
        add(quote!(stale_if(#stale_if)));
    }
    if let Some(error_if) = &model.error_if {
        add(quote!(error_if(#error_if)));
    }
    if model.times.none_ttl.is_some() {
        add(quote!(keep_none()));
    }
    if model.times.timeout_option().is_some() {
        add(quote!(times_out()));
    } else if model.call == CallForm::Late {
        add(quote!(may_time_out()));
    }
    returns
}
