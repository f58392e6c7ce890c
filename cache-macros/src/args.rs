//! The grammar of the attribute: each option once, each with the place it stands at.

mod ttl;

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Expr, ExprPath, Ident, LitInt, LitStr, Path, Token, parenthesized};

use self::ttl::{level_number, ttl};
use crate::errors::{Errors, nearest};

/// Every option, for the hint on a misspelt one.
const OPTIONS: &[&str] = &[
    "ttl",
    "policy",
    "tiers",
    "name",
    "version",
    "key",
    "skip",
    "scope",
    "cache_if",
    "share_error",
    "codec",
    "when_isolated",
    "single_flight",
    "consistency",
    "crate",
    "trait_impl",
];

/// What other caches call the time that a value is fresh.
const OF_TIME: &[&str] = &[
    "time",
    "duration",
    "expire",
    "expires",
    "expiry",
    "expiration",
    "lifetime",
    "max_age",
    "seconds",
    "minutes",
    "time_to_live",
];

/// What the attribute says. Values are checked as far as they can be without the function.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) ttl: Option<Ttl>,
    pub(crate) tiers: Option<Tiers>,
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<u32>,
    pub(crate) key: Option<LitStr>,
    pub(crate) skip: Vec<Ident>,
    /// Those of `skip` that are written `mut conn`: the function is meant to read through them.
    pub(crate) skip_mut: Vec<Ident>,
    pub(crate) scope: Option<Scope>,
    pub(crate) cache_if: Option<Expr>,
    pub(crate) share_error: Option<ExprPath>,
    pub(crate) codec: Option<LitStr>,
    /// As the runtime calls them.
    pub(crate) when_isolated: Option<&'static str>,
    pub(crate) single_flight: Option<&'static str>,
    pub(crate) consistency: Option<&'static str>,
    /// The first of those three.
    pub(crate) of_others: Option<Ident>,
    pub(crate) facade: Option<Path>,
    pub(crate) trait_impl: bool,
    /// Options that were given but could not be read: their absence is no second mistake.
    broken: Vec<String>,
}

pub(crate) enum Ttl {
    Everywhere(Duration),
    Each(Vec<(u8, Duration, Span)>),
    /// `policy = "short"`: as the runtime knows it.
    Policy(LitStr),
}

pub(crate) struct Tiers {
    pub(crate) levels: Vec<u8>,
    pub(crate) span: Span,
}

/// What of `self` is in the key.
pub(crate) enum Scope {
    /// `scope = Self`: an associated function, for which the type is all there is.
    Type,
    /// `scope = self.tenant_id`.
    Value(Expr),
}

