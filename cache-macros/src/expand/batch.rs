//! A function of several ids. For the runtime it is a function of one id: `__with_key` takes one,
//! and `__returns` describes its result.
//!
//! ```text
//! // Input
//! #[multi_tier_cached(ttl = "5m", batch = ids)]
//! async fn get_users(ids: &[u64], tenant: u32) -> HashMap<u64, User> { body }
//!
//! // Output
//! async fn get_users(ids: &[u64], tenant: u32) -> HashMap<u64, User> {
//!     batch(
//!         get_users::__returns,
//!         ids,
//!         1000,
//!         |item, id| get_users::__with_key(item, get_users::__returns, id, &tenant),
//!         |ids| {
//!             let tenant = Clone::clone(&tenant);
//!             async move { get_users::__body(&ids, tenant).await }
//!         },
//!     )
//!     .await
//! }
//! ```
//!
//! The body runs for those ids that are missing, and several times if there are many of them, so
//! arguments that are passed by value are cloned for it.
//!
//! With `same_as = get_user` the key and the result are those of that function.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ReceiverKind;
use syn::spanned::Spanned;

use super::key::{Mode, with_key_of};
use super::pieces::{Hidden, at, private, reported_at, turbofish};
use super::same_as::Other;
use crate::handles::{Bodies, named_lifetimes};
use crate::model::{Batch, CallForm, Model};
use crate::names;
use crate::types::referred;

/// The parts of the expansion of a function of several ids.
pub(super) struct BatchParts<'a> {
    model: &'a Model<'a>,
    batch: &'a Batch<'a>,
    hidden: &'a Hidden,
    /// The function of `same_as`.
    other: Option<Other<'a>>,
    /// The arguments of the body, in order.
    passed: Vec<Passed>,
    /// The variable with the ids for which a body runs.
    asked: Ident,
}

/// An argument of the body.
enum Passed {
    Ids,
    Other(OtherArgument),
}

/// An argument of the body other than the ids, or `self`.
struct OtherArgument {
    /// The name outside of the closures: `self` or that of the argument.
    value: TokenStream,
    /// The name of its copy.
    name: Ident,
    /// The number of references that its type consists of.
    references: usize,
    /// Where errors are reported.
    span: Span,
}

