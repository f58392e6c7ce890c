//! The templates of the tags that a function declares.

use std::sync::Arc;

use crate::error::Error;
use crate::key::Piece;
use crate::tag::{MOST_TAGS, Tag, TagSet};

/// The tags that a function declares: one template for each. A template has the text of the tag and
/// the places of the arguments in it ([`Piece::ArgumentAt`]).
#[derive(Clone, Debug)]
pub struct TagTemplates(Templates);

#[derive(Clone, Debug)]
enum Templates {
    None,
    Declared(&'static [&'static [Piece]]),
    Built(Arc<[Box<[Piece]>]>),
}

impl TagTemplates {
    /// A function whose values have no tags.
    pub const NONE: Self = Self(Templates::None);

    /// A function whose values have tags: those of the templates, and those that come from the
    /// value and the body.
    #[must_use]
    pub const fn declared(templates: &'static [&'static [Piece]]) -> Self {
        Self(Templates::Declared(templates))
    }

    /// Reads templates that name the arguments of a key by their numbers: `user:{0}`.
    ///
    /// # Errors
    /// A brace without its counterpart, something other than a number in braces, or more templates
    /// than a value can have tags.
    pub(crate) fn parse(texts: impl IntoIterator<Item = &'static str>) -> Result<Self, Error> {
        let templates: Arc<[_]> = texts.into_iter().map(pieces).collect::<Result<_, _>>()?;
        match templates.len() <= MOST_TAGS {
            true => Ok(Self(Templates::Built(templates))),
            false => Err(Error::configuration(format!(
                "`tags` has more than {MOST_TAGS} tags"
            ))),
        }
    }

    /// Returns `true` if values of the function can have tags.
    pub(crate) fn are_declared(&self) -> bool {
        !matches!(self.0, Templates::None)
    }

    /// Returns the tags that the values of a key have, by its encoded arguments.
    pub(crate) fn of(&self, arguments: &[u8]) -> TagSet {
        let mut tags = TagSet::default();
        let mut add = |template: &[Piece]| tags.add_all([Tag::of_key(arguments, template)]);
        match &self.0 {
            Templates::None => {}
            Templates::Declared(templates) => templates.iter().for_each(|one| add(one)),
            Templates::Built(templates) => templates.iter().for_each(|one| add(one)),
        }
        tags
    }
}

/// Splits a template at its braces. Two braces in a row are one in the text.
fn pieces(text: &'static str) -> Result<Box<[Piece]>, Error> {
    let wrong = |problem: &str| {
        Err(Error::configuration(format!("the tag `{text}` {problem}"))
            .with_help("name an argument by its place: `user:{0}`; write `{{` for a brace"))
    };
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        if !before.is_empty() {
            pieces.push(Piece::Literal(before));
        }
        if brace.starts_with("{{") || brace.starts_with("}}") {
            pieces.push(Piece::Literal(&brace[..1]));
            rest = &brace[2..];
            continue;
        }
        let inner = brace
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        let Some((number, after)) = inner else {
            return wrong("has a brace without its counterpart");
        };
        match number.parse() {
            Ok(number) => pieces.push(Piece::ArgumentAt(number)),
            Err(_) => return wrong("has no number between its braces"),
        }
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    Ok(pieces.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Arguments, Tuple};

    fn digests(texts: &[&'static str]) -> Vec<u64> {
        let templates = TagTemplates::parse(texts.iter().copied()).expect("templates");
        let arguments = Arguments::encode(Tuple(&(42_i32, "a b", Some(7_u64))), 0);
        let tags = templates.of(arguments.expect("a key").as_bytes());
        tags.digests().to_vec()
    }

    #[test]
    fn template_names_arguments_in_any_order() {
        let expected = ["user:42", "'a%20b'/42", "7{}", "all"].map(|text| Tag::new(text).digest());
        assert_eq!(
            digests(&["user:{0}", "{1}/{0}", "{2}{{}}", "all"]),
            expected
        );
        assert_eq!(digests(&["all", "all"]).len(), 1);
        assert!(digests(&[]).is_empty());
    }

    #[test]
    fn template_with_other_braces_is_refused() {
        for text in ["user:{", "user:}", "user:{id}", "user:{}", "{0", "}{0}"] {
            let refused = TagTemplates::parse([text]).expect_err(text);
            assert!(refused.to_string().contains(text), "{refused}");
        }
        let many = TagTemplates::parse(std::iter::repeat_n("a", MOST_TAGS + 1));
        assert!(many.is_err());
    }
}
