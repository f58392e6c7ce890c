//! A call whose load may continue in the background after its caller was answered.
//!
//! ```text
//! // Input
//! #[multi_tier_cached(ttl = "5m", stale_while_revalidate = "1m")]
//! async fn get_user(pool: &Pool, id: u64) -> Result<User, DbError> { body }
//!
//! // Output
//! async fn get_user(pool: &Pool, id: u64) -> Result<User, DbError> {
//!     let lookup = match get_user::__with_key(CallTimed, get_user::__returns, &pool, &id) {
//!         TimedLookup::Hit(result) => return result,
//!         lookup => lookup,
//!     };
//!     let pool = keep(pool);
//!     let id = own(id);
//!     let loading = match lookup.load_late(
//!         move || async move { get_user::__body(pool.lend(), id).await },
//!     ) {
//!         LateCall::Answered(result) => return result,
//!         LateCall::Loading(loading) => loading,
//!     };
//!     loading.await
//! }
//! ```
//!
//! The arguments are copied behind the look-up, so that a hit copies nothing. They are copied once,
//! whether a stale value was found or none: only one place requires that the load is
//! `Send + 'static`, so that an unsuitable type is one error.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{ReceiverKind, Type};

use super::pieces::{Hidden, at, private, turbofish};
use crate::model::Model;
use crate::names;
use crate::types::referred;

/// Renders the body of the function under the user's name.
pub(super) fn late_call(model: &Model<'_>, hidden: &Hidden, start: &TokenStream) -> TokenStream {
    let private = private(model);
    let result = names::local("__result");
    let (lookup, loading) = (names::local("__lookup"), names::local("__loading"));
    let Hidden { owner, body, .. } = hidden;
    let turbofish = turbofish(model, 0);
    let receiver = receiver(model);
    let arguments: Vec<_> = receiver.into_iter().chain(arguments(model)).collect();
    let kept = arguments.iter().map(|argument| &argument.kept);
    let passed = arguments.iter().map(|argument| &argument.passed);
    let make = quote!(move || async move { #owner::#body #turbofish(#(#passed),*).await });
    // An error of the result is reported at the return type.
    let span = model.returned.span();
    let receiver = at(span, &quote!(#lookup));
    let private_there = at(span, &private);
    let call = quote_spanned!(span=> #private_there::TimedLookup::load_late(#receiver, #make));
    quote! {
        let #lookup = match #start {
            #private::TimedLookup::Hit(#result) => return #result,
            #lookup => #lookup,
        };
        #(#kept)*
        let #loading = match #call {
            #private::LateCall::Answered(#result) => return #result,
            #private::LateCall::Loading(#loading) => #loading,
        };
        #loading.await
    }
}

/// An argument of a load that owns everything that it uses.
struct OwnedArgument {
    /// The statement that makes the load its owner.
    kept: TokenStream,
    /// The argument of the body.
    passed: TokenStream,
}

impl OwnedArgument {
    /// `references` are those that the type of the argument consists of. Errors are reported at
    /// `span`.
    fn new(
        model: &Model<'_>,
        name: &Ident,
        value: &TokenStream,
        references: usize,
        span: Span,
    ) -> Self {
        let private = at(span, &private(model));
        if references == 0 {
            return Self {
                kept: quote_spanned!(span=> let #name = #private::own(#value);),
                passed: quote!(#name),
            };
        }
        // The body gets as many references as it is written with, to what the load owns.
        let inner = (1..references).map(|_| quote_spanned!(span=> *));
        let outer = (1..references).map(|_| quote!(&));
        Self {
            kept: quote_spanned!(span=> let #name = #private::keep(#(#inner)* #value);),
            passed: quote!(#(#outer)* #name.lend()),
        }
    }
}

fn receiver(model: &Model<'_>) -> Option<OwnedArgument> {
    let receiver = model.function.sig.receiver()?;
    let this = &receiver.self_token;
    let references = match &receiver.kind {
        ReceiverKind::Reference(..) => 1,
        ReceiverKind::Typed(_, ty) => referred(ty).0,
        _ => 0,
    };
    let name = names::local("__this");
    let span = receiver.span();
    Some(OwnedArgument::new(
        model,
        &name,
        &quote!(#this),
        references,
        span,
    ))
}

fn arguments<'a>(model: &'a Model<'_>) -> impl Iterator<Item = OwnedArgument> + 'a {
    model.arguments.iter().map(|argument| {
        let name = &argument.ident;
        let ty: &Type = argument.ty;
        OwnedArgument::new(model, name, &quote!(#name), referred(ty).0, ty.span())
    })
}
