//! Renders the model as tokens. It makes no decisions.
//!
//! ```text
//! // Input
//! #[multi_tier_cached(ttl = "5m")]
//! pub async fn get_user(id: u64) -> Result<User, DbError> { body }
//!
//! // Output
//! pub async fn get_user(id: u64) -> Result<User, DbError> {
//!     let miss = match get_user::__with_key(CallNow, get_user::__returns, &id) {
//!         MemoryLookup::Hit(result) => return result,
//!         MemoryLookup::Miss(miss) => miss,
//!     };
//!     miss.load(move || get_user::__body(id)).await
//! }
//! pub struct get_user { .. }
//! impl get_user {
//!     pub fn entry(id: u64) -> Call<..> {
//!         let handle = get_user::__with_key(MakeHandle, get_user::__returns, &id);
//!         call(handle, get_user::__body(id))
//!     }
//!     pub fn invalidation(id: u64) -> Invalidation {
//!         get_user::__with_key(MakeInvalidation, get_user::__returns, &id)
//!     }
//!     pub fn invalidate_all() -> Invalidation { .. }
//!     fn __with_key(mode: impl CallMode, returned: impl CachedResult<..>, id: &u64) -> .. {
//!         mode.take(FunctionRef::new(get_user::__slot()), returned, |parts| parts.add(id))
//!     }
//!     fn __returns() -> impl CachedResult<Result = Result<User, DbError>> { returns!(..) }
//!     fn __slot() -> &'static FunctionSlot { static __SLOT: FunctionSlot = ..; &__SLOT }
//!     async fn __body(id: u64) -> Result<User, DbError> { body }
//! }
//! ```
//!
//! Only `__with_key` uses the types of arguments and only `__returns` that of the result, so that
//! an unsuitable type is one error.
//!
//! In an `impl` the associated functions are beside the method, under names that begin with its
//! own. In the `impl` of a trait no other items are allowed, so everything is inside of the method.

mod batch;
mod declaration;
mod instance;
mod key;
mod late;
mod look_up;
mod pieces;
mod result;
mod same_as;
mod trait_impl;

use proc_macro2::TokenStream;
use quote::quote;

use self::batch::BatchParts;
use self::declaration::declaration;
use self::instance::{constants, slot};
use self::key::{key_function, with_key};
use self::late::late_call;
use self::look_up::{miss, mode};
use self::pieces::{Hidden, private, turbofish};
use self::result::returns_function;
use self::trait_impl::{in_boxed_trait_impl, in_trait_impl};
use crate::handles::{Bodies, Handles, owner_of_free, signature};
use crate::item::ItemKind;
use crate::model::{CallForm, Model};
use crate::names::{self, HandleNames};

pub(crate) fn expand(model: &Model<'_>) -> TokenStream {
    match model.kind {
        ItemKind::Free => free(model),
        ItemKind::Method => method(model),
        ItemKind::TraitImpl => in_trait_impl(model),
        ItemKind::BoxedTraitImpl => in_boxed_trait_impl(model),
    }
}

