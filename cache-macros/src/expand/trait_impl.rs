//! A method in the `impl` of a trait. No items are allowed beside it, so everything is inside.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

use super::declaration::declaration;
use super::instance::{constants, instance};
use super::key::key;
use super::look_up::{miss, mode};
use super::pieces::private;
use super::result::returns;
use crate::handles::signature;
use crate::model::Model;
use crate::names;

/// Renders a method of a trait.
pub(super) fn in_trait_impl(model: &Model<'_>) -> TokenStream {
    let attrs = &model.function.attrs;
    let vis = &model.function.vis;
    let sig = signature(
        &model.function.sig,
        &model.arguments,
        &model.function.sig.ident,
    );
    let (miss, result) = (names::local("__miss"), names::local("__result"));
    let declaration = declaration(model);
    let constants = constants(model);
    let look_up = look_up(model);
    let returned = model.returned;
    let body = model.function.body.stream();
    let patterns = model
        .arguments
        .iter()
        .filter(|argument| !argument.simple)
        .map(|argument| {
            let (pat, ident) = (argument.pat, &argument.ident);
            quote!(let #pat = #ident;)
        });
    let mutable = model
        .arguments
        .iter()
        .filter(|argument| argument.simple)
        .filter_map(|argument| match argument.pat {
            syn::Pat::Ident(pat) if pat.mutability.is_some() => {
                let ident = &argument.ident;
                Some(quote!(let mut #ident = #ident;))
            }
            _ => None,
        });
    let (load, block, wait) = if model.is_blocking {
        (
            quote!(#miss.load_blocking),
            quote!(-> #returned),
            TokenStream::new(),
        )
    } else {
        (quote!(#miss.load), quote!(async move), quote!(.await))
    };
    quote! {
        #(#attrs)*
        #vis #sig {
            #declaration
            fn __here() {}
            #constants
            let #miss = #look_up;
            #load(move || #block {
                // Ties the type of the block to the signature, so that errors are reported in the
                // body.
                #[allow(unreachable_code, clippy::all)]
                if false {
                    let #result: #returned = loop {};
                    return #result;
                }
                #(#patterns)*
                #(#mutable)*
                #body
            })#wait
        }
    }
}

/// Renders a method after `#[async_trait]`: its body is an expression that boxes a future.
pub(super) fn in_boxed_trait_impl(model: &Model<'_>) -> TokenStream {
    let attrs = &model.function.attrs;
    let vis = &model.function.vis;
    let sig = &model.function.sig;
    let miss = names::local("__miss");
    let declaration = declaration(model);
    let constants = constants(model);
    let look_up = look_up(model);
    let body = &model.function.body;
    quote! {
        #(#attrs)*
        #vis #sig {
            #declaration
            fn __here() {}
            #constants
            ::std::boxed::Box::pin(async move {
                let #miss = #look_up;
                #miss.load(move || #body).await
            })
        }
    }
}

/// Renders the look-up of a call, with the key and the description of the result in place.
fn look_up(model: &Model<'_>) -> TokenStream {
    let private = private(model);
    let mode = Ident::new(mode(model), Span::call_site());
    let at = instance(model, &quote!(&__SLOT));
    let returns = returns(model);
    let key = key(model, false);
    let start = quote!(#private::CallMode::take(#private::#mode, #at, #returns, #key));
    miss(model, &start)
}
