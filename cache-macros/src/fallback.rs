//! Expansion of an attribute that has mistakes: the function as written, its handles, and the
//! mistakes.
//!
//! The handles are declared so that `invalidate!` of the function elsewhere is not a second error.
//! The mistakes are inside the function's body if there is one: beside the function, the compiler
//! would refuse them in an `impl` of a trait.

use proc_macro2::TokenStream;
use quote::quote;

use crate::errors::Errors;
use crate::handles::{Bodies, Handles, owner_of_free};
use crate::item::{Function, ItemKind};
use crate::model::Outline;
use crate::names::HandleNames;
use crate::types::Unfit;

/// Expands an item that is no function, or a function that could not be parsed.
pub(crate) fn unparsed(item: TokenStream, errors: Errors) -> TokenStream {
    let errors = errors.into_compile_errors();
    quote!(#item #errors)
}

pub(crate) fn expand(outline: &Outline<'_>, errors: Errors) -> TokenStream {
    let Function {
        attrs,
        vis,
        sig,
        body,
    } = outline.function;
    let errors = errors.into_compile_errors();
    let body = body.stream();
    let handles = handles(outline);
    quote! {
        #(#attrs)*
        #vis #sig {
            #errors
            #body
        }

        #handles
    }
}

/// The items that a correct attribute declares beside the function, with bodies that panic.
fn handles(outline: &Outline<'_>) -> TokenStream {
    let function = outline.function;
    // The other attribute is expanded next, and declares them.
    if function.cached_again().is_some() {
        return TokenStream::new();
    }
    let name = &function.sig.ident;
    match outline.kind {
        ItemKind::Free => {
            let items = items(outline, HandleNames::of_free(name));
            owner_of_free(function, &items)
        }
        ItemKind::Method => items(outline, HandleNames::of_method(name)),
        ItemKind::TraitImpl | ItemKind::BoxedTraitImpl => TokenStream::new(),
    }
}

fn items(outline: &Outline<'_>, names: HandleNames) -> TokenStream {
    let facade = &outline.facade;
    let private = quote!(#facade::__private);
    let returned = returned(outline);
    let call = quote!(#private::Call<#returned, ::core::future::Pending<#returned>>);
    let handles = Handles {
        function: outline.function,
        arguments: &outline.arguments,
        ids: None,
        instance_generics: outline.instance_generics.clone(),
        private,
        names,
    };
    let never = quote!(::core::unreachable!());
    handles.render(&Bodies {
        call,
        entry: never.clone(),
        invalidation: never.clone(),
        invalidate_all: never,
    })
}

/// The type that a call yields. A type that cannot be cached is replaced by `()`: in the signature
/// of the handle, which is not the function's, the compiler may refuse it again.
fn returned(outline: &Outline<'_>) -> TokenStream {
    match outline.returned {
        Some(returned) => {
            let unfit = Unfit::of(returned);
            if unfit.opaque.is_some() || unfit.borrowed.is_some() {
                quote!(())
            } else {
                quote!(#returned)
            }
        }
        None => quote!(()),
    }
}
