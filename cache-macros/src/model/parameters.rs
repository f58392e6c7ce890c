//! Type and const parameters that only skipped arguments name: they are not in the key.
//!
//! `skip(db)` with `db: E` states that the value does not depend on `db`. If `E` were in the key, a
//! value that was loaded through a pool would survive an invalidation through a connection.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::Visit;
use syn::{GenericParam, Generics, Path, ReceiverKind, Type};

use super::key::KeyPart;
use crate::args::Args;
use crate::item::{Argument, Function};

/// Returns the parameters that a skipped argument names, and neither the result nor anything in the
/// key. A parameter that nothing names, such as the table in `find::<Users>(1)`, stays in the key.
pub(super) fn skipped(
    function: &Function,
    arguments: &[Argument<'_>],
    is_keyed: impl Fn(&Argument<'_>) -> bool,
    key: &[KeyPart],
    args: &Args,
) -> Vec<Ident> {
    let sig = &function.sig;
    let receiver = sig.receiver().and_then(|receiver| match &receiver.kind {
        ReceiverKind::Typed(_, ty) => Some(&**ty),
        // Any other receiver names no parameter: `Self` is in the key in any case.
        _ => None,
    });
    let skips_self = args.skip.iter().any(|name| name == "self");
    let (keyed, mut skipped): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|argument| is_keyed(argument));
    let mut kept = TokenStream::new();
    sig.output.to_tokens(&mut kept);
    args.cache_if.to_tokens(&mut kept);
    args.ttl_from.to_tokens(&mut kept);
    args.tags_of.to_tokens(&mut kept);
    for rule in [&args.stale_if, &args.error_if].into_iter().flatten() {
        rule.value.to_tokens(&mut kept);
    }
    for part in key {
        part.value.to_tokens(&mut kept);
    }
    for argument in keyed {
        argument.ty.to_tokens(&mut kept);
    }
    if !skips_self {
        receiver.to_tokens(&mut kept);
    }
    let mut types: Vec<&Type> = skipped.drain(..).map(|argument| argument.ty).collect();
    types.extend(receiver.filter(|_| skips_self));
    sig.generics
        .params
        .iter()
        .filter_map(name)
        .filter(|parameter| {
            types.iter().any(|ty| is_named_in(parameter, ty)) && !mentions(kept.clone(), parameter)
        })
        .cloned()
        .collect()
}

/// Returns `true` if the parameter has one of the names.
pub(super) fn is_one_of(parameter: &GenericParam, names: &[Ident]) -> bool {
    name(parameter).is_some_and(|name| names.contains(name))
}

/// Returns the generics without some parameters, and without the bounds that name one of them.
pub(super) fn without(generics: &Generics, names: &[Ident]) -> Generics {
    let mut generics = generics.clone();
    if names.is_empty() {
        return generics;
    }
    let is_free = |tokens: &dyn ToTokens| {
        let tokens = tokens.to_token_stream();
        !names.iter().any(|name| mentions(tokens.clone(), name))
    };
    generics.params = std::mem::take(&mut generics.params)
        .into_iter()
        .filter(|parameter| !is_one_of(parameter, names))
        .map(|mut parameter| {
            if let GenericParam::Type(parameter) = &mut parameter {
                parameter.bounds = std::mem::take(&mut parameter.bounds)
                    .into_iter()
                    .filter(|bound| is_free(bound))
                    .collect();
            }
            parameter
        })
        .collect();
    if let Some(clause) = &mut generics.where_clause {
        clause.predicates = std::mem::take(&mut clause.predicates)
            .into_iter()
            .filter(|predicate| is_free(predicate))
            .collect();
    }
    generics
}

/// Returns the name of a type or const parameter.
fn name(parameter: &GenericParam) -> Option<&Ident> {
    match parameter {
        GenericParam::Type(parameter) => Some(&parameter.ident),
        GenericParam::Const(parameter) => Some(&parameter.ident),
        GenericParam::Lifetime(_) => None,
    }
}

/// Returns `true` if a type names a parameter: by a path that begins with it, because `other::E` is
/// not `E`.
fn is_named_in(parameter: &Ident, ty: &Type) -> bool {
    struct Search<'a> {
        parameter: &'a Ident,
        is_found: bool,
    }
    impl<'a> Visit<'a> for Search<'_> {
        fn visit_path(&mut self, path: &'a Path) {
            let first = path.segments.first();
            self.is_found |= path.leading_colon.is_none()
                && first.is_some_and(|first| first.ident == *self.parameter);
            syn::visit::visit_path(self, path);
        }
    }
    let mut search = Search {
        parameter,
        is_found: false,
    };
    search.visit_type(ty);
    search.is_found
}

/// Returns `true` if the name is anywhere in some tokens. If it is another thing of that name, the
/// parameter stays in the key, which is the safe mistake.
fn mentions(tokens: TokenStream, parameter: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *parameter,
        TokenTree::Group(group) => mentions(group.stream(), parameter),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}
