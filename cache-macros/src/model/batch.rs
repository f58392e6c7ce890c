//! Checks of functions of several ids.

use proc_macro2::Ident;
use syn::{FnArg, Type};

use super::checks::is_mutable_self;
use crate::args::Args;
use crate::errors::{Errors, hint};
use crate::function_path::FunctionPath;
use crate::item::{Argument, Function, ItemKind};
use crate::types::{Unfit, is_mutable, list, names_no_ids, referred, values};

/// The ids of a function of several ids.
pub(crate) struct Batch<'a> {
    /// The argument with the ids.
    pub(crate) ids: Ident,
    /// The type of one id.
    pub(crate) element: &'a Type,
    /// Set if the argument is a `Vec`, which the body owns.
    pub(crate) is_owned: bool,
    /// The largest number of ids for which the body runs at once.
    pub(crate) most: u32,
    /// The function of one id that has the values.
    pub(crate) same_as: Option<FunctionPath>,
}

impl<'a> Batch<'a> {
    /// Returns the ids of a function that has any, and reports what is wrong with them.
    pub(super) fn new(
        args: &Args,
        function: &Function,
        (arguments, kind): (&[Argument<'a>], ItemKind),
        errors: &mut Errors,
    ) -> Option<Self> {
        let same_as = same_as(args, errors);
        let batch = args.batch.as_ref()?;
        form(args, function, kind, errors);
        let simple = || arguments.iter().filter(|argument| argument.simple);
        let Some(argument) = simple().find(|argument| argument.ident == batch.ids) else {
            let names: Vec<_> = simple()
                .map(|argument| argument.ident.to_string())
                .collect();
            let (ids, names) = (batch.ids.to_string(), names.iter().map(String::as_str));
            let hint = hint(&ids, names);
            let says = format!("`batch` names `{ids}`, which is not an argument{hint}");
            errors.at(batch.ids.span(), says);
            return None;
        };
        result(function, &batch.ids, errors);
        if let Some(skipped) = args.skip.iter().find(|skipped| **skipped == batch.ids) {
            let says = format!(
                "`{skipped}` is both in `batch` and in `skip`: each id has a key of its own; help: \
                 remove it from `skip`"
            );
            errors.at(skipped.span(), says);
        }
        let (element, is_owned) = list(argument.ty).or_else(|| {
            // An `&mut` is reported as such.
            if !is_mutable(argument.ty) {
                errors.over(
                    argument.ty,
                    "the ids of a batch are a list; help: write such as `&[u64]` or `Vec<u64>`",
                );
            }
            None
        })?;
        if let Some(opaque) = Unfit::of(element).opaque {
            errors.over(
                opaque,
                "ids cannot be `impl Trait`; help: name their type by a type parameter",
            );
        }
        if args.times.late_option().is_some() && referred(element).0 > 1 {
            errors.over(
                element,
                "ids behind several references cannot be kept for a load in the background; help: \
                 write such as `&[&str]`",
            );
        }
        Some(Self {
            ids: argument.ident.clone(),
            element,
            is_owned,
            most: batch.most,
            same_as,
        })
    }
}

/// Reports a result that does not say which value belongs to which id, as far as the type shows it
/// as it is written. The compiler reports others, such as aliases.
fn result(function: &Function, ids: &Ident, errors: &mut Errors) {
    let Some(returned) = function.returned() else {
        return;
    };
    let unfit = Unfit::of(returned);
    let is_reported = unfit.opaque.is_some() || unfit.borrowed.is_some();
    if !is_reported && names_no_ids(values(returned)) {
        errors.over(
            returned,
            format!(
                "the result does not say which value belongs to which id; help: return a map by \
                 id, or `Vec<Option<V>>` in the order of `{ids}`"
            ),
        );
    }
}

/// Reports functions that cannot have several ids, whatever their argument is.
fn form(args: &Args, function: &Function, kind: ItemKind, errors: &mut Errors) {
    let Some(batch) = &args.batch else { return };
    if function.sig.asyncness.is_none() && !function.is_boxed() {
        errors.at(
            batch.option.span(),
            "`batch` needs the async runtime; help: write `async fn`",
        );
        return;
    }
    if matches!(kind, ItemKind::TraitImpl | ItemKind::BoxedTraitImpl) {
        errors.at(
            batch.option.span(),
            "`batch` cannot be set on a method of a trait: the `impl` of a trait has no place for \
             the functions of a batch; help: put the body into a function of its own and cache that",
        );
        return;
    }
    // Loads in the background refuse an `&mut` themselves.
    if args.times.late_option().is_some() {
        return;
    }
    for input in &function.sig.inputs {
        let is_allowed = |name: &str| args.skip_mut.iter().any(|skipped| skipped == name);
        let is_exclusive = match input {
            FnArg::Receiver(receiver) => is_mutable_self(receiver) && is_allowed("self"),
            FnArg::Typed(typed) => {
                is_mutable(&typed.ty)
                    && matches!(&*typed.pat, syn::Pat::Ident(name)
                        if is_allowed(&name.ident.to_string()))
            }
        };
        if is_exclusive {
            errors.over(
                input,
                "the body of a batch can run several times, and an `&mut` is for one of them; help: \
                 read through a shared handle, such as a pool",
            );
        }
    }
}

/// Returns the function that `same_as` names, and reports options that contradict it, or that it
/// needs.
fn same_as(args: &Args, errors: &mut Errors) -> Option<FunctionPath> {
    let path = args.same_as.as_ref()?;
    if args.batch.is_none() && !args.is_broken("batch") {
        errors.over(
            path,
            "`same_as` needs `batch`, which says which argument has the ids; help: add such as \
             `batch = ids`",
        );
    }
    for option in &args.given {
        let name = option.to_string();
        if !["same_as", "batch", "skip", "crate"].contains(&name.as_str()) {
            errors.at(
                option.span(),
                format!(
                    "`{name}` contradicts `same_as`, by which the other function has all options; \
                     help: remove one of them"
                ),
            );
        }
    }
    let usage = |path: &str| format!("same_as = {path}");
    FunctionPath::new(path.clone(), usage)
        .map_err(|error| errors.push(error))
        .ok()
}