impl OtherArgument {
    /// Renders the statement that copies it from `value`, if it is passed by value.
    fn cloned(&self, value: &TokenStream) -> Option<TokenStream> {
        let (name, span) = (&self.name, self.span);
        let clone = quote_spanned!(span=> ::core::clone::Clone::clone(&#value));
        (self.references == 0).then(|| quote!(let #name = #clone;))
    }

    /// Renders the statement by which a load in the background owns it.
    fn owned(&self, private: &TokenStream) -> TokenStream {
        let Self {
            value, name, span, ..
        } = self;
        let private = at(*span, private);
        let owned = match self.references {
            0 => {
                quote_spanned!(*span=> #private::own(::core::clone::Clone::clone(&#value)))
            }
            references => {
                let inner = (1..references).map(|_| quote_spanned!(*span=> *));
                quote_spanned!(*span=> #private::keep(#(#inner)* #value))
            }
        };
        quote!(let #name = #owned;)
    }

    /// Renders the statement by which one body of such a load owns it.
    fn owned_again(&self, private: &TokenStream) -> TokenStream {
        let name = &self.name;
        match self.references {
            0 => quote!(let #name = ::core::clone::Clone::clone(&#name);),
            _ => quote!(let #name = #private::keep(#name.lend());),
        }
    }
}

impl<'a> BatchParts<'a> {
    pub(super) fn new(model: &'a Model<'a>, batch: &'a Batch<'a>, hidden: &'a Hidden) -> Self {
        Self {
            model,
            batch,
            hidden,
            other: batch.same_as.as_ref().map(|path| Other { model, path }),
            passed: passed(model, batch),
            asked: names::local("__ids"),
        }
    }

    /// Renders the body of the function under the user's name.
    pub(super) fn call(&self) -> TokenStream {
        let span = reported_at(self.model.returned.span());
        let looked_up = self.looked_up();
        let private = at(span, &private(self.model));
        // The attribute cannot see whether the other function loads in the background.
        if self.model.call != CallForm::Late || self.other.is_some() {
            let clones = self
                .others()
                .map(|argument| argument.cloned(&argument.value));
            let body = self.body(&quote!(), quote!(#(#clones)*));
            return quote_spanned!(span=> #private::batch(#looked_up, #body).await);
        }
        let (own, body) = (self.own_id(), self.late_body());
        quote_spanned!(span=> #private::batch_late(#looked_up, #own, #body).await)
    }

    /// Renders the bodies of the handles. `invalidate_all` is that of a function with options of
    /// its own.
    pub(super) fn handles(&self, invalidate_all: TokenStream) -> Bodies {
        let span = reported_at(self.model.returned.span());
        let private = at(span, &private(self.model));
        let other = self.other.as_ref();
        let invalidate_all = other.map_or(invalidate_all, Other::invalidate_all);
        let (returned, looked_up) = (self.model.returned, self.looked_up());
        let element = named_lifetimes(self.batch.element);
        let (ids, key) = (self.ids(), self.key());
        // The key borrows the arguments while the handle is made, and the handle owns them.
        let cloned = self
            .others()
            .map(|argument| argument.cloned(&argument.value));
        let again = self.others().map(|argument| {
            let name = &argument.name;
            argument.cloned(&quote!(#name))
        });
        let body = self.body(&quote!(move), quote!(#(#again)*));
        Bodies {
            call: quote_spanned! {span=>
                #private::BatchEntry<
                    #returned,
                    #element,
                    impl ::core::future::Future<Output = #returned>,
                >
            },
            entry: quote_spanned! {span=>
                #private::batch_entry(#looked_up, { #(#cloned)* #body })
            },
            invalidation: quote_spanned!(span=> #private::batch_invalidation(#invalidate_all, #ids, #key)),
            invalidate_all,
        }
    }

    /// Renders what the look-ups need: the result for one id, the ids, the size of a part, and the
    /// key of an id.
    fn looked_up(&self) -> TokenStream {
        let (returns, ids, key) = (self.returns(), self.ids(), self.key());
        let most = proc_macro2::Literal::usize_suffixed(self.batch.most as usize);
        quote!(#returns, #ids, #most, #key)
    }

    fn ids(&self) -> TokenStream {
        let ids = &self.batch.ids;
        let ids = match self.batch.is_owned {
            true => quote!(&#ids),
            false => quote!(#ids),
        };
        at(self.batch.element.span(), &ids)
    }

    fn returns(&self) -> TokenStream {
        match &self.other {
            Some(other) => other.returns(),
            None => {
                let Hidden { owner, returns, .. } = self.hidden;
                let turbofish = turbofish(self.model, 0);
                quote!(#owner::#returns #turbofish)
            }
        }
    }

    /// Renders the closure that passes the key of an id on.
    fn key(&self) -> TokenStream {
        let mode = Mode::OneOf {
            item: names::local("__item"),
            id: names::local("__id"),
            ids: &self.batch.ids,
        };
        let call = match &self.other {
            Some(other) => other.with_key(&mode),
            None => with_key_of(self.model, self.hidden, &mode),
        };
        let (item, id) = (names::local("__item"), names::local("__id"));
        quote!(|#item, #id| #call)
    }

    /// Renders the closure that makes the future of a body for some ids.
    fn body(&self, capture: &TokenStream, copies: TokenStream) -> TokenStream {
        let asked = &self.asked;
        let call = self.body_call(asked, |argument| {
            let OtherArgument { value, name, .. } = argument;
            match argument.references {
                0 => quote!(#name),
                _ => value.clone(),
            }
        });
        let call = match self.batch.is_owned {
            true => call,
            // The body borrows the list, which the future owns.
            false => quote!(async move { #call.await }),
        };
        quote!(#capture |#asked| { #copies #call })
    }

    /// Renders the closure that makes the body of a load in the background.
    fn late_body(&self) -> TokenStream {
        let (private, asked) = (private(self.model), &self.asked);
        let lent = names::local("__lent");
        let owned = self.others().map(|argument| argument.owned(&private));
        let again = self.others().map(|argument| argument.owned_again(&private));
        let is_lent = referred(self.batch.element).0 > 0;
        let lend = is_lent.then(|| quote!(let #lent = #private::lend_all(&#asked);));
        let ids = if is_lent { &lent } else { asked };
        let call = self.body_call(ids, |argument| {
            let name = &argument.name;
            match argument.references {
                0 => quote!(#name),
                references => {
                    let outer = (1..references).map(|_| quote!(&));
                    quote!(#(#outer)* #name.lend())
                }
            }
        });
        quote! {
            || {
                #(#owned)*
                move |#asked: ::std::vec::Vec<_>| {
                    #(#again)*
                    async move {
                        #lend
                        #call.await
                    }
                }
            }
        }
    }

    /// Renders the function that makes the id that a load in the background owns.
    fn own_id(&self) -> TokenStream {
        let (id, span) = (names::local("__id"), self.batch.element.span());
        let private = at(span, &private(self.model));
        match referred(self.batch.element).0 {
            0 => quote_spanned!(span=> ::core::clone::Clone::clone),
            _ => quote_spanned!(span=> |#id| #private::KeepArgument::keep(*#id)),
        }
    }

    /// Renders the call of the function that has the body.
    fn body_call(&self, ids: &Ident, pass: impl Fn(&OtherArgument) -> TokenStream) -> TokenStream {
        let Hidden { owner, body, .. } = self.hidden;
        let turbofish = turbofish(self.model, 0);
        let arguments = self.passed.iter().map(|passed| match passed {
            Passed::Ids if self.batch.is_owned => quote!(#ids),
            Passed::Ids => quote!(&#ids),
            Passed::Other(argument) => pass(argument),
        });
        quote!(#owner::#body #turbofish(#(#arguments),*))
    }

    fn others(&self) -> impl Iterator<Item = &OtherArgument> {
        self.passed.iter().filter_map(|passed| match passed {
            Passed::Ids => None,
            Passed::Other(argument) => Some(argument),
        })
    }
}

/// Returns the arguments of the body, in order.
fn passed(model: &Model<'_>, batch: &Batch<'_>) -> Vec<Passed> {
    let receiver = model.function.sig.receiver().map(|receiver| {
        let this = &receiver.self_token;
        Passed::Other(OtherArgument {
            value: quote!(#this),
            name: names::local("__this"),
            references: match &receiver.kind {
                ReceiverKind::Reference(..) => 1,
                ReceiverKind::Typed(_, ty) => referred(ty).0,
                _ => 0,
            },
            span: receiver.span(),
        })
    });
    let arguments = model.arguments.iter().map(|argument| {
        let ident = &argument.ident;
        if *ident == batch.ids {
            return Passed::Ids;
        }
        Passed::Other(OtherArgument {
            value: quote!(#ident),
            name: ident.clone(),
            references: referred(argument.ty).0,
            span: argument.ty.span(),
        })
    });
    receiver.into_iter().chain(arguments).collect()
}
