//! The function and its options, checked against each other, as `expand` renders them.

mod batch;
mod checks;
mod key;
mod late;
mod parameters;
mod result;
mod tags;
mod times;

use proc_macro2::{Ident, TokenStream};
use syn::{Expr, ExprPath, FnArg, GenericParam, LitStr, Pat, Type};

pub(crate) use self::batch::Batch;
use self::key::Key;
pub(crate) use self::key::{KeyPart, Shown};
pub(crate) use self::tags::TagPiece;
use crate::args::{Args, Scope, Tiers, Times, Ttl};
use crate::errors::Errors;
use crate::item::{Argument, Function, ItemKind};
use crate::names;
use crate::types::Unfit;

pub(crate) struct Model<'a> {
    pub(crate) function: &'a Function,
    pub(crate) returned: &'a Type,
    pub(crate) kind: ItemKind,
    pub(crate) arguments: Vec<Argument<'a>>,
    /// Type and const parameters that only skipped arguments name.
    pub(crate) skipped_parameters: Vec<Ident>,
    /// The parts of the key, in order.
    pub(crate) key: Vec<KeyPart>,
    /// How the key is rendered. Empty for a key that shows all of its parts.
    pub(crate) template: Vec<Shown>,
    pub(crate) ttl: Ttl,
    pub(crate) tiers: Option<Vec<u8>>,
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<u32>,
    pub(crate) codec: Option<LitStr>,
    pub(crate) cache_if: Option<Expr>,
    /// Rebuilds an error for each caller that waited for it.
    pub(crate) share_error: Option<ExprPath>,
    /// The behaviour while the instance is isolated, if the attribute sets it.
    pub(crate) when_isolated: Option<&'static str>,
    /// Which callers share a load, if the attribute sets it.
    pub(crate) single_flight: Option<&'static str>,
    /// How stale a value may be, if the attribute sets it.
    pub(crate) consistency: Option<&'static str>,
    /// Times besides the ttl.
    pub(crate) times: Times,
    pub(crate) stale_if: Option<Expr>,
    pub(crate) error_if: Option<Expr>,
    pub(crate) ttl_from: Option<Expr>,
    /// The templates of the tags; `None` if values have no tags.
    pub(crate) tags: Option<Vec<Vec<TagPiece>>>,
    pub(crate) tags_of: Option<Expr>,
    /// `None` for a function of a single key.
    pub(crate) batch: Option<Batch<'a>>,
    pub(crate) call: CallForm,
    /// Set if the result names a lifetime, which can only be that of its error.
    pub(crate) borrows_its_error: bool,
    pub(crate) facade: TokenStream,
    /// Set for a plain `fn`.
    pub(crate) is_blocking: bool,
}

/// How a call of the function looks in memory and loads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallForm {
    /// It has no time besides the ttl.
    Untimed,
    /// Its loads end with their callers.
    Timed,
    /// Its loads may continue in the background after their callers were answered.
    Late,
}

impl CallForm {
    fn of(times: &Times) -> Self {
        let Times {
            stale_while_revalidate: _,
            stale_if_error,
            soft_timeout: _,
            hard_timeout: _,
            load_limit,
            refresh_ahead: _,
            // The jitter changes lives, and neither look-ups nor loads.
            jitter: _,
            none_ttl,
            error_ttl,
        } = times;
        let timed = [stale_if_error, load_limit, none_ttl, error_ttl];
        if times.late_option().is_some() {
            Self::Late
        } else if timed.into_iter().any(Option::is_some) {
            Self::Timed
        } else {
            Self::Untimed
        }
    }
}

/// A function whose attribute has a mistake, as far as it is known: enough to declare its handles.
pub(crate) struct Outline<'a> {
    pub(crate) function: &'a Function,
    /// `None` if the function returns nothing.
    pub(crate) returned: Option<&'a Type>,
    pub(crate) kind: ItemKind,
    pub(crate) arguments: Vec<Argument<'a>>,
    /// Generics of `invalidate_all`.
    pub(crate) instance_generics: syn::Generics,
    pub(crate) facade: TokenStream,
}