impl Args {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self::default();
        let mut seen: Vec<String> = Vec::new();
        let all = |input: ParseStream<'_>| {
            if input.peek(syn::Lit) {
                errors.push(input.error("name what it is: `ttl = \"5m\"`"));
                args.broken.push("ttl".to_owned());
                skip_to_comma(input)?;
                input.parse::<Option<Token![,]>>()?;
            }
            while !input.is_empty() {
                if let Err(error) = args.option(input, &mut seen, errors) {
                    errors.push(error);
                    skip_to_comma(input)?;
                }
                let is_option = |name: &str| OPTIONS.contains(&name);
                comma(input, is_option, errors)?;
            }
            Ok(())
        };
        if let Err(error) = all.parse2(tokens) {
            errors.push(error);
        }
        args
    }

    /// Whether an option was given, readable or not.
    pub(crate) fn was_given(&self, option: &str) -> bool {
        self.broken.iter().any(|broken| broken == option)
    }

    fn option(
        &mut self,
        input: ParseStream<'_>,
        seen: &mut Vec<String>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        let option: Ident = input.call(Ident::parse_any)?;
        let name = option.to_string();
        if !OPTIONS.contains(&name.as_str()) {
            // What it was meant for is not missing on top of that.
            let near = match OF_TIME.contains(&name.as_str()) {
                true => Some("ttl"),
                false => nearest(&name, OPTIONS.iter().copied()),
            };
            self.broken.extend(near.map(str::to_owned));
            if level_number(&name).is_some() {
                self.broken.push("ttl".to_owned());
                return Err(syn::Error::new(
                    option.span(),
                    format!("the times of tiers stand together: `ttl({name} = \"1h\")`"),
                ));
            }
            return Err(syn::Error::new(
                option.span(),
                match near {
                    Some(near) => format!("unknown option `{name}`; did you mean `{near}`?"),
                    None => format!("unknown option `{name}`: there are {}", OPTIONS.join(", ")),
                },
            ));
        }
        if seen.contains(&name) {
            return Err(syn::Error::new(
                option.span(),
                format!("`{name}` is given twice"),
            ));
        }
        seen.push(name.clone());
        self.value(&name, &option, input, errors)
            .inspect_err(|_| self.broken.push(name))
    }

    fn value(
        &mut self,
        name: &str,
        option: &Ident,
        input: ParseStream<'_>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        if ["when_isolated", "single_flight", "consistency"].contains(&name) {
            self.of_others.get_or_insert_with(|| option.clone());
        }
        match name {
            "ttl" | "policy" if self.ttl.is_some() => {
                return Err(syn::Error::new(
                    option.span(),
                    "`ttl` and `policy` both say how long a value is fresh: leave one out",
                ));
            }
            "ttl" => self.ttl = Some(ttl(option, input, errors)?),
            "policy" => self.ttl = Some(Ttl::Policy(policy(text(option, input, "\"short\"")?)?)),
            "tiers" => self.tiers = Some(tiers(&text(option, input, "\"l1,l2\"")?)?),
            "name" => self.name = Some(function_name(text(option, input, "\"users::by_id\"")?)?),
            "version" => self.version = Some(version(option, input)?),
            "key" => self.key = Some(text(option, input, "\"user:{id}\"")?),
            "skip" => {
                let list;
                if !input.peek(syn::token::Paren) {
                    return Err(after(option, input, "write it as `skip(pool, ctx)`"));
                }
                parenthesized!(list in input);
                while !list.is_empty() {
                    let is_mut = list.parse::<Option<Token![mut]>>()?.is_some();
                    let name = list.call(Ident::parse_any)?;
                    self.skip_mut.extend(is_mut.then(|| name.clone()));
                    self.skip.push(name);
                    comma(&list, |_| true, errors)?;
                }
            }
            "scope" => {
                equals(option, input, "scope = self.tenant_id")?;
                self.scope = Some(if input.peek(Token![Self]) {
                    input.parse::<Token![Self]>()?;
                    Scope::Type
                } else {
                    Scope::Value(input.parse()?)
                });
            }
            "cache_if" => {
                equals(option, input, "cache_if = |value| value.is_active")?;
                self.cache_if = Some(input.parse()?);
            }
            "share_error" => self.share_error = Some(function_path(option, input)?),
            "codec" => self.codec = Some(text(option, input, "\"postcard\"")?),
            "when_isolated" => {
                self.when_isolated = Some(choice(
                    option,
                    input,
                    &[("serve", "Serve"), ("load", "Load")],
                )?);
            }
            "single_flight" => {
                self.single_flight = Some(choice(
                    option,
                    input,
                    &[("cluster", "Cluster"), ("process", "Process")],
                )?);
            }
            "consistency" => {
                self.consistency = Some(choice(
                    option,
                    input,
                    &[("bounded", "Bounded"), ("strong", "Strong")],
                )?);
            }
            "crate" => {
                let path = text(option, input, "\"my::path\"")?;
                self.facade = Some(path.parse_with(Path::parse_mod_style).map_err(|_| {
                    syn::Error::new(
                        path.span(),
                        "`crate` is the path of the facade, such as \"::multi_tier_cached\"",
                    )
                })?);
            }
            "trait_impl" if input.peek(Token![=]) => {
                return Err(after(
                    option,
                    input,
                    "`trait_impl` has no value: write it alone",
                ));
            }
            "trait_impl" => self.trait_impl = true,
            name => unreachable!("`{name}` is in `OPTIONS` and has no arm"),
        }
        Ok(())
    }
}

/// After a mistake: goes on behind the next comma, so that later options are checked too.
fn skip_to_comma(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<proc_macro2::TokenTree>()?;
    }
    Ok(())
}

/// Between two of a list. One that is missing is one mistake: what follows is read where it may be meant, and passed over where not.
fn comma(
    input: ParseStream<'_>,
    is_next: impl Fn(&str) -> bool,
    errors: &mut Errors,
) -> syn::Result<()> {
    if input.is_empty() {
        return Ok(());
    }
    if !input.peek(Token![,]) {
        errors.push(input.error("expected `,`"));
        let next = input.fork().call(Ident::parse_any);
        if next.is_ok_and(|next| is_next(&next.to_string())) {
            return Ok(());
        }
        skip_to_comma(input)?;
    }
    input.parse::<Option<Token![,]>>().map(drop)
}

