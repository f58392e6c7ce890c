//! How long a value is fresh: in every tier, or in each.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use syn::parse::ParseStream;
use syn::{Ident, LitStr, parenthesized};

use super::{Ttl, comma, skip_to_comma, text};
use crate::errors::Errors;

/// As the runtime has it: a year.
const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// `ttl = "5m"` or `ttl(l1 = "30s", l2 = "1h")`, behind its name.
pub(super) fn ttl(option: &Ident, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Ttl> {
    if !input.peek(syn::token::Paren) {
        let ttl = text(option, input, "\"5m\"")?;
        return Ok(Ttl::Everywhere(duration(&ttl)?));
    }
    let list;
    parenthesized!(list in input);
    let mut each: Vec<(u8, Duration, Span)> = Vec::new();
    while !list.is_empty() {
        let level: syn::Result<Ident> = list.parse().map_err(|error: syn::Error| {
            let says =
                "write `ttl = \"5m\"`, or a time for each tier: `ttl(l1 = \"30s\", l2 = \"1h\")`";
            syn::Error::new(error.span(), says)
        });
        let level = level.and_then(|level| match level_number(&level.to_string()) {
            Some(number) => Ok((level, number)),
            None => Err(syn::Error::new(
                level.span(),
                format!("unknown tier `{level}`: tiers are `l1` to `l9`"),
            )),
        });
        let (level, number) = level.inspect_err(|_| {
            // What follows is none of its mistakes.
            let _ = list.parse::<TokenStream>();
        })?;
        if each.iter().any(|(known, ..)| *known == number) {
            errors.at(level.span(), format!("`{level}` is given twice"));
        }
        match text(&level, &list, "\"5m\"").and_then(|ttl| duration(&ttl)) {
            Ok(ttl) => each.push((number, ttl, level.span())),
            Err(error) => {
                // One second stands in, so that the rest is checked.
                errors.push(error);
                each.push((number, Duration::from_secs(1), level.span()));
                skip_to_comma(&list)?;
            }
        }
        comma(&list, |name| level_number(name).is_some(), errors)?;
    }
    if each.is_empty() {
        return Err(syn::Error::new(
            option.span(),
            "name a time for each tier: `ttl(l1 = \"30s\", l2 = \"1h\")`",
        ));
    }
    Ok(Ttl::Each(each))
}

fn duration(text: &LitStr) -> syn::Result<Duration> {
    let value = text.value();
    let duration = humantime::parse_duration(&value).map_err(|_| {
        syn::Error::new(
            text.span(),
            format!(
                "`{value}` is no duration: write it like \"30s\", \"5m\", \"1h 30m\" or \"7days\""
            ),
        )
    })?;
    if duration.is_zero() {
        return Err(syn::Error::new(
            text.span(),
            "a ttl of zero keeps nothing: leave the attribute off instead",
        ));
    }
    if duration > LONGEST_TTL {
        return Err(syn::Error::new(
            text.span(),
            format!(
                "a ttl of `{value}` is too long: the longest is 365 days{}",
                match value.contains('M') {
                    true => " (\"m\" is minutes, \"M\" months)",
                    false => "",
                }
            ),
        ));
    }
    Ok(duration)
}

/// The number of a tier by its name, `l1` to `l9`.
pub(super) fn level_number(name: &str) -> Option<u8> {
    match name.strip_prefix('l')?.as_bytes() {
        [digit @ b'1'..=b'9'] => Some(digit - b'0'),
        _ => None,
    }
}
