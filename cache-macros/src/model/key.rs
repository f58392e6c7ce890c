//! The parts of a key: all arguments that are not skipped, or those that the template names.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, LitStr};

use super::checks;
use crate::args::{Args, Batch, Scope};
use crate::errors::{Errors, hint};
use crate::item::Argument;
use crate::template::{self, Piece, Purpose};
use crate::types::{Unfit, list, unordered_set};

/// A value that is in the key.
pub(crate) struct KeyPart {
    /// Name under which tools show it: that of the argument, or the expression.
    pub(crate) name: String,
    pub(crate) value: TokenStream,
    /// Where an error of its type is reported.
    pub(crate) span: Span,
    /// Set if it is a whole argument.
    pub(crate) is_argument: bool,
    /// Set if its type is `impl Trait`.
    pub(crate) is_opaque: bool,
    /// The argument of which it is the whole or a part; `None` for `self`.
    pub(super) argument: Option<Ident>,
}

/// A piece of a rendered key.
pub(crate) enum Shown {
    Literal(String),
    Part,
}

/// The parts of a key, and how it is rendered.
pub(super) struct Key {
    pub(super) parts: Vec<KeyPart>,
    /// Empty if all parts are shown, separated by commas.
    pub(super) shown: Vec<Shown>,
    /// `false` if an option that says what is in the key could not be read.
    pub(super) is_known: bool,
}

impl Key {
    pub(super) fn new(
        args: &Args,
        arguments: &[Argument<'_>],
        has_receiver: bool,
        errors: &mut Errors,
    ) -> Self {
        let names = names(arguments, has_receiver);
        checks::skipped_names(args, &names, errors);
        let is_broken = ["key", "skip", "scope"]
            .iter()
            .any(|option| args.is_broken(option));
        let mut key = Self {
            parts: Vec::new(),
            shown: Vec::new(),
            is_known: !is_broken,
        };
        if let Some(Scope::Value(scope)) = &args.scope {
            key.parts.push(KeyPart {
                name: text_of(quote!(#scope)),
                value: quote!(#scope),
                span: scope.span(),
                is_argument: false,
                is_opaque: false,
                argument: None,
            });
        }
        match &args.key {
            None => key.add_arguments(args, arguments, errors),
            Some(text) => match template::parse(text, Purpose::Key) {
                Err(error) => {
                    errors.push(error);
                    key.is_known = false;
                }
                Ok(pieces) => {
                    let is_known = |name: &str| names.iter().any(|known| known == name);
                    let names_arguments = pieces.iter().all(|piece| match piece {
                        Piece::Literal(_) => true,
                        Piece::Argument(name, _) => is_known(name),
                    });
                    if names_arguments {
                        checks::template(args, &pieces, arguments, errors);
                    } else {
                        unknown_names(text, &pieces, &names, errors);
                    }
                    key.add_pieces(text, pieces, arguments);
                }
            },
        }
        key
    }

    /// Adds every argument that is not skipped.
    fn add_arguments(&mut self, args: &Args, arguments: &[Argument<'_>], errors: &mut Errors) {
        for argument in arguments {
            if args.skip.contains(&argument.ident) {
                continue;
            }
            // Each id of a batch has a key of its own. An argument that is no list is another
            // mistake.
            let is_ids = |batch: &Batch| batch.ids == argument.ident;
            let ty = match args.batch.as_ref().is_some_and(is_ids) {
                true => list(argument.ty).map(|(element, _)| element),
                false => Some(argument.ty),
            };
            // An argument may be in the list of `skip` that could not be read.
            let set = ty
                .and_then(unordered_set)
                .filter(|_| !args.is_broken("skip"));
            if let Some(set) = set {
                errors.at(
                    set.span(),
                    "a `HashSet` has no fixed order: equal sets could make different keys; help: \
                     use a `BTreeSet`, or `skip` the argument",
                );
            }
            let ident = &argument.ident;
            self.parts.push(KeyPart {
                // A pattern has no name.
                name: match argument.simple {
                    true => ident.unraw().to_string(),
                    false => "_".to_owned(),
                },
                value: quote!(#ident),
                span: argument.ty.span(),
                is_argument: true,
                is_opaque: Unfit::of(argument.ty).opaque.is_some(),
                argument: Some(ident.clone()),
            });
        }
    }

    /// Adds what a template names.
    fn add_pieces(&mut self, text: &LitStr, pieces: Vec<Piece>, arguments: &[Argument<'_>]) {
        if !self.parts.is_empty() {
            self.shown.push(Shown::Part);
            self.shown.push(Shown::Literal(":".into()));
        }
        for piece in pieces {
            let (name, value) = match piece {
                Piece::Literal(literal) => {
                    self.shown.push(Shown::Literal(literal));
                    continue;
                }
                Piece::Argument(name, value) => (name, value),
            };
            let argument = arguments.iter().find(|argument| argument.ident == name);
            let whole = argument.filter(|_| matches!(value, Expr::Path(_)));
            let value = match argument {
                Some(argument) => template::resolve(&value, &argument.ident, text),
                None => value,
            };
            self.parts.push(KeyPart {
                name: text_of(quote!(#value)),
                value: quote!(#value),
                span: text.span(),
                is_argument: whole.is_some(),
                is_opaque: whole.is_some_and(|whole| Unfit::of(whole.ty).opaque.is_some()),
                argument: argument.map(|argument| argument.ident.clone()),
            });
            self.shown.push(Shown::Part);
        }
    }
}

/// Returns the text of an expression as it is usually written. The printer puts spaces between all
/// tokens.
fn text_of(expression: TokenStream) -> String {
    let text = expression.to_string();
    [" . ", " (", "( ", " )"]
        .iter()
        .fold(text, |text, spaced| text.replace(spaced, spaced.trim()))
}

/// Returns the names that templates may use.
pub(super) fn names(arguments: &[Argument<'_>], has_receiver: bool) -> Vec<String> {
    let simple = arguments.iter().filter(|argument| argument.simple);
    let mut names: Vec<String> = simple.map(|argument| argument.ident.to_string()).collect();
    names.extend(has_receiver.then(|| "self".to_owned()));
    names
}

/// Reports placeholders that name no argument.
fn unknown_names(text: &LitStr, pieces: &[Piece], names: &[String], errors: &mut Errors) {
    for piece in pieces {
        if let Piece::Argument(name, _) = piece
            && !names.contains(name)
        {
            let hint = hint(name, names.iter().map(String::as_str));
            errors.at(
                text.span(),
                format!("`key` names `{name}`, which is not an argument{hint}"),
            );
        }
    }
}
