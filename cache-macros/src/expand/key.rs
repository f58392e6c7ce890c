//! The function that passes a call's key to what is done with it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{FnArg, Receiver, ReceiverKind};

use super::instance::slot;
use super::pieces::{Hidden, at, private, turbofish};
use super::result::result_of_key;
use crate::model::Model;
use crate::names;

/// Renders `__with_key`, which passes the function, its instance and the arguments of the key to a
/// `CallMode`.
pub(super) fn key_function(model: &Model<'_>, hidden: &Hidden) -> TokenStream {
    let private = private(model);
    let result = result_of_key(model);
    let at = slot(model, hidden);
    let key = key(model, true);
    let (mode, returned) = (names::local("__mode"), names::local("__returned"));
    let mut sig = model.function.sig.clone();
    sig.ident = hidden.with_key.clone();
    sig.asyncness = None;
    sig.generics.params.push(syn::parse_quote!(
        __Spec: #private::CachedResult<Result = #result>
    ));
    sig.generics
        .params
        .push(syn::parse_quote!(__Mode: #private::CallMode<__Spec>));
    sig.output = syn::parse_quote!(-> __Mode::Output);
    let receiver = sig.receiver().map(|receiver| -> FnArg {
        let this = &receiver.self_token;
        match &receiver.kind {
            // As in the user's method, so that an expression in the key means the same.
            ReceiverKind::Reference(and, lifetime, _) => {
                syn::parse_quote!(#this: #and #lifetime Self)
            }
            ReceiverKind::Typed(_, ty) => syn::parse_quote!(#this: &#ty),
            // By value. syn reads no other kind.
            _ => syn::parse_quote!(&#this),
        }
    });
    let arguments = model.keyed_arguments().map(|argument| -> FnArg {
        let (ident, ty) = (&argument.ident, model.key_type(argument));
        // `&impl A + B` would be parsed as a sum of references.
        match ty {
            syn::Type::ImplTrait(_) => syn::parse_quote!(#ident: &(#ty)),
            _ => syn::parse_quote!(#ident: &#ty),
        }
    });
    let own = [
        syn::parse_quote!(#mode: __Mode),
        syn::parse_quote!(#returned: __Spec),
    ];
    sig.inputs = receiver.into_iter().chain(own).chain(arguments).collect();
    let attrs = model.function.shared_attrs();
    quote! {
        #attrs
        #[doc(hidden)]
        #[inline]
        #[allow(
            unused_parens,
            unused_lifetimes,
            single_use_lifetimes,
            clippy::all,
            clippy::pedantic
        )]
        #sig {
            #mode.take(#at, #returned, #key)
        }
    }
}

/// The use that a call of `__with_key` makes of the key.
pub(super) enum Mode<'a> {
    /// A `CallMode` of the runtime, by its name.
    Named(&'static str),
    /// The variable with the `CallMode` of one id of a batch, the variable with that id, and the
    /// argument in whose place it is.
    OneOf {
        item: Ident,
        id: Ident,
        ids: &'a Ident,
    },
}

impl Mode<'_> {
    pub(super) fn mode(&self, model: &Model<'_>) -> TokenStream {
        match self {
            Self::Named(name) => {
                let (private, name) = (private(model), Ident::new(name, Span::call_site()));
                quote!(#private::#name)
            }
            Self::OneOf { item, .. } => quote!(#item),
        }
    }

    /// Renders a reference to an argument of the key.
    pub(super) fn argument(&self, ident: &Ident) -> TokenStream {
        match self {
            Self::OneOf { id, ids, .. } if *ids == ident => quote!(#id),
            _ => quote!(&#ident),
        }
    }

    pub(super) fn receiver(&self, receiver: &Receiver) -> TokenStream {
        let this = &receiver.self_token;
        match &receiver.kind {
            ReceiverKind::Reference(_, _, None) => quote!(#this),
            ReceiverKind::Reference(_, _, Some(_)) => quote!(&*#this),
            _ => quote!(&#this),
        }
    }
}

/// Renders a call of `__with_key` with a `CallMode` of the runtime.
pub(super) fn with_key(model: &Model<'_>, hidden: &Hidden, mode: &'static str) -> TokenStream {
    with_key_of(model, hidden, &Mode::Named(mode))
}

/// Renders a call of `__with_key`.
pub(super) fn with_key_of(model: &Model<'_>, hidden: &Hidden, mode: &Mode<'_>) -> TokenStream {
    let Hidden {
        owner,
        with_key,
        returns,
        ..
    } = hidden;
    let (outer, inner) = (turbofish(model, 2), turbofish(model, 0));
    let receiver = model.function.sig.receiver().map(|receiver| {
        let this = mode.receiver(receiver);
        quote!(#this,)
    });
    let arguments = model.keyed_arguments();
    let arguments = arguments.map(|argument| mode.argument(&argument.ident));
    let mode = mode.mode(model);
    quote! {
        #owner::#with_key #outer(
            #receiver #mode, #owner::#returns #inner, #(#arguments),*
        )
    }
}

/// Renders a closure that adds the parts of the key, in order. Inside `__with_key`, whole arguments
/// are references already (`borrowed`).
pub(super) fn key(model: &Model<'_>, borrowed: bool) -> TokenStream {
    let parts = names::local("__parts");
    let added = model.key.iter().map(|part| {
        let value = at(part.span, &part.value);
        let value = match part.is_argument {
            true if borrowed => value,
            true => quote_spanned!(part.span=> &#value),
            false => quote_spanned!(part.span=> &(#value)),
        };
        let add = if part.is_opaque {
            quote_spanned!(part.span=> add_opaque)
        } else {
            quote_spanned!(part.span=> add)
        };
        quote_spanned!(part.span=> #parts.#add(#value);)
    });
    let private = private(model);
    let unused = model.key.is_empty().then(|| quote!(let _ = #parts;));
    quote!(|#parts: &mut #private::Parts<'_>| { #unused #(#added)* })
}
