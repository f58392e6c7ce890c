//! The model as tokens. Nothing is decided here.
//!
//! ```text
//! // Input
//! #[multi_tier_cached(ttl = "5m")]
//! pub async fn get_user(id: u64) -> Result<User, DbError> { body }
//!
//! // Output
//! pub async fn get_user(id: u64) -> Result<User, DbError> {
//!     let miss = match get_user::__with_key(CallNow, get_user::__returns(), &id) {
//!         MemoryLookup::Hit(result) => return result,
//!         MemoryLookup::Miss(miss) => miss,
//!     };
//!     miss.load(move || get_user::__body(id)).await
//! }
//! pub struct get_user { .. }
//! impl get_user {
//!     pub fn entry(id: u64) -> Call<..> { call(get_user::__with_key(MakeHandle, .., &id), get_user::__body(id)) }
//!     pub fn invalidate_all() -> Invalidation { .. }
//!     fn __with_key(step: impl CallMode, .., id: &u64) -> .. { step.take(FunctionRef::new(get_user::__slot()), .., |parts| parts.add(id)) }
//!     fn __returns() -> impl CachedResult<Result = Result<User, DbError>> { returns!(..) }
//!     fn __slot() -> &'static FunctionSlot { static __SLOT: FunctionSlot = ..; &SITE }
//!     async fn __body(id: u64) -> Result<User, DbError> { body }
//! }
//! ```
//!
//! Arguments are spoken of in `__with_key` alone and the result in `__returns`, so that a type that will not do is one error.
//!
//! In an `impl` the associated functions stand beside the method, under names made of its own. In the `impl` of a trait
//! nothing can stand beside it, and all is inside.

mod declaration;
mod instance;
mod trait_impl;

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, GenericParam, ReceiverKind};

use self::declaration::declaration;
use self::instance::{constants, instance, slot};
use self::trait_impl::{in_boxed_trait_impl, in_trait_impl};
use crate::model::{Argument, Model, Place};
use crate::names;

/// The names of the generated functions, as they are written where they stand.
struct Beside {
    entry: Ident,
    invalidate_all: Ident,
    with_key: Ident,
    returns: Ident,
    body: Ident,
    slot: Ident,
    /// What is in front of a call: `get_user` or `Self`.
    owner: TokenStream,
}

pub(crate) fn expand(model: &Model<'_>) -> TokenStream {
    match model.place {
        Place::Free => free(model),
        Place::Method => method(model),
        Place::TraitImpl => in_trait_impl(model),
        Place::BoxedTraitImpl => in_boxed_trait_impl(model),
    }
}

