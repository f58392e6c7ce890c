//! Reports functions that cannot be cached, and options that contradict each other or the function.

use proc_macro2::{Ident, Span};
use quote::ToTokens;
use syn::{FnArg, Pat, Receiver, ReceiverKind, Signature};

use crate::args::{Args, Scope, Ttl};
use crate::errors::{Errors, hint};
use crate::item::{Argument, Function};
use crate::template::{self, Piece, Purpose};
use crate::types::is_mutable;

/// Reports functions of a form that cannot be cached.
pub(super) fn form(function: &Function, errors: &mut Errors) {
    let sig = &function.sig;
    if let Some(unsafety) = safety_span(sig) {
        errors.at(
            unsafety,
            "an `unsafe fn` cannot be cached; help: wrap it in a safe function and annotate that \
             one",
        );
    }
    if let Some(constness) = &sig.constness {
        errors.over(
            constness,
            "a `const fn` cannot be cached: the compiler may run it, without a cache; help: \
             remove `const`",
        );
    }
    if is_boxed_by_hand(function) {
        errors.over(
            &sig.output,
            "a future that is boxed by hand cannot be cached; help: write `async fn`",
        );
    }
    if let Some(again) = function.cached_again() {
        errors.over(
            again,
            "the function has two `#[multi_tier_cached]` attributes; help: put all options into \
             one",
        );
    }
}

/// Returns `true` if the function returns a boxed future and `#[async_trait]` did not make it:
/// that boxes only the futures of methods, and names a lifetime after itself.
pub(super) fn is_boxed_by_hand(function: &Function) -> bool {
    let sig = &function.sig;
    let mut lifetimes = sig.generics.lifetimes();
    function.is_boxed()
        && !lifetimes.any(|parameter| parameter.lifetime.ident == "async_trait")
        && sig.receiver().is_none()
        && !function.mentions_self_type()
}

/// Reports arguments that are `&mut`. A hit does not write what the body writes through one, and
/// what the body reads through one may belong to a transaction that is never committed.
pub(super) fn mutable_arguments(args: &Args, function: &Function, errors: &mut Errors) {
    // An argument may be in the list that could not be read.
    if args.is_broken("skip") {
        return;
    }
    for input in &function.sig.inputs {
        let (name, is_mutable, place) = match input {
            FnArg::Typed(typed) => match &*typed.pat {
                Pat::Ident(name) => (Some(&name.ident), is_mutable(&typed.ty), &typed.ty as _),
                _ => (None, is_mutable(&typed.ty), &typed.ty as _),
            },
            FnArg::Receiver(receiver) => (None, is_mutable_self(receiver), input as &dyn ToTokens),
        };
        let is_self = matches!(input, FnArg::Receiver(_));
        let is_it =
            |other: &&Ident| name.map_or(is_self && *other == "self", |name| name == *other);
        let skipped = args.skip.iter().find(is_it);
        let skipped_mut = args.skip_mut.iter().find(is_it);
        match (is_mutable, skipped_mut, skipped) {
            (true, None, Some(name)) => errors.over(
                place,
                format!(
                    "a value that is read through a skipped `&mut` may belong to a transaction \
                     that is rolled back, and calls would still return it; help: read through a \
                     shared handle, such as a pool, or write `skip(mut {name})` if every read is \
                     of committed data"
                ),
            ),
            (true, None, None) if !is_self => errors.over(
                place,
                "a hit does not run the body and writes nothing through this `&mut`; help: return \
                 what the body writes, or write `skip(mut ..)` for the argument if no caller relies \
                 on it",
            ),
            (false, Some(name), _) => errors.at(
                name.span(),
                format!("`{name}` is not an `&mut` argument; help: write `skip({name})`"),
            ),
            _ => {}
        }
    }
}

pub(super) fn is_mutable_self(receiver: &Receiver) -> bool {
    match &receiver.kind {
        ReceiverKind::Reference(_, _, mutability) => mutability.is_some(),
        ReceiverKind::Typed(_, ty) => is_mutable(ty),
        _ => false,
    }
}

