//! Checks of the type that a function returns.

use proc_macro2::Span;
use syn::Type;

use crate::args::Args;
use crate::errors::Errors;
use crate::item::Function;
use crate::types::Unfit;

const BORROWS: &str = "a cached value outlives the call and cannot borrow; help: return an owned \
                       type, such as `String` or `Arc<str>`";

/// Returns the type that the function returns, if it returns any, and reports why it cannot be
/// cached.
pub(super) fn returned<'a>(
    args: &Args,
    function: &'a Function,
    errors: &mut Errors,
) -> Option<&'a Type> {
    let Some(returned) = function.returned() else {
        if !function.is_boxed() {
            errors.over(
                &function.sig.ident,
                "the function returns nothing: there is no value to cache",
            );
        }
        return None;
    };
    let whole = Unfit::of(returned);
    let value = Unfit::of_value(returned);
    if let Some(opaque) = whole.opaque {
        errors.over(
            opaque,
            "a value of type `impl Trait` cannot be stored; help: name its type, or box it",
        );
    } else if let Some(borrowed) = whole.borrowed {
        errors.at(borrowed, BORROWS);
    }
    check_static_reference(args, value.forever, errors);
    if whole.opaque.is_none()
        && whole.borrowed.is_none()
        && let Some(named) = value.named
    {
        errors.at(named, BORROWS);
    }
    if let (Some(share), Some(_)) = (&args.share_error, whole.named) {
        errors.over(
            share,
            "an error that borrows cannot be shared with callers that wait; help: remove \
             `share_error`, or return an owned error",
        );
    }
    let rules = [&args.stale_if, &args.error_if].into_iter().flatten();
    for rule in rules.filter(|_| whole.named.is_some()) {
        let option = &rule.option;
        errors.at(
            option.span(),
            format!("`{option}` does not take an error that borrows; help: return an owned error"),
        );
    }
    Some(returned)
}

/// A `&'static` value can be kept in memory only.
fn check_static_reference(args: &Args, forever: Option<Span>, errors: &mut Errors) {
    let is_memory_only = args.tiers.as_ref().is_some_and(|tiers| tiers.levels == [1]);
    if let Some(forever) = forever
        && !is_memory_only
    {
        errors.at(
            forever,
            "a reference cannot be read back from a tier below memory, whatever its lifetime; \
             help: return an owned type, or set `tiers = \"l1\"`",
        );
    }
}