fn free(model: &Model<'_>) -> TokenStream {
    let name = &model.function.sig.ident;
    let vis = &model.function.vis;
    let beside = Beside {
        entry: format_ident!("entry", span = name.span()),
        invalidate_all: format_ident!("invalidate_all", span = name.span()),
        with_key: format_ident!("__with_key"),
        returns: format_ident!("__returns"),
        body: format_ident!("__body"),
        slot: format_ident!("__slot"),
        owner: quote!(#name),
    };
    let outer = outer(model, &beside);
    let functions = functions(model, &beside);
    let attrs = model.function.shared_attrs();
    let doc = format!("Handles of [`fn@{name}`]: `{name}::entry(..)`.");
    quote! {
        #outer

        #attrs
        #[doc = #doc]
        #[allow(non_camel_case_types, dead_code)]
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

fn method(model: &Model<'_>) -> TokenStream {
    let name = &model.function.sig.ident;
    let beside = Beside {
        entry: names::method_entry(name),
        invalidate_all: names::method_invalidate_all(name),
        with_key: names::method_with_key(name),
        returns: names::method_returns(name),
        body: names::method_body(name),
        slot: names::method_site(name),
        owner: quote!(Self),
    };
    let outer = outer(model, &beside);
    let functions = functions(model, &beside);
    quote!(#outer #functions)
}

/// The function itself: a look in memory, else a load.
fn outer(model: &Model<'_>, beside: &Beside) -> TokenStream {
    let Beside { owner, body, .. } = beside;
    let attrs = model.function.outer_attrs();
    let vis = &model.function.vis;
    let sig = signature(
        &model.function.sig,
        &model.arguments,
        &model.function.sig.ident,
        true,
    );
    let start = with_key(model, beside, "CallNow");
    let (miss, result) = (names::local("__miss"), names::local("__result"));
    let private = private(model);
    let turbofish = turbofish(model, 0);
    let passed = passed(model);
    let load = if model.is_blocking {
        quote!(#miss.load_blocking(move || #owner::#body #turbofish(#passed)))
    } else {
        quote!(#miss.load(move || #owner::#body #turbofish(#passed)).await)
    };
    quote! {
        #(#attrs)*
        #[allow(clippy::used_underscore_binding)]
        #vis #sig {
            let #miss = match #start {
                #private::MemoryLookup::Hit(#result) => return #result,
                #private::MemoryLookup::Miss(#miss) => #miss,
            };
            #load
        }
    }
}

/// What stands beside it.
fn functions(model: &Model<'_>, beside: &Beside) -> TokenStream {
    let entry = entry(model, beside);
    let whole = whole(model, beside);
    let key = key_function(model, beside);
    let returns = returns_function(model, beside);
    let constants = constants(model);
    let slot = &beside.slot;
    let declaration = declaration(model);
    let private = private(model);
    let mut body_sig = signature(&model.function.sig, &model.arguments, &beside.body, false);
    body_sig.asyncness = model.function.sig.asyncness;
    let body = &model.function.body;
    let body_attrs = model.function.body_attrs();
    quote! {
        #entry

        #whole

        #key

        #returns

        #constants

        #[doc(hidden)]
        fn #slot() -> &'static #private::FunctionSlot {
            #declaration
            &__SLOT
        }

        #body_attrs
        #[doc(hidden)]
        #body_sig #body
    }
}

/// The handle of one call.
fn entry(model: &Model<'_>, beside: &Beside) -> TokenStream {
    let Beside { owner, body, .. } = beside;
    let attrs = model.function.shared_attrs();
    let vis = &model.function.vis;
    let private = private(model);
    let returned = model.returned;
    let mut sig = signature(&model.function.sig, &model.arguments, &beside.entry, true);
    sig.asyncness = None;
    sig.output = syn::parse_quote! {
        -> #private::Call<#returned, impl ::core::future::Future<Output = #returned>>
    };
    let prepare = with_key(model, beside, "MakeHandle");
    let turbofish = turbofish(model, 0);
    let passed = passed(model);
    let handle = names::local("__handle");
    let call = quote!(#owner::#body #turbofish(#passed));
    let call = if model.is_blocking {
        quote!(async move { #call })
    } else {
        call
    };
    let doc = format!(
        "The handle of one call of `{}`, not made yet.",
        model.function.sig.ident
    );
    quote! {
        #attrs
        #[doc = #doc]
        #[allow(dead_code, unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
        #vis #sig {
            let #handle = #prepare;
            #private::call(#handle, #call)
        }
    }
}

/// Drops all keys.
fn whole(model: &Model<'_>, beside: &Beside) -> TokenStream {
    let name = &beside.invalidate_all;
    let attrs = model.function.shared_attrs();
    let vis = &model.function.vis;
    let private = private(model);
    let at = slot(model, beside);
    let generics = model.instance_generics();
    let where_clause = &generics.where_clause;
    let doc = format!(
        "Drops every value of `{}` in every tier.",
        model.function.sig.ident
    );
    quote! {
        #attrs
        #[doc = #doc]
        #[allow(dead_code, unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
        #vis fn #name #generics() -> #private::Invalidation #where_clause {
            #at.invalidate_all()
        }
    }
}

/// Tells function, instance and arguments to whatever is done with them.
fn key_function(model: &Model<'_>, beside: &Beside) -> TokenStream {
    let private = private(model);
    let returned = model.returned;
    let at = slot(model, beside);
    let key = key(model, true);
    let mut sig = model.function.sig.clone();
    sig.ident = beside.with_key.clone();
    sig.asyncness = None;
    sig.generics.params.push(syn::parse_quote!(
        __Spec: #private::CachedResult<Result = #returned>
    ));
    sig.generics
        .params
        .push(syn::parse_quote!(__Mode: #private::CallMode<__Spec>));
    sig.output = syn::parse_quote!(-> __Mode::Output);
    let receiver = sig.receiver().map(|receiver| -> FnArg {
        let this = &receiver.self_token;
        match &receiver.kind {
            // As the user's method has it, so that an expression in the key means the same.
            ReceiverKind::Reference(and, lifetime, _) => {
                syn::parse_quote!(#this: #and #lifetime Self)
            }
            ReceiverKind::Typed(_, ty) => syn::parse_quote!(#this: &#ty),
            // By value; any other kind is one that syn does not read.
            _ => syn::parse_quote!(&#this),
        }
    });
    let arguments = model.keyed_arguments().map(|argument| -> FnArg {
        let (ident, ty) = (&argument.ident, argument.ty);
        // `&impl A + B` would be read as a sum of references.
        match ty {
            syn::Type::ImplTrait(_) => syn::parse_quote!(#ident: &(#ty)),
            _ => syn::parse_quote!(#ident: &#ty),
        }
    });
    let own = [
        syn::parse_quote!(__step: __Mode),
        syn::parse_quote!(__terms: __Spec),
    ];
    sig.inputs = receiver.into_iter().chain(own).chain(arguments).collect();
    let attrs = model.function.shared_attrs();
    quote! {
        #attrs
        #[doc(hidden)]
        #[inline]
        #[allow(unused_parens, unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
        #sig {
            __step.take(#at, __terms, #key)
        }
    }
}

/// A call of it.
fn with_key(model: &Model<'_>, beside: &Beside, step: &str) -> TokenStream {
    let Beside {
        owner,
        with_key,
        returns,
        ..
    } = beside;
    let private = private(model);
    let step = Ident::new(step, Span::call_site());
    let (outer, inner) = (turbofish(model, 2), turbofish(model, 0));
    let receiver = model.function.sig.receiver().map(|receiver| {
        let this = &receiver.self_token;
        match &receiver.kind {
            ReceiverKind::Reference(_, _, None) => quote!(#this,),
            ReceiverKind::Reference(_, _, Some(_)) => quote!(&*#this,),
            _ => quote!(&#this,),
        }
    });
    let arguments = model.keyed_arguments().map(|argument| {
        let ident = &argument.ident;
        quote!(&#ident)
    });
    quote! {
        #owner::#with_key #outer(#receiver #private::#step, #owner::#returns #inner(), #(#arguments),*)
    }
}

/// Tells what the function returns, and no more of it than a call needs.
fn returns_function(model: &Model<'_>, beside: &Beside) -> TokenStream {
    let name = &beside.returns;
    let private = private(model);
    let returned = model.returned;
    let returns = returns(model);
    let generics = &model.function.sig.generics;
    let where_clause = &generics.where_clause;
    let attrs = model.function.shared_attrs();
    quote! {
        #attrs
        #[doc(hidden)]
        #[inline]
        #[allow(unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
        fn #name #generics() -> impl #private::CachedResult<Result = #returned> #where_clause {
            #returns
        }
    }
}

fn private(model: &Model<'_>) -> TokenStream {
    let facade = &model.facade;
    quote!(#facade::__private)
}

/// The user's signature under another name; with plain names for the arguments where they are passed on.
pub(crate) fn signature(
    sig: &syn::Signature,
    arguments: &[Argument<'_>],
    name: &Ident,
    plain: bool,
) -> syn::Signature {
    let mut sig = sig.clone();
    sig.ident = name.clone();
    if plain {
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
    }
    sig
}

/// The arguments by name, `self` first.
fn passed(model: &Model<'_>) -> TokenStream {
    let receiver = model.function.sig.receiver().map(|receiver| {
        let this = &receiver.self_token;
        quote!(#this,)
    });
    let names = model.arguments.iter().map(|argument| &argument.ident);
    quote!(#receiver #(#names),*)
}

/// Type and const parameters, said aloud: they may stand in the result alone. `more` follow that can be inferred.
fn turbofish(model: &Model<'_>, more: usize) -> Option<TokenStream> {
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

/// The key's parts, one after another. Whole arguments are references already in the function that is given them.
fn key(model: &Model<'_>, borrowed: bool) -> TokenStream {
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

/// What the runtime is to know of the result, told from its type; errors stand there.
fn returns(model: &Model<'_>) -> TokenStream {
    let returned = model.returned;
    let private = at(returned.span(), &private(model));
    let kind = if model.is_memory_only() {
        quote!(memory_only)
    } else {
        quote!(shared)
    };
    // Whether an error can be cloned does not say how long it lives.
    let share = match &model.share_error {
        Some(rebuild) => Some(quote!(rebuilt(#rebuild))),
        None => model.borrows_its_error.then(|| quote!(unshared)),
    };
    let returns = quote_spanned!(returned.span()=> #private::returns!(#share #kind #returned));
    match &model.cache_if {
        None => returns,
        Some(cache_if) => quote_spanned!(cache_if.span()=> #returns.keep_if(#cache_if)),
    }
}

/// The same tokens, standing elsewhere: an error in them is shown there. What they mean does not change.
fn at(span: Span, tokens: &TokenStream) -> TokenStream {
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

/// The beginning of a call where all stands inside.
fn start(model: &Model<'_>, at: &TokenStream) -> TokenStream {
    let private = private(model);
    let returns = returns(model);
    let key = key(model, false);
    quote!(#private::CallMode::take(#private::CallNow, #at, #returns, #key))
}