/// Reports conditional arguments, which the expansion could not pass on.
pub(super) fn conditions(function: &Function, errors: &mut Errors) {
    for input in &function.sig.inputs {
        let attrs = match input {
            FnArg::Typed(typed) => &typed.attrs,
            FnArg::Receiver(receiver) => &receiver.attrs,
        };
        let condition = attrs
            .iter()
            .find(|attr| attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr"));
        if let Some(condition) = condition {
            errors.over(
                condition,
                "an argument of a cached function cannot be conditional; help: write the \
                 function twice, each with its own `#[cfg]`",
            );
        }
    }
}

/// Reports a missing ttl, and tiers that do not match the ttls.
pub(super) fn ttl(args: &Args, errors: &mut Errors) {
    let is_of_another = args.same_as.is_some() || args.is_broken("same_as");
    let is_set = args.ttl.is_some() || args.is_broken("ttl") || args.is_broken("policy");
    if !is_set && !is_of_another {
        errors.at(
            Span::call_site(),
            "the ttl is missing; help: write `ttl = \"5m\"`, or `policy = \"short\"`",
        );
    }
    let (Some(Ttl::Each(each)), Some(tiers)) = (&args.ttl, &args.tiers) else {
        return;
    };
    for (level, _, span) in each {
        if !tiers.levels.contains(level) {
            errors.at(
                *span,
                format!(
                    "l{level} has a ttl but is not in `tiers`; help: remove the ttl, or add \
                         l{level} to `tiers`"
                ),
            );
        }
    }
    for level in &tiers.levels {
        if !each.iter().any(|(known, ..)| known == level) {
            errors.at(
                tiers.span,
                format!("l{level} has no ttl; help: write such as `l{level} = \"5m\"` in `ttl`"),
            );
        }
    }
}

/// Reports options that have no effect without a shared tier, or without records.
pub(super) fn coherence(args: &Args, sig: &Signature, boxed: bool, errors: &mut Errors) {
    let is_memory_only = args.tiers.as_ref().is_some_and(|tiers| tiers.levels == [1]);
    if let Some(option) = &args.shared_tier_option {
        if sig.asyncness.is_none() && !boxed {
            errors.at(
                option.span(),
                format!(
                    "`{option}` requires a shared tier, which a plain `fn` cannot wait for; help: \
                     write `async fn`"
                ),
            );
        } else if is_memory_only {
            errors.at(
                option.span(),
                format!("`{option}` requires a shared tier, but `tiers` lists none"),
            );
        }
    }
    if let Some(codec) = &args.codec
        && is_memory_only
    {
        errors.at(
            codec.span(),
            "`codec` has no effect: `tiers` lists memory alone, which has no records",
        );
    }
}

/// Reports a `self` of which it is not clear what is in the key.
pub(super) fn of_self(args: &Args, receiver: Option<&Receiver>, errors: &mut Errors) {
    let skipped = args.skip.iter().find(|name| *name == "self");
    let in_template = args.key.as_ref().is_some_and(|key| {
        let pieces = template::parse(key, Purpose::Key).unwrap_or_default();
        pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Argument(name, _) if name == "self"))
    });
    if let (Some(skipped), true) = (skipped, in_template) {
        errors.at(
            skipped.span(),
            "`self` is both in `key` and in `skip`; help: remove it from one of them",
        );
    }
    // With `same_as` the other function says what of `self` is in the key.
    let may_be_left_out = skipped.is_some()
        || in_template
        || args.same_as.is_some()
        || ["scope", "skip", "same_as"]
            .iter()
            .any(|option| args.is_broken(option));
    match (receiver, &args.scope) {
        (Some(receiver), None) if !may_be_left_out => {
            errors.over(
                receiver,
                "it is not known what of `self` is in the key; help: write such as \
                 `scope = self.tenant_id`, or `skip(self)` if the value does not depend on `self`",
            );
        }
        (Some(receiver), Some(Scope::Type)) => errors.over(
            receiver,
            "`scope = Self` is for functions without `self`; help: write such as \
             `scope = self.tenant_id`, or `skip(self)`",
        ),
        (Some(_), Some(scope @ Scope::Value(_))) if skipped.is_some() => {
            errors.at(
                scope.span(),
                "`self` is both in `scope` and in `skip`; help: remove one of them",
            );
        }
        (None, Some(scope @ Scope::Value(_))) => {
            errors.at(
                scope.span(),
                "the function has no `self`; help: remove `scope`, or write `scope = Self` in an \
                 `impl`",
            );
        }
        _ => {}
    }
}

/// Returns the span of `unsafe`, if the signature has it.
fn safety_span(sig: &Signature) -> Option<Span> {
    sig.to_token_stream()
        .into_iter()
        .find_map(|token| match token {
            proc_macro2::TokenTree::Ident(ident) if ident == "unsafe" => Some(ident.span()),
            _ => None,
        })
}

/// Reports names in `skip` that are not arguments.
pub(super) fn skipped_names(args: &Args, names: &[String], errors: &mut Errors) {
    for name in &args.skip {
        let text = name.to_string();
        if !names.contains(&text) {
            let hint = hint(&text, names.iter().map(String::as_str));
            errors.at(name.span(), format!("`{text}` is not an argument{hint}"));
        }
    }
}

/// Reports arguments that are neither in the template nor skipped. Calls that differ only in such
/// an argument would share a value.
pub(super) fn template(
    args: &Args,
    pieces: &[Piece],
    arguments: &[Argument<'_>],
    errors: &mut Errors,
) {
    for argument in arguments {
        let ident = &argument.ident;
        let is_in = pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Argument(name, _) if ident == name));
        let skipped = args.skip.iter().find(|name| *name == ident);
        match (is_in, skipped) {
            (true, Some(skipped)) => errors.at(
                skipped.span(),
                format!(
                    "`{ident}` is both in `key` and in `skip`; help: remove it from one of them"
                ),
            ),
            // It may be in the list that could not be read.
            (false, None) if args.is_broken("skip") => {}
            (false, None) if args.batch.as_ref().is_some_and(|batch| batch.ids == *ident) => {
                errors.at(
                    ident.span(),
                    format!("`{ident}` is not in the key; help: put `{{{ident}}}` into `key`"),
                );
            }
            (false, None) if argument.simple => errors.at(
                ident.span(),
                format!(
                    "`{ident}` is not in the key; help: put `{{{ident}}}` into `key`, or write \
                     `skip({ident})`"
                ),
            ),
            (false, None) => errors.over(
                argument.pat,
                "`key` cannot name a pattern; help: name the argument, and destructure it in the \
                 body",
            ),
            (true, None) | (false, Some(_)) => {}
        }
    }
}
