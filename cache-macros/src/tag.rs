//! `tag!("org:{user.org}")`: a tag from variables in scope.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::LitStr;
use syn::parse::{Parse, ParseStream};

use crate::names;
use crate::template::{self, Piece, Purpose};

struct Input(LitStr);

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let help = "help: write such as `tag!(\"user:{id}\")`";
        if !input.peek(LitStr) {
            let says = format!("expected the text of a tag; {help}");
            return Err(input.error(says));
        }
        let text = input.parse()?;
        match input.is_empty() {
            true => Ok(Self(text)),
            false => Err(input.error(format!("a tag has one text and nothing else; {help}"))),
        }
    }
}

pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let Input(text) = syn::parse2(input)?;
    render(&text)
}

/// Renders the tag of a template whose placeholders name variables and their fields.
pub(crate) fn render(text: &LitStr) -> syn::Result<TokenStream> {
    if text.value().is_empty() {
        let says = "the tag is empty; help: write such as \"user:{id}\" or \"all-users\"";
        return Err(syn::Error::new(text.span(), says));
    }
    let facade = names::facade(None);
    let private = quote!(#facade::__private);
    let parts = names::local("__parts");
    let (mut pieces, mut added, mut literal) = (Vec::new(), Vec::new(), String::new());
    for piece in template::parse(text, Purpose::Tag)? {
        match piece {
            Piece::Literal(text) => {
                pieces.push(quote!(#private::Piece::Literal(#text)));
                literal = text;
            }
            Piece::Argument(_, place) => {
                pieces.push(quote!(#private::Piece::Argument));
                // An error of the type is reported at the text.
                added.push(quote_spanned!(text.span()=> #parts.add(&#place);));
            }
        }
    }
    Ok(match added.is_empty() {
        true => quote!(#private::Tag::new(#literal)),
        false => quote! {
            #private::tag(
                &[#(#pieces),*],
                |#parts: &mut #private::Parts<'_>| { #(#added)* },
            )
        },
    })
}