fn free(model: &Model<'_>) -> TokenStream {
    let name = &model.function.sig.ident;
    let hidden = Hidden {
        with_key: names::hidden("with_key"),
        returns: names::hidden("returns"),
        body: names::hidden("body"),
        slot: names::hidden("slot"),
        owner: quote!(#name),
    };
    let outer = outer(model, &hidden);
    let items = items(model, &hidden, HandleNames::of_free(name));
    let owner = owner_of_free(model.function, &items);
    quote!(#outer #owner)
}

fn method(model: &Model<'_>) -> TokenStream {
    let name = &model.function.sig.ident;
    let hidden = Hidden {
        with_key: names::hidden_of_method(name, "with_key"),
        returns: names::hidden_of_method(name, "returns"),
        body: names::hidden_of_method(name, "body"),
        slot: names::hidden_of_method(name, "slot"),
        owner: quote!(Self),
    };
    let outer = outer(model, &hidden);
    let items = items(model, &hidden, HandleNames::of_method(name));
    quote!(#outer #items)
}

/// The function itself: a look-up in memory, then a load.
fn outer(model: &Model<'_>, hidden: &Hidden) -> TokenStream {
    let function = model.function;
    let (attrs, vis) = (function.outer_attrs(), &function.vis);
    let sig = signature(&function.sig, &model.arguments, &function.sig.ident);
    let start = || with_key(model, hidden, mode(model));
    let call = match (&model.batch, model.call) {
        (Some(batch), _) => BatchParts::new(model, batch, hidden).call(),
        (None, CallForm::Untimed | CallForm::Timed) => call(model, hidden, &start()),
        (None, CallForm::Late) => late_call(model, hidden, &start()),
    };
    quote! {
        #(#attrs)*
        #[allow(clippy::used_underscore_binding)]
        #vis #sig {
            #call
        }
    }
}

/// A call whose load ends with its caller.
fn call(model: &Model<'_>, hidden: &Hidden, start: &TokenStream) -> TokenStream {
    let name = names::local("__miss");
    let miss = miss(model, start);
    let body = body_call(model, hidden);
    let load = if model.is_blocking {
        quote!(#name.load_blocking(move || #body))
    } else {
        quote!(#name.load(move || #body).await)
    };
    quote! {
        let #name = #miss;
        #load
    }
}

/// The items beside the function.
fn items(model: &Model<'_>, hidden: &Hidden, names: HandleNames) -> TokenStream {
    let handles = handles(model, hidden, names);
    let has_own_options = !model.has_options_of_another();
    let described = has_own_options.then(|| described(model, hidden));
    let mut body_sig = model.function.sig.clone();
    body_sig.ident = hidden.body.clone();
    let body = &model.function.body;
    let body_attrs = model.function.body_attrs();
    quote! {
        #handles

        #described

        #body_attrs
        #[doc(hidden)]
        #body_sig #body
    }
}

/// The items that describe the function to the runtime.
fn described(model: &Model<'_>, hidden: &Hidden) -> TokenStream {
    let key = key_function(model, hidden);
    let returns = returns_function(model, hidden);
    let constants = constants(model);
    let slot = &hidden.slot;
    let declaration = declaration(model);
    let private = private(model);
    quote! {
        #key

        #returns

        #constants

        #[doc(hidden)]
        fn #slot() -> &'static #private::FunctionSlot {
            #declaration
            &__SLOT
        }
    }
}

/// The public items.
fn handles(model: &Model<'_>, hidden: &Hidden, names: HandleNames) -> TokenStream {
    let at = slot(model, hidden);
    let invalidate_all = quote!(#at.invalidate_all());
    let bodies = match &model.batch {
        Some(batch) => BatchParts::new(model, batch, hidden).handles(invalidate_all),
        None => bodies(model, hidden, invalidate_all),
    };
    let handles = Handles {
        function: model.function,
        arguments: &model.arguments,
        ids: model.batch.as_ref().map(|batch| &batch.ids),
        instance_generics: model.instance_generics(),
        private: private(model),
        names,
    };
    handles.render(&bodies)
}

/// The bodies of the handles of a function of a single key.
fn bodies(model: &Model<'_>, hidden: &Hidden, invalidate_all: TokenStream) -> Bodies {
    let private = private(model);
    let returned = model.returned;
    let prepare = with_key(model, hidden, "MakeHandle");
    let handle = names::local("__handle");
    let body = body_call(model, hidden);
    let body = match model.is_blocking {
        true => quote!(async move { #body }),
        false => body,
    };
    Bodies {
        call: quote! {
            #private::Call<#returned, impl ::core::future::Future<Output = #returned>>
        },
        entry: quote! {
            let #handle = #prepare;
            #private::call(#handle, #body)
        },
        invalidation: with_key(model, hidden, "MakeInvalidation"),
        invalidate_all,
    }
}

/// The call of the function that has the body.
fn body_call(model: &Model<'_>, hidden: &Hidden) -> TokenStream {
    let Hidden { owner, body, .. } = hidden;
    let turbofish = turbofish(model, 0);
    let receiver = model.function.sig.receiver().map(|receiver| {
        let this = &receiver.self_token;
        quote!(#this,)
    });
    let names = model.arguments.iter().map(|argument| &argument.ident);
    quote!(#owner::#body #turbofish(#receiver #(#names),*))
}
