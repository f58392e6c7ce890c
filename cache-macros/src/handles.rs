//! The public items beside a function: `entry`, `invalidation` and `invalidate_all`.
//!
//! A correct attribute and one that has mistakes declare the same items, with other bodies.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::FnArg;

use crate::item::{Argument, Function};
use crate::names::HandleNames;

/// The declarations of the items.
pub(crate) struct Handles<'a> {
    pub(crate) function: &'a Function,
    pub(crate) arguments: &'a [Argument<'a>],
    /// The argument with the ids of a batch.
    pub(crate) ids: Option<&'a Ident>,
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
        let mut entry_sig = self.signature(&self.names.entry, call);
        if let Some(ids) = self.ids {
            name_lifetimes_of_ids(&mut entry_sig, ids);
        }
        let entry = self.item(&doc, &quote!(#entry_sig), entry);
        let doc = match self.ids {
            None => format!("Invalidates one key of `{name}` in every tier."),
            Some(_) => format!("Invalidates the keys of some ids of `{name}` in every tier."),
        };
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

/// Names the lifetimes of ids that are elided (`&[&str]`), because the type of a handle of several
/// ids has the type of an id.
fn name_lifetimes_of_ids(sig: &mut syn::Signature, ids: &Ident) {
    let typed = sig.inputs.iter_mut().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    });
    for argument in typed {
        if !matches!(&*argument.pat, syn::Pat::Ident(name) if name.ident == *ids) {
            continue;
        }
        let ty = &mut argument.ty;
        let named = match &**ty {
            // The list itself may live as long as the call of `entry`.
            syn::Type::Reference(list) => {
                let (lifetime, list) = (&list.lifetime, named_lifetimes(&*list.elem));
                quote!(&#lifetime #list)
            }
            list => named_lifetimes(list),
        };
        if named.to_string() != quote!(#ty).to_string()
            && let Ok(named) = syn::parse2(named)
        {
            **ty = named;
            let lifetime = lifetime_of_ids();
            sig.generics.params.insert(0, syn::parse_quote!(#lifetime));
        }
    }
}

/// Returns a type whose elided lifetimes are named.
pub(crate) fn named_lifetimes(ty: impl ToTokens) -> TokenStream {
    let mut named = TokenStream::new();
    let mut tokens = ty.into_token_stream().into_iter().peekable();
    let is = |token: &TokenTree, sign| matches!(token, TokenTree::Punct(p) if p.as_char() == sign);
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), named_lifetimes(group.stream()));
                inner.set_span(group.span());
                named.extend([TokenTree::from(inner)]);
            }
            token if is(&token, '&') => {
                named.extend([token]);
                if !tokens.peek().is_some_and(|next| is(next, '\'')) {
                    lifetime_of_ids().to_tokens(&mut named);
                }
            }
            token if is(&token, '\'') => {
                let is_elided =
                    matches!(tokens.peek(), Some(TokenTree::Ident(name)) if name == "_");
                if is_elided {
                    tokens.next();
                    lifetime_of_ids().to_tokens(&mut named);
                } else {
                    named.extend([token]);
                }
            }
            token => named.extend([token]),
        }
    }
    named
}

fn lifetime_of_ids() -> syn::Lifetime {
    syn::Lifetime::new("'__ids", Span::mixed_site())
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
