//! The function and its options, checked against each other: what `expand` writes down without another look.

mod checks;
mod parameters;

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{Expr, ExprPath, FnArg, GenericParam, LitStr, Pat, Receiver, Type};

use crate::args::{Args, Scope, Tiers, Ttl};
use crate::errors::{Errors, hint};
use crate::item::{Function, Unfit, unordered_set};
use crate::names;
use crate::template::{self, Piece};

pub(crate) struct Model<'a> {
    pub(crate) function: &'a Function,
    pub(crate) returned: &'a Type,
    pub(crate) place: Place,
    pub(crate) arguments: Vec<Argument<'a>>,
    /// Type and const parameters that only skipped arguments name.
    pub(crate) skipped_parameters: Vec<Ident>,
    /// What the key is made of, in order, each with the place an error stands at.
    pub(crate) key: Vec<KeyPart>,
    /// Empty for a key that shows all of its parts.
    pub(crate) template: Vec<Shown>,
    pub(crate) ttl: Ttl,
    pub(crate) tiers: Option<Vec<u8>>,
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<u32>,
    pub(crate) codec: Option<LitStr>,
    pub(crate) cache_if: Option<Expr>,
    /// Rebuilds an error for each caller that waited for it.
    pub(crate) share_error: Option<ExprPath>,
    /// What the function does while its instance is isolated, if the attribute sets it.
    pub(crate) when_isolated: Option<&'static str>,
    /// Which callers share a load, if the attribute sets it.
    pub(crate) single_flight: Option<&'static str>,
    /// How stale a value may be, if the attribute sets it.
    pub(crate) consistency: Option<&'static str>,
    /// Whether the result names a lifetime, which can only be its error's.
    pub(crate) borrows_its_error: bool,
    pub(crate) facade: TokenStream,
    /// A plain `fn`.
    pub(crate) is_blocking: bool,
}

/// What is known of a function whose attribute has a mistake: enough to declare its handles.
pub(crate) struct Outline<'a> {
    pub(crate) function: &'a Function,
    /// `None` if the function returns nothing.
    pub(crate) returned: Option<&'a Type>,
    pub(crate) place: Place,
    pub(crate) arguments: Vec<Argument<'a>>,
    /// Generics of `invalidate_all`.
    pub(crate) instance_generics: syn::Generics,
    pub(crate) facade: TokenStream,
}

/// Where the function stands, which decides what can stand beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On its own: a struct of its name.
    Free,
    /// In an `impl`: associated functions.
    Method,
    /// In the `impl` of a trait: nothing can.
    TraitImpl,
    /// The same, after `#[async_trait]`: a plain fn that returns a boxed future.
    BoxedTraitImpl,
}

/// An argument other than `self`.
pub(crate) struct Argument<'a> {
    /// The name it is passed on by.
    pub(crate) ident: Ident,
    pub(crate) pat: &'a Pat,
    pub(crate) ty: &'a Type,
    /// Whether the pattern is just that name.
    pub(crate) simple: bool,
}

pub(crate) struct KeyPart {
    pub(crate) value: TokenStream,
    pub(crate) span: Span,
    /// Whether it is an argument, whole.
    pub(crate) is_argument: bool,
    /// Whether its type is `impl Trait`.
    pub(crate) is_opaque: bool,
    /// The argument it is, or is of; `None` for `self`.
    argument: Option<Ident>,
}

