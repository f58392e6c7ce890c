//! The tags that a function declares, by the parts of its key.

use quote::ToTokens;
use syn::{Expr, LitStr};

use super::key::{Key, KeyPart, names};
use crate::args::Args;
use crate::errors::{Errors, hint};
use crate::item::Argument;
use crate::template::{self, Piece, Purpose};

/// A piece of a tag.
pub(crate) enum TagPiece {
    Literal(String),
    /// The part of the key with this number.
    Part(usize),
}

/// Returns the template of each tag, and reports templates that are not made from the key. Returns
/// `None` for a function whose values have no tags.
pub(super) fn tags(
    args: &Args,
    key: &Key,
    (arguments, has_receiver): (&[Argument<'_>], bool),
    errors: &mut Errors,
) -> Option<Vec<Vec<TagPiece>>> {
    let Some(declared) = &args.tags else {
        return args.tags_of.is_some().then(Vec::new);
    };
    let names = names(arguments, has_receiver);
    let mut tags = Vec::new();
    for text in declared {
        if text.value().is_empty() {
            errors.at(
                text.span(),
                "the tag is empty; help: write such as \"user:{id}\" or \"all-users\"",
            );
        }
        match template::parse(text, Purpose::Tag) {
            Ok(pieces) => tags.push(tag(args, key, &names, (text, pieces), errors)),
            Err(error) => errors.push(error),
        }
    }
    Some(tags)
}

fn tag(
    args: &Args,
    key: &Key,
    names: &[String],
    (text, pieces): (&LitStr, Vec<Piece>),
    errors: &mut Errors,
) -> Vec<TagPiece> {
    let mut tag = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => tag.push(TagPiece::Literal(literal)),
            Piece::Argument(name, place) => match part(args, key, names, (&name, &place)) {
                Ok(at) => tag.push(TagPiece::Part(at)),
                Err(problem) if key.is_known => errors.at(text.span(), problem),
                // The part may be in an option that could not be read.
                Err(_) => {}
            },
        }
    }
    tag
}

/// Returns the number of the part that a placeholder names, or why there is none.
fn part(
    args: &Args,
    key: &Key,
    names: &[String],
    (name, place): (&str, &Expr),
) -> Result<usize, String> {
    let shown = place.to_token_stream().to_string().replace(' ', "");
    if !names.iter().any(|known| known == name) {
        let hint = hint(name, names.iter().map(String::as_str));
        return Err(format!(
            "the tag names `{name}`, which is not an argument{hint}"
        ));
    }
    if args.skip.iter().any(|skipped| skipped == name) {
        return Err(format!(
            "`{name}` is skipped: values that are loaded with different ones have one key; help: \
             remove it from `skip`, or make the tag from the value by `tags_of`"
        ));
    }
    let is_named = |part: &KeyPart| part.value.to_string().replace(' ', "") == shown;
    match key.parts.iter().position(is_named) {
        None => Err(format!(
            "`{{{shown}}}` is not a part of the key; help: put it into `key`, or make the tag from \
             the value by `tags_of`"
        )),
        Some(at) if key.parts[at].is_opaque => Err(format!(
            "`{name}` is an `impl Trait`, whose key has the name of its type; help: name the type \
             by a type parameter, or make the tag from the value by `tags_of`"
        )),
        Some(at) => Ok(at),
    }
}
