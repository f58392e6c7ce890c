//! Checks of functions whose loads may continue in the background, after their callers were
//! answered: such a load must own everything that it uses.

use proc_macro2::{Ident, Span};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{FnArg, Lifetime, Type, TypeReference};

use super::checks::is_mutable_self;
use crate::args::Args;
use crate::errors::Errors;
use crate::item::{Function, ItemKind};
use crate::types::{Unfit, is_mutable, list, referred};

/// Reports functions whose loads cannot continue in the background, with an option that requires
/// it.
pub(super) fn late(args: &Args, function: &Function, kind: ItemKind, errors: &mut Errors) {
    let times = &args.times;
    let is_plain = function.sig.asyncness.is_none() && !function.is_boxed();
    let limit = times.load_limit.as_ref().map(|limit| &limit.option);
    if is_plain && let Some(option) = times.late_option().or(limit) {
        let says = format!("`{option}` needs the async runtime; help: write `async fn`");
        errors.at(option.span(), says);
        return;
    }
    let Some(option) = times.late_option() else {
        return;
    };
    if matches!(kind, ItemKind::TraitImpl | ItemKind::BoxedTraitImpl) {
        errors.at(
            option.span(),
            format!(
                "`{option}` cannot be set on a method of a trait: the `impl` of a trait has no place \
                 for the functions of a load in the background; help: put the body into a function \
                 of its own and cache that"
            ),
        );
        return;
    }
    arguments(args, function, option, errors);
    if let Some(returned) = function.returned()
        && let Some(named) = Unfit::of(returned).named
        && Unfit::of_value(returned).named.is_none()
    {
        errors.at(
            named,
            format!(
                "an error that borrows cannot come from a load in the background, which `{option}` \
                 requires; help: return an owned error"
            ),
        );
    }
}

/// Reports arguments that a load in the background cannot own, as far as their types show it as
/// they are written.
fn arguments(args: &Args, function: &Function, option: &Ident, errors: &mut Errors) {
    for input in &function.sig.inputs {
        if is_exclusive(args, input) {
            errors.over(
                input,
                format!(
                    "an `&mut` cannot be kept for a load in the background, which `{option}` \
                     requires; help: read through a shared handle, such as a pool"
                ),
            );
            continue;
        }
        let FnArg::Typed(typed) = input else { continue };
        let is_ids = |name: &syn::PatIdent| {
            let batch = args.batch.as_ref();
            batch.is_some_and(|batch| batch.ids == name.ident)
        };
        let ty = match &*typed.pat {
            // The load owns a copy of each id.
            syn::Pat::Ident(name) if is_ids(name) => {
                list(&typed.ty).map_or(&*typed.ty, |(element, _)| element)
            }
            _ => &typed.ty,
        };
        if let Some(borrowed) = borrowed(ty) {
            errors.at(
                borrowed,
                format!(
                    "an argument that borrows cannot be kept for a load in the background, which \
                     `{option}` requires; help: use an owned type inside of it, such as `String`"
                ),
            );
        }
    }
}

/// Returns `true` for an `&mut` that no other check reports.
fn is_exclusive(args: &Args, input: &FnArg) -> bool {
    match input {
        FnArg::Receiver(receiver) => {
            let is_skipped = args.skip.iter().any(|name| name == "self");
            let is_allowed = args.skip_mut.iter().any(|name| name == "self");
            is_mutable_self(receiver) && (is_allowed || !is_skipped)
        }
        FnArg::Typed(typed) => {
            let is_allowed = |name: &Ident| args.skip_mut.contains(name);
            let name = match &*typed.pat {
                syn::Pat::Ident(name) => Some(&name.ident),
                _ => None,
            };
            is_mutable(&typed.ty) && name.is_some_and(is_allowed)
        }
    }
}

/// Returns the place of a lifetime or a reference inside of a type, other than the references that
/// the whole type consists of: the load gets a reference to its own copy of what those refer to.
fn borrowed(ty: &Type) -> Option<Span> {
    struct Search(Option<Span>);
    impl<'a> Visit<'a> for Search {
        fn visit_type_reference(&mut self, reference: &'a TypeReference) {
            if reference.lifetime.is_none() {
                self.0.get_or_insert_with(|| reference.span());
            }
            syn::visit::visit_type_reference(self, reference);
        }

        fn visit_lifetime(&mut self, lifetime: &'a Lifetime) {
            if lifetime.ident != "static" {
                self.0.get_or_insert_with(|| lifetime.span());
            }
        }

        // The references in these are to what the function is called with.
        fn visit_type_fn_ptr(&mut self, _: &'a syn::TypeFnPtr) {}

        fn visit_parenthesized_generic_arguments(
            &mut self,
            _: &'a syn::ParenthesizedGenericArguments,
        ) {
        }

        fn visit_trait_bound(&mut self, bound: &'a syn::TraitBound) {
            if bound.lifetimes.is_none() {
                syn::visit::visit_trait_bound(self, bound);
            }
        }
    }
    let mut search = Search(None);
    search.visit_type(referred(ty).1);
    search.0
}
