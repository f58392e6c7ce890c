//! What cannot be cached, and options that contradict each other or the function.

use proc_macro2::{Ident, Span};
use quote::ToTokens;
use syn::{FnArg, Pat, Receiver, ReceiverKind, Signature, Type};

use crate::args::{Args, Scope, Ttl};
use crate::errors::Errors;
use crate::item::Function;
use crate::template::{self, Piece};

/// Functions of a form that cannot be cached.
pub(super) fn form(function: &Function, errors: &mut Errors) {
    let sig = &function.sig;
    if let Some(unsafety) = safety_span(sig) {
        errors.at(
            unsafety,
            "an `unsafe fn` cannot be cached: put a safe function around it and annotate that",
        );
    }
    if let Some(constness) = &sig.constness {
        errors.over(
            constness,
            "a `const fn` may be run by the compiler, which has no cache: leave `const` off",
        );
    }
    if is_boxed_by_hand(function) {
        errors.over(
            &sig.output,
            "a future that is boxed by hand cannot be cached: write `async fn`",
        );
    }
    if let Some(again) = function.cached_again() {
        errors.over(
            again,
            "the function is cached by another attribute already: say all options in one",
        );
    }
}

/// Whether the function returns a boxed future without `#[async_trait]`, which boxes only the
/// futures of methods and names a lifetime after itself.
pub(super) fn is_boxed_by_hand(function: &Function) -> bool {
    let sig = &function.sig;
    let mut lifetimes = sig.generics.lifetimes();
    function.is_boxed()
        && !lifetimes.any(|parameter| parameter.lifetime.ident == "async_trait")
        && sig.receiver().is_none()
        && !function.mentions_self_type()
}

/// Arguments that are `&mut`: what the body writes there is not written on a hit, and what it reads through one may belong to
/// a transaction that is never committed.
pub(super) fn mutable_arguments(args: &Args, function: &Function, errors: &mut Errors) {
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
        let meant = args.skip_mut.iter().find(is_it);
        match (is_mutable, meant, skipped) {
            (true, None, Some(name)) => errors.over(
                place,
                format!(
                    "what is read through a skipped `&mut` may belong to a transaction that is rolled back, and would \
                     still be answered after that: read through a shared handle, such as a pool; if every read is of \
                     committed data, write `skip(mut {name})`"
                ),
            ),
            (true, None, None) if !is_self => errors.over(
                place,
                "what the body writes there is not written on a hit: return it; or write `skip(mut ..)` for the \
                 argument, if nobody relies on it",
            ),
            (false, Some(meant), _) => errors.at(
                meant.span(),
                format!("`{meant}` is not an `&mut` argument: write `skip({meant})`"),
            ),
            _ => {}
        }
    }
}

fn is_mutable_self(receiver: &Receiver) -> bool {
    match &receiver.kind {
        ReceiverKind::Reference(_, _, mutability) => mutability.is_some(),
        ReceiverKind::Typed(_, ty) => is_mutable(ty),
        _ => false,
    }
}

/// Whether the type is an `&mut`, behind parentheses and the groups of a `macro_rules`.
fn is_mutable(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => reference.mutability.is_some(),
        Type::Group(group) => is_mutable(&group.elem),
        Type::Paren(paren) => is_mutable(&paren.elem),
        _ => false,
    }
}

/// An argument that may not be there cannot be passed on.
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
                "an argument of a cached function is there or not: write the function twice, each under its `#[cfg]`",
            );
        }
    }
}

pub(super) fn levels(args: &Args, errors: &mut Errors) {
    let (Some(Ttl::Each(each)), Some(tiers)) = (&args.ttl, &args.tiers) else {
        return;
    };
    for (level, _, span) in each {
        if !tiers.levels.contains(level) {
            errors.at(
                *span,
                format!("`tiers` does not name l{level}: take its time out, or the tier in"),
            );
        }
    }
    for level in &tiers.levels {
        if !each.iter().any(|(known, ..)| known == level) {
            errors.at(
                tiers.span,
                format!("`ttl` names no time for l{level}: write `l{level} = \"5m\"`"),
            );
        }
    }
}

/// With memory alone there is nobody to agree with, and nothing to write.
pub(super) fn coherence(args: &Args, sig: &Signature, boxed: bool, errors: &mut Errors) {
    let is_memory_alone = args.tiers.as_ref().is_some_and(|tiers| tiers.levels == [1]);
    if let Some(option) = &args.of_others {
        if sig.asyncness.is_none() && !boxed {
            errors.at(
                option.span(),
                format!("`{option}` speaks of a shared tier, which a plain `fn` cannot wait for: write `async fn`"),
            );
        } else if is_memory_alone {
            errors.at(
                option.span(),
                format!("`{option}` speaks of a shared tier, and `tiers` names none"),
            );
        }
    }
    if let Some(codec) = &args.codec
        && is_memory_alone
    {
        errors.at(
            codec.span(),
            "`codec` says how records are written, and memory, which `tiers` names alone, has none",
        );
    }
}

pub(super) fn of_self(args: &Args, receiver: Option<&Receiver>, errors: &mut Errors) {
    let skipped = args.skip.iter().find(|name| *name == "self");
    let in_template = args.key.as_ref().is_some_and(|key| {
        let pieces = template::parse(key).unwrap_or_default();
        pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Argument(name, _) if name == "self"))
    });
    if let (Some(skipped), true) = (skipped, in_template) {
        errors.at(
            skipped.span(),
            "`key` puts something of `self` into the key, and `skip` takes it out: say one",
        );
    }
    match (receiver, &args.scope) {
        (Some(receiver), None) if skipped.is_none() && !in_template && !args.was_given("scope") => {
            errors.over(
                receiver,
                "say what of `self` is in the key: `scope = self.tenant_id`, or `skip(self)` when every instance \
                 gives the same values",
            );
        }
        (Some(receiver), Some(Scope::Type)) => errors.over(
            receiver,
            "`scope = Self` is for functions without `self`: write `scope = self.tenant_id`, or `skip(self)`",
        ),
        (Some(_), Some(scope @ Scope::Value(_))) if skipped.is_some() => {
            errors.at(scope.span(), "`scope` puts something of `self` into the key, and `skip` takes it out: say one");
        }
        (None, Some(scope @ Scope::Value(_))) => {
            errors.at(scope.span(), "there is no `self` here: leave `scope` off, or write `scope = Self` in an `impl`");
        }
        _ => {}
    }
}

/// The span of `unsafe`, if the signature has it.
fn safety_span(sig: &Signature) -> Option<Span> {
    sig.to_token_stream()
        .into_iter()
        .find_map(|token| match token {
            proc_macro2::TokenTree::Ident(ident) if ident == "unsafe" => Some(ident.span()),
            _ => None,
        })
}