/// A mistake right behind an option's name.
fn after(option: &Ident, input: ParseStream<'_>, message: &str) -> syn::Error {
    let span = if input.is_empty() || input.peek(Token![,]) {
        option.span()
    } else {
        input.span()
    };
    syn::Error::new(span, message)
}

fn equals(option: &Ident, input: ParseStream<'_>, example: &str) -> syn::Result<()> {
    if !input.peek(Token![=]) {
        return Err(after(option, input, &format!("write it as `{example}`")));
    }
    input.parse::<Token![=]>()?;
    Ok(())
}

fn text(option: &Ident, input: ParseStream<'_>, example: &str) -> syn::Result<LitStr> {
    equals(option, input, &format!("{option} = {example}"))?;
    if !input.peek(LitStr) {
        return Err(after(
            option,
            input,
            &format!("`{option}` is a text, such as {example}"),
        ));
    }
    input.parse()
}

/// One of some words, each with what the runtime calls it.
fn choice(
    option: &Ident,
    input: ParseStream<'_>,
    choices: &[(&str, &'static str)],
) -> syn::Result<&'static str> {
    let text = text(option, input, &format!("\"{}\"", choices[0].0))?;
    let value = text.value();
    let chosen = choices.iter().find(|(word, _)| *word == value);
    chosen.map(|(_, name)| *name).ok_or_else(|| {
        let words: Vec<_> = choices
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        syn::Error::new(text.span(), format!("`{option}` is {}", words.join(" or ")))
    })
}

/// The path of a function that makes an error of another.
fn function_path(option: &Ident, input: ParseStream<'_>) -> syn::Result<ExprPath> {
    equals(option, input, "share_error = path::to::function")?;
    let says = "`share_error` is the path of a function `fn(&E) -> E`, where `E` is the error";
    match input.parse()? {
        Expr::Path(path) => Ok(path),
        other => Err(syn::Error::new_spanned(other, says)),
    }
}

fn version(option: &Ident, input: ParseStream<'_>) -> syn::Result<u32> {
    equals(option, input, "version = 2")?;
    if !input.peek(LitInt) {
        return Err(after(option, input, "`version` is a number, such as 2"));
    }
    let number: LitInt = input.parse()?;
    number
        .base10_parse()
        .map_err(|_| syn::Error::new(number.span(), "`version` is a number from 0 to 4294967295"))
}

fn policy(name: LitStr) -> syn::Result<LitStr> {
    if name.value().is_empty() {
        return Err(syn::Error::new(
            name.span(),
            "name a policy, such as `policy = \"short\"`",
        ));
    }
    Ok(name)
}

fn tiers(text: &LitStr) -> syn::Result<Tiers> {
    if text.value().trim().is_empty() {
        let says = "no tier is named: write such as \"l1,l2\", or leave `tiers` off for all that the runtime has";
        return Err(syn::Error::new(text.span(), says));
    }
    let mut levels = Vec::new();
    for name in text.value().split(',').map(str::trim) {
        let number = level_number(name).ok_or_else(|| {
            syn::Error::new(
                text.span(),
                format!("unknown tier `{name}`: tiers are `l1` to `l9`, such as \"l1,l2\""),
            )
        })?;
        if levels.last().is_some_and(|last| *last >= number) {
            return Err(syn::Error::new(
                text.span(),
                "tiers are asked in order of their numbers: name each once, lowest first",
            ));
        }
        levels.push(number);
    }
    Ok(Tiers {
        levels,
        span: text.span(),
    })
}

/// Names are part of shared keys: `name:version:arguments` must read one way only.
fn function_name(text: LitStr) -> syn::Result<LitStr> {
    let value = text.value();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':');
    let single_colon = value.replace("::", "").contains(':');
    if value.is_empty() || !value.chars().all(plain) || single_colon {
        return Err(syn::Error::new(
            text.span(),
            "a name is made of letters, digits, `_`, `-`, `.`, `/` and `::`, such as \"users::by_id\"",
        ));
    }
    Ok(text)
}

/// Where a scope stands.
impl Scope {
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Type => Span::call_site(),
            Self::Value(value) => value.span(),
        }
    }
}
