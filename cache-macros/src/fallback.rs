//! Expansion of an attribute that has mistakes: the function as written, its handles, and the
//! mistakes.
//!
//! The handles are declared so that `invalidate!` of the function elsewhere is not a second error.
//! The mistakes are inside the function's body if there is one: beside the function, the compiler
//! would refuse them in an `impl` of a trait.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use crate::errors::Errors;
use crate::expand::signature;
use crate::item::{Function, Unfit};
use crate::model::{Outline, Place};
use crate::names;

/// An item that is no function, or a function that could not be parsed.
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

/// The public items that a correct attribute puts beside the function, with bodies that panic.
fn handles(outline: &Outline<'_>) -> TokenStream {
    let function = outline.function;
    // The other attribute is expanded next, and declares them.
    if function.cached_again().is_some() {
        return TokenStream::new();
    }
    let (vis, name) = (&function.vis, &function.sig.ident);
    match outline.place {
        Place::Free => {
            let attrs = function.shared_attrs();
            let entry = Ident::new("entry", name.span());
            let invalidate_all = Ident::new("invalidate_all", name.span());
            let functions = functions(outline, &entry, &invalidate_all);
            quote! {
                #attrs
                #[allow(non_camel_case_types, dead_code, missing_docs)]
                #vis struct #name {
                    _never: ::core::convert::Infallible,
                }

                #attrs
                #[allow(dead_code)]
                impl #name {
                    #functions
                }
            }
        }
        Place::Method => functions(
            outline,
            &names::method_entry(name),
            &names::method_invalidate_all(name),
        ),
        Place::TraitImpl | Place::BoxedTraitImpl => TokenStream::new(),
    }
}

fn functions(outline: &Outline<'_>, entry: &Ident, invalidate_all: &Ident) -> TokenStream {
    let function = outline.function;
    let (vis, attrs) = (&function.vis, function.shared_attrs());
    let facade = &outline.facade;
    let private = quote!(#facade::__private);
    let returned = returned(outline);
    let mut sig = signature(&function.sig, &outline.arguments, entry, true);
    // A mistake of the function is reported once, at the function.
    sig.constness = None;
    sig.asyncness = None;
    sig.safety = syn::Safety::Default;
    sig.output = syn::parse_quote! {
        -> #private::Call<#returned, ::core::future::Pending<#returned>>
    };
    let generics = &outline.instance_generics;
    let where_clause = &generics.where_clause;
    let allow = quote!(#[allow(dead_code, missing_docs, unused, clippy::all, clippy::pedantic)]);
    quote! {
        #attrs
        #allow
        #vis #sig {
            ::core::unreachable!()
        }

        #attrs
        #allow
        #vis fn #invalidate_all #generics() -> #private::Invalidation #where_clause {
            ::core::unreachable!()
        }
    }
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