pub(crate) enum Shown {
    Literal(String),
    Part,
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
        if !args.was_given("ttl") && !args.was_given("policy") && args.ttl.is_none() {
            errors.at(
                Span::call_site(),
                "say how long a value is fresh: `ttl = \"5m\"`, or `policy = \"short\"`",
            );
        }
        checks::levels(&args, errors);
        checks::coherence(&args, sig, boxed, errors);
        checks::of_self(&args, receiver, errors);
        let (key, template) = key(&args, &arguments, receiver, errors);
        let returned = returned(&args, function, errors);
        let keyed = |argument: &Argument<'_>| is_keyed(&key, argument);
        let skipped_parameters = parameters::skipped(function, &arguments, keyed, &key, &args);
        let place = place(&args, function);
        let facade = names::facade(args.facade.as_ref());
        let (Some(returned), Some(ttl), true) = (returned, args.ttl, errors.is_empty()) else {
            return Err(Box::new(Outline {
                function,
                returned: function.returned(),
                place,
                instance_generics: parameters::without(&sig.generics, &skipped_parameters),
                arguments,
                facade,
            }));
        };
        Ok(Self {
            function,
            returned,
            place,
            skipped_parameters,
            arguments,
            key,
            template,
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
            facade,
        })
    }

    /// Whether its values never leave memory: then they need no serde.
    pub(crate) fn is_memory_only(&self) -> bool {
        self.tiers.as_deref() == Some(&[1])
    }

    /// Type and const parameters.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &GenericParam> {
        let parameters = self.function.sig.generics.params.iter();
        parameters.filter(|parameter| !matches!(parameter, GenericParam::Lifetime(_)))
    }

    /// Those of them whose every choice is an instance with keys of its own.
    pub(crate) fn instance_parameters(&self) -> impl Iterator<Item = &GenericParam> {
        self.parameters()
            .filter(|parameter| !parameters::is_one_of(parameter, &self.skipped_parameters))
    }

    /// The generics of what drops every key: without the parameters that are not in the key, which nothing there would tell.
    pub(crate) fn instance_generics(&self) -> syn::Generics {
        parameters::without(&self.function.sig.generics, &self.skipped_parameters)
    }

    /// The arguments of which something is in the key.
    pub(crate) fn keyed_arguments(&self) -> impl Iterator<Item = &Argument<'a>> {
        self.arguments
            .iter()
            .filter(|argument| is_keyed(&self.key, argument))
    }
}

/// An option that could not be read still says where the function stands: a struct in an `impl`, or
/// a method that its trait does not have, would be a second error.
fn place(args: &Args, function: &Function) -> Place {
    let is_in_impl = function.sig.receiver().is_some()
        || args.scope.is_some()
        || args.was_given("scope")
        || function.mentions_self_type();
    if function.is_boxed() && !checks::is_boxed_by_hand(function) {
        Place::BoxedTraitImpl
    } else if args.trait_impl || args.was_given("trait_impl") {
        Place::TraitImpl
    } else if is_in_impl {
        Place::Method
    } else {
        Place::Free
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

fn returned<'a>(args: &Args, function: &'a Function, errors: &mut Errors) -> Option<&'a Type> {
    let Some(returned) = function.returned() else {
        if !function.is_boxed() {
            errors.over(
                &function.sig.ident,
                "there is no value to cache: the function returns nothing",
            );
        }
        return None;
    };
    let unfit = Unfit::of(returned);
    if let Some(opaque) = unfit.opaque {
        errors.over(
            opaque,
            "a value of type `impl Trait` cannot be stored: name its type, or box it",
        );
    } else if let Some(borrowed) = unfit.borrowed {
        errors.at(
            borrowed,
            "a cached value outlives the call and cannot borrow: return an owned type, such as `String` or `Arc<str>`",
        );
    }
    let is_memory_alone = args.tiers.as_ref().is_some_and(|tiers| tiers.levels == [1]);
    if let Some(forever) = Unfit::of_value(returned).forever
        && !is_memory_alone
    {
        errors.at(
            forever,
            "a reference cannot be read back from a tier below memory, whatever it lives for: return an owned type, or say `tiers = \"l1\"`",
        );
    }
    if unfit.opaque.is_none()
        && unfit.borrowed.is_none()
        && let Some(named) = Unfit::of_value(returned).named
    {
        errors.at(
            named,
            "a cached value outlives the call and cannot borrow: return an owned type, such as `String` or `Arc<str>`",
        );
    }
    if let (Some(share), Some(_)) = (&args.share_error, Unfit::of(returned).named) {
        errors.over(
            share,
            "an error that borrows cannot be shared with callers that wait: leave `share_error` out, or return an \
             owned error",
        );
    }
    Some(returned)
}

