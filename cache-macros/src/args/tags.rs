//! The option `tags`: a list of templates.

use syn::{LitStr, bracketed};

use super::given::{Given, comma};
use crate::errors::Errors;

/// The most tags that one value can have, as in the runtime.
const MOST_TAGS: usize = 64;

const EXAMPLE: &str = "tags = [\"user:{id}\", \"all-users\"]";

/// Reads the templates that follow the name `tags`.
pub(super) fn tags(given: &Given<'_>, errors: &mut Errors) -> syn::Result<Vec<LitStr>> {
    given.equals(EXAMPLE)?;
    let input = given.input;
    if !input.peek(syn::token::Bracket) {
        return Err(given.error(format!("`tags` is not a list; help: write `{EXAMPLE}`")));
    }
    let list;
    bracketed!(list in input);
    let mut templates: Vec<LitStr> = Vec::new();
    while !list.is_empty() {
        let template: LitStr = list.parse().map_err(|error| {
            // The rest of the list is not parsed, so that it causes no further errors.
            let _ = list.parse::<proc_macro2::TokenStream>();
            let says = "a tag is not a string; help: write such as \"user:{id}\", or set `tags_of` \
                        for tags that are made from the value";
            syn::Error::new(error.span(), says)
        })?;
        if templates
            .iter()
            .any(|known| known.value() == template.value())
        {
            errors.at(template.span(), "the tag is given twice");
        } else if templates.len() == MOST_TAGS {
            errors.at(
                template.span(),
                format!("a value can have at most {MOST_TAGS} tags; help: remove this one"),
            );
        }
        templates.push(template);
        comma(&list, |_| true, errors)?;
    }
    Ok(templates)
}
