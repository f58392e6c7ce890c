//! The look-up in memory, at which a call that hits ends.

use proc_macro2::TokenStream;
use quote::quote;

use super::pieces::private;
use crate::model::{CallForm, Model};
use crate::names;

/// Returns the name of the `CallMode` of a call.
pub(super) fn mode(model: &Model<'_>) -> &'static str {
    match model.call {
        CallForm::Untimed => "CallNow",
        CallForm::Timed | CallForm::Late => "CallTimed",
    }
}

/// Renders a match on the look-up that `start` begins. It returns what a hit or a stale value
/// gives, and is the miss otherwise. Loads of the function end with their callers.
pub(super) fn miss(model: &Model<'_>, start: &TokenStream) -> TokenStream {
    let private = private(model);
    let (miss, result) = (names::local("__miss"), names::local("__result"));
    match model.call {
        CallForm::Untimed => quote! {
            match #start {
                #private::MemoryLookup::Hit(#result) => return #result,
                #private::MemoryLookup::Miss(#miss) => #miss,
            }
        },
        CallForm::Timed | CallForm::Late => quote! {
            match #start {
                #private::TimedLookup::Hit(#result)
                | #private::TimedLookup::Stale(#result, _) => return #result,
                #private::TimedLookup::Miss(#miss) => #miss,
            }
        },
    }
}
