//! The public items beside a function: `entry`, `invalidation` and `invalidate_all`.
//!
//! A correct attribute and one that has mistakes declare the same items, with other bodies.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::FnArg;

use crate::item::{Argument, Function};
use crate::names::HandleNames;

/// The declarations of the items.
pub(crate) struct Handles<'a> {
    pub(crate) function: &'a Function,
    pub(crate) arguments: &'a [Argument<'a>],
    /// Generics of `invalidate_all`.
    pub(crate) instance_generics: syn::Generics,
    /// The path of `__private`.
    pub(crate) private: TokenStream,
    pub(crate) names: HandleNames,
}

/// The parts that differ between the expansions.
pub(crate) struct Bodies {
    /// The type of the handle that `entry` returns.
    pub(crate) call: TokenStream,
    pub(crate) entry: TokenStream,
    pub(crate) invalidation: TokenStream,
    pub(crate) invalidate_all: TokenStream,
}

impl Handles<'_> {
    /// Renders the items. They are `#[inline]`, so that a crate compiles only those that are
    /// called.
    pub(crate) fn render(&self, bodies: &Bodies) -> TokenStream {
        let Bodies {
            call,
            entry,
            invalidation,
            invalidate_all,
        } = bodies;
        let private = &self.private;
        let name = &self.function.sig.ident;
        let doc = format!("Returns the handle of one call of `{name}`, which does not begin.");
        let entry_sig = self.signature(&self.names.entry, call);
        let entry = self.item(&doc, &quote!(#entry_sig), entry);
        let doc = format!("Invalidates one key of `{name}` in every tier.");
        let invalidation_sig =
            self.signature(&self.names.invalidation, &quote!(#private::Invalidation));
        let invalidation = self.item(&doc, &quote!(#invalidation_sig), invalidation);
        let doc = format!("Invalidates every key of `{name}` in every tier.");
        let all = &self.names.invalidate_all;
        let generics = &self.instance_generics;
        let where_clause = &generics.where_clause;
        let sig = quote!(fn #all #generics() -> #private::Invalidation #where_clause);
        let invalidate_all = self.item(&doc, &sig, invalidate_all);
        quote!(#entry #invalidation #invalidate_all)
    }

    fn item(&self, doc: &str, sig: &TokenStream, body: &TokenStream) -> TokenStream {
        let attrs = self.function.shared_attrs();
        let vis = &self.function.vis;
        quote! {
            #attrs
            #[doc = #doc]
            #[inline]
            #[allow(
                dead_code,
                non_snake_case,
                unused_variables,
                unused_lifetimes,
                single_use_lifetimes,
                clippy::all,
                clippy::pedantic
            )]
            #vis #sig {
                #body
            }
        }
    }

    /// The function's signature with another name and result. What a mistake could leave in it is
    /// removed: it is reported once, at the function.
    fn signature(&self, name: &Ident, output: &TokenStream) -> syn::Signature {
        let mut sig = signature(&self.function.sig, self.arguments, name);
        sig.constness = None;
        sig.asyncness = None;
        sig.safety = syn::Safety::Default;
        sig.output = syn::parse_quote!(-> #output);
        sig
    }
}

/// Puts associated functions into a struct that has the name of a free function.
pub(crate) fn owner_of_free(function: &Function, items: &TokenStream) -> TokenStream {
    let (vis, name, attrs) = (&function.vis, &function.sig.ident, function.shared_attrs());
    let doc = format!("Handles of [`fn@{name}`]: `{name}::entry(..)`.");
    quote! {
        #attrs
        #[doc = #doc]
        #[allow(non_camel_case_types, dead_code)]
        #vis struct #name {
            _never: ::core::convert::Infallible,
        }

        #attrs
        #[allow(dead_code)]
        impl #name {
            #items
        }
    }
}

/// Returns the function's signature under another name, with plain names for the arguments, so that
/// they can be passed on.
pub(crate) fn signature(
    sig: &syn::Signature,
    arguments: &[Argument<'_>],
    name: &Ident,
) -> syn::Signature {
    let mut sig = sig.clone();
    sig.ident = name.clone();
    let mut names = arguments.iter();
    for input in &mut sig.inputs {
        match input {
            FnArg::Typed(typed) => {
                if let Some(argument) = names.next() {
                    let ident = &argument.ident;
                    *typed.pat = syn::parse_quote!(#ident);
                    typed.attrs.clear();
                }
            }
            FnArg::Receiver(receiver) => receiver.mutability = None,
        }
    }
    sig
}