/// An argument that is neither in the key nor skipped would be forgotten: calls that differ in it alone would share a value.
fn check_template(args: &Args, pieces: &[Piece], arguments: &[Argument<'_>], errors: &mut Errors) {
    for argument in arguments {
        let ident = &argument.ident;
        let is_in = pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Argument(name, _) if ident == name));
        let skipped = args.skip.iter().find(|name| *name == ident);
        match (is_in, skipped) {
            (true, Some(skipped)) => errors.at(
                skipped.span(),
                format!("`key` puts `{ident}` into the key, and `skip` takes it out: say one"),
            ),
            (false, None) if argument.simple => errors.at(
                ident.span(),
                format!("`{ident}` is not in the key: put `{{{ident}}}` into `key`, or say `skip({ident})`"),
            ),
            (false, None) => errors.over(
                argument.pat,
                "`key` cannot name a pattern: give the argument a name, and take it apart in the body",
            ),
            _ => {}
        }
    }
}

fn key(
    args: &Args,
    arguments: &[Argument<'_>],
    receiver: Option<&Receiver>,
    errors: &mut Errors,
) -> (Vec<KeyPart>, Vec<Shown>) {
    let mut parts = Vec::new();
    let mut shown = Vec::new();
    if let Some(Scope::Value(scope)) = &args.scope {
        parts.push(KeyPart {
            value: quote!(#scope),
            span: scope.span(),
            is_argument: false,
            is_opaque: false,
            argument: None,
        });
    }
    let names: Vec<String> = arguments
        .iter()
        .filter(|argument| argument.simple)
        .map(|argument| argument.ident.to_string())
        .collect();
    let known = || {
        names
            .iter()
            .map(String::as_str)
            .chain(receiver.map(|_| "self"))
    };
    for name in &args.skip {
        if !known().any(|known| name == known) {
            let text = name.to_string();
            errors.at(
                name.span(),
                format!("there is no argument `{text}`{}", hint(&text, known())),
            );
        }
    }
    let Some(key) = &args.key else {
        for argument in arguments {
            if args.skip.contains(&argument.ident) {
                continue;
            }
            if let Some(set) = unordered_set(argument.ty) {
                errors.at(
                    set.span(),
                    "a `HashSet` has no fixed order, so equal sets would make different keys: take a `BTreeSet`, or \
                     `skip` the argument",
                );
            }
            let ident = &argument.ident;
            parts.push(KeyPart {
                value: quote!(#ident),
                span: argument.ty.span(),
                is_argument: true,
                is_opaque: Unfit::of(argument.ty).opaque.is_some(),
                argument: Some(ident.clone()),
            });
        }
        return (parts, shown);
    };
    match template::parse(key) {
        Err(error) => errors.push(error),
        Ok(pieces) => {
            let names_arguments = pieces.iter().all(|piece| match piece {
                Piece::Literal(_) => true,
                Piece::Argument(name, _) => known().any(|known| name == known),
            });
            if names_arguments {
                check_template(args, &pieces, arguments, errors);
            }
            if !parts.is_empty() {
                shown.push(Shown::Part);
                shown.push(Shown::Literal(":".into()));
            }
            for piece in pieces {
                match piece {
                    Piece::Literal(literal) => shown.push(Shown::Literal(literal)),
                    Piece::Argument(name, value) => {
                        if !known().any(|known| name == known) {
                            errors.at(
                                key.span(),
                                format!(
                                    "the key names `{name}`, which is no argument{}",
                                    hint(&name, known())
                                ),
                            );
                        }
                        let argument = arguments.iter().find(|argument| argument.ident == name);
                        let is_argument = argument.is_some() && matches!(value, Expr::Path(_));
                        let value = match argument {
                            Some(argument) => template::resolve(&value, &argument.ident, key),
                            None => value,
                        };
                        parts.push(KeyPart {
                            value: quote!(#value),
                            span: key.span(),
                            is_argument,
                            is_opaque: is_argument
                                && argument.is_some_and(|argument| {
                                    Unfit::of(argument.ty).opaque.is_some()
                                }),
                            argument: argument.map(|argument| argument.ident.clone()),
                        });
                        shown.push(Shown::Part);
                    }
                }
            }
        }
    }
    (parts, shown)
}