impl<'a> Model<'a> {
    /// Checks the options against the function and each other.
    ///
    /// # Errors
    /// The outline of the function if there is any mistake; the mistakes are in `errors`.
    pub(crate) fn new(
        args: Args,
        function: &'a Function,
        errors: &mut Errors,
    ) -> Result<Self, Box<Outline<'a>>> {
        let sig = &function.sig;
        let boxed = function.is_boxed();
        let arguments = arguments(function);
        checks::form(function, errors);
        checks::conditions(function, errors);
        checks::mutable_arguments(&args, function, errors);
        let receiver = sig.receiver();
        checks::ttl(&args, errors);
        checks::coherence(&args, sig, boxed, errors);
        checks::of_self(&args, receiver, errors);
        let key = Key::new(&args, &arguments, receiver.is_some(), errors);
        let tags = tags::tags(&args, &key, (&arguments, receiver.is_some()), errors);
        let Key { parts, shown, .. } = key;
        let returned = result::returned(&args, function, errors);
        times::times(&args, errors);
        let kind = kind(&args, function);
        let batch = Batch::new(&args, function, (&arguments, kind), errors);
        late::late(&args, function, kind, errors);
        let keyed = |argument: &Argument<'_>| is_keyed(&parts, argument);
        let skipped_parameters = parameters::skipped(function, &arguments, keyed, &parts, &args);
        let facade = names::facade(args.facade.as_ref());
        // A function that has the options of another one has no ttl of its own.
        let ttl = args
            .ttl
            .or_else(|| args.same_as.is_some().then(|| Ttl::Each(Vec::new())));
        let (Some(returned), Some(ttl), true) = (returned, ttl, errors.is_empty()) else {
            return Err(Box::new(Outline {
                function,
                returned: function.returned(),
                kind,
                instance_generics: parameters::without(&sig.generics, &skipped_parameters),
                arguments,
                facade,
            }));
        };
        Ok(Self {
            function,
            returned,
            kind,
            skipped_parameters,
            arguments,
            key: parts,
            template: shown,
            ttl,
            tiers: args.tiers.map(|Tiers { levels, .. }| levels),
            name: args.name,
            version: args.version,
            codec: args.codec,
            cache_if: args.cache_if,
            share_error: args.share_error,
            is_blocking: sig.asyncness.is_none() && !boxed,
            borrows_its_error: Unfit::of(returned).named.is_some(),
            when_isolated: args.when_isolated,
            single_flight: args.single_flight,
            consistency: args.consistency,
            call: CallForm::of(&args.times),
            times: args.times,
            stale_if: args.stale_if.map(|setting| setting.value),
            error_if: args.error_if.map(|setting| setting.value),
            ttl_from: args.ttl_from,
            tags,
            tags_of: args.tags_of,
            batch,
            facade,
        })
    }

    /// Returns `true` if another function has its options, its key and its values.
    pub(crate) fn has_options_of_another(&self) -> bool {
        let batch = self.batch.as_ref();
        batch.is_some_and(|batch| batch.same_as.is_some())
    }

    /// Returns the type of an argument in the key: of a single id for the ids of a batch.
    pub(crate) fn key_type(&self, argument: &Argument<'a>) -> &'a Type {
        match &self.batch {
            Some(batch) if batch.ids == argument.ident => batch.element,
            _ => argument.ty,
        }
    }

    /// Returns `true` if its values never leave memory, so that they need no serde.
    pub(crate) fn is_memory_only(&self) -> bool {
        self.tiers.as_deref() == Some(&[1])
    }

    /// Type and const parameters.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &GenericParam> {
        let parameters = self.function.sig.generics.params.iter();
        parameters.filter(|parameter| !matches!(parameter, GenericParam::Lifetime(_)))
    }

    /// Type and const parameters that are in the key: each choice of them is an instance of the
    /// function.
    pub(crate) fn instance_parameters(&self) -> impl Iterator<Item = &GenericParam> {
        self.parameters()
            .filter(|parameter| !parameters::is_one_of(parameter, &self.skipped_parameters))
    }

    /// The generics of `invalidate_all`. Parameters that are not in the key are left out, because a
    /// caller could not choose them.
    pub(crate) fn instance_generics(&self) -> syn::Generics {
        parameters::without(&self.function.sig.generics, &self.skipped_parameters)
    }

    /// The arguments that are in the key, whole or in part.
    pub(crate) fn keyed_arguments(&self) -> impl Iterator<Item = &Argument<'a>> {
        self.arguments
            .iter()
            .filter(|argument| is_keyed(&self.key, argument))
    }
}

/// Finds out where the function is. Only a function in an `impl` names `self` or `Self`, in itself
/// or in its `scope`. An option that could not be read and names `Self` tells the same: a struct in
/// an `impl` would be a second error. A function that names neither is free, whatever the option
/// was meant to be.
fn kind(args: &Args, function: &Function) -> ItemKind {
    let is_in_impl = function.sig.receiver().is_some()
        || matches!(args.scope, Some(Scope::Type))
        || args.broken_names_self_type
        || function.mentions_self_type();
    if function.is_boxed() && !checks::is_boxed_by_hand(function) {
        ItemKind::BoxedTraitImpl
    } else if args.trait_impl || (is_in_impl && args.is_broken("trait_impl")) {
        ItemKind::TraitImpl
    } else if is_in_impl {
        ItemKind::Method
    } else {
        ItemKind::Free
    }
}

fn is_keyed(key: &[KeyPart], argument: &Argument<'_>) -> bool {
    let mut keyed = key.iter().filter_map(|part| part.argument.as_ref());
    keyed.any(|keyed| *keyed == argument.ident)
}

fn arguments(function: &Function) -> Vec<Argument<'_>> {
    let typed = function.sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    });
    typed
        .enumerate()
        .map(|(at, typed)| match &*typed.pat {
            Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => Argument {
                ident: name.ident.clone(),
                pat: &typed.pat,
                ty: &typed.ty,
                simple: true,
            },
            pat => Argument {
                ident: names::argument(at),
                pat,
                ty: &typed.ty,
                simple: false,
            },
        })
        .collect()
}
