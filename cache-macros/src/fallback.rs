//! What is left when there are mistakes: the function as it was, so that nothing else fails, and the mistakes.
//!
//! The mistakes stand inside its body where there is one: beside it they would be refused in an `impl` of a trait.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

use crate::errors::Errors;
use crate::item::Function;

pub(crate) fn expand(item: TokenStream, parsed: Option<&Function>, errors: Errors) -> TokenStream {
    let errors = errors.into_compile_errors();
    let Some(Function {
        attrs,
        vis,
        sig,
        body,
    }) = parsed
    else {
        return quote!(#item #errors);
    };
    let statements = errors.into_token_stream();
    let body = body.stream();
    quote! {
        #(#attrs)*
        #vis #sig {
            #statements
            #body
        }
    }
}
