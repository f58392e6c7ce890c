//! Pieces that several parts of an expansion use.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::quote;
use syn::GenericParam;

use crate::model::Model;

/// The names of the hidden items beside a function, as they are written where they are.
pub(super) struct Hidden {
    pub(super) with_key: Ident,
    pub(super) returns: Ident,
    pub(super) body: Ident,
    pub(super) slot: Ident,
    /// The path before a call: `get_user` or `Self`.
    pub(super) owner: TokenStream,
}

pub(super) fn private(model: &Model<'_>) -> TokenStream {
    let facade = &model.facade;
    quote!(#facade::__private)
}

/// The type and const parameters, written out because some may be in the result alone; then `more`
/// that can be inferred.
pub(super) fn turbofish(model: &Model<'_>, more: usize) -> Option<TokenStream> {
    let mut names = model
        .parameters()
        .map(|parameter| match parameter {
            GenericParam::Type(parameter) => &parameter.ident,
            GenericParam::Const(parameter) => &parameter.ident,
            GenericParam::Lifetime(parameter) => &parameter.lifetime.ident,
        })
        .peekable();
    names.peek()?;
    let more = (0..more).map(|_| quote!(_));
    Some(quote!(::<#(#names,)* #(#more),*>))
}

/// Moves tokens to another place, where errors in them are reported. Their meaning does not change.
pub(super) fn at(span: Span, tokens: &TokenStream) -> TokenStream {
    let moved = tokens.clone().into_iter().map(|token| match token {
        TokenTree::Group(group) => {
            let mut moved = Group::new(group.delimiter(), at(span, &group.stream()));
            moved.set_span(group.span().located_at(span));
            moved.into()
        }
        mut token => {
            token.set_span(token.span().located_at(span));
            token
        }
    });
    moved.collect()
}

/// The span of tokens that mean what they mean in the expansion, and whose errors are reported at
/// another place.
pub(super) fn reported_at(span: Span) -> Span {
    Span::call_site().located_at(span)
}
