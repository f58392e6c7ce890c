//! The ttl: one for every tier, or one for each.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use syn::{Ident, LitStr, parenthesized};

use super::duration::duration;
use super::given::{Given, comma, level_number, skip_to_comma};
use crate::errors::Errors;

/// How long a value is fresh.
pub(crate) enum Ttl {
    Everywhere(Duration),
    Each(Vec<(u8, Duration, Span)>),
    /// The name of a policy of the runtime: `policy = "short"`.
    Policy(LitStr),
}

impl Ttl {
    /// Returns the shortest time. A policy has none that is known here.
    pub(crate) fn shortest(&self) -> Option<Duration> {
        match self {
            Self::Everywhere(ttl) => Some(*ttl),
            Self::Each(each) => each.iter().map(|(_, ttl, _)| *ttl).min(),
            Self::Policy(_) => None,
        }
    }
}

/// Reads what follows the name `ttl` in `ttl = "5m"` or `ttl(l1 = "30s", l2 = "1h")`.
pub(super) fn ttl(given: &Given<'_>, errors: &mut Errors) -> syn::Result<Ttl> {
    if !given.input.peek(syn::token::Paren) {
        let ttl = given.text("\"5m\"")?;
        return Ok(Ttl::Everywhere(time(&ttl)?));
    }
    let input = given.input;
    let list;
    parenthesized!(list in input);
    let mut each: Vec<(u8, Duration, Span)> = Vec::new();
    while !list.is_empty() {
        let (level, number) = level(&list).inspect_err(|_| {
            // The rest of the list is not parsed, so that it causes no further errors.
            let _ = list.parse::<TokenStream>();
        })?;
        if each.iter().any(|(known, ..)| *known == number) {
            errors.at(level.span(), format!("`{level}` is given twice"));
        }
        let given = Given {
            option: &level,
            input: &list,
        };
        match given.text("\"5m\"").and_then(|ttl| time(&ttl)) {
            Ok(ttl) => each.push((number, ttl, level.span())),
            Err(error) => {
                // One second takes its place, so that the other options are checked.
                errors.push(error);
                each.push((number, Duration::from_secs(1), level.span()));
                skip_to_comma(&list)?;
            }
        }
        comma(&list, |name| level_number(name).is_some(), errors)?;
    }
    if each.is_empty() {
        return Err(syn::Error::new(
            given.option.span(),
            "`ttl` names no tier; help: write such as `ttl(l1 = \"30s\", l2 = \"1h\")`",
        ));
    }
    Ok(Ttl::Each(each))
}

/// Reads the name of a tier.
fn level(list: syn::parse::ParseStream<'_>) -> syn::Result<(Ident, u8)> {
    let level: Ident = list.parse().map_err(|error: syn::Error| {
        syn::Error::new(
            error.span(),
            "expected the name of a tier; help: write `ttl = \"5m\"`, or one ttl for each tier: \
             `ttl(l1 = \"30s\", l2 = \"1h\")`",
        )
    })?;
    match level_number(&level.to_string()) {
        Some(number) => Ok((level, number)),
        None => Err(syn::Error::new(
            level.span(),
            format!("unknown tier `{level}`; help: tiers are `l1` to `l9`"),
        )),
    }
}

fn time(text: &LitStr) -> syn::Result<Duration> {
    let zero = ": no call could ever hit; help: remove the attribute to disable caching";
    duration(text, "ttl", zero)
}
