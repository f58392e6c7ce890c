//! One option as it is written, and the kinds of values that options have.

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Expr, ExprPath, Ident, LitInt, LitStr, Path, Token, parenthesized};

use crate::errors::Errors;

/// The tiers of a function.
pub(crate) struct Tiers {
    pub(crate) levels: Vec<u8>,
    pub(crate) span: Span,
}

/// The part of `self` that is in the key.
pub(crate) enum Scope {
    /// `scope = Self`: the type alone, for an associated function.
    Type,
    /// `scope = self.tenant_id`.
    Value(Expr),
}

impl Scope {
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Type => Span::call_site(),
            Self::Value(value) => value.span(),
        }
    }
}

/// The name of an option, and the input after it.
pub(super) struct Given<'a> {
    pub(super) option: &'a Ident,
    pub(super) input: ParseStream<'a>,
}

impl Given<'_> {
    /// An error right behind the option's name.
    pub(super) fn error(&self, message: impl std::fmt::Display) -> syn::Error {
        let span = if self.input.is_empty() || self.input.peek(Token![,]) {
            self.option.span()
        } else {
            self.input.span()
        };
        syn::Error::new(span, message)
    }

    pub(super) fn equals(&self, example: &str) -> syn::Result<()> {
        if !self.input.peek(Token![=]) {
            let option = self.option;
            return Err(self.error(format!("`{option}` needs a value; help: write `{example}`")));
        }
        self.input.parse::<Token![=]>().map(drop)
    }

    /// Reads `= value`, where `example` shows the whole option.
    pub(super) fn value<T: Parse>(&self, example: &str) -> syn::Result<T> {
        self.equals(example)?;
        self.input.parse()
    }

    pub(super) fn no_value(&self) -> syn::Result<()> {
        let option = self.option;
        match self.input.peek(Token![=]) {
            false => Ok(()),
            true => Err(self.error(format!("`{option}` has no value; help: write it alone"))),
        }
    }

    /// Reads `= "text"`, where `example` shows the text.
    pub(super) fn text(&self, example: &str) -> syn::Result<LitStr> {
        let option = self.option;
        self.equals(&format!("{option} = {example}"))?;
        if !self.input.peek(LitStr) {
            let says = format!("`{option}` is not a string; help: write `{option} = {example}`");
            return Err(self.error(says));
        }
        self.input.parse()
    }

    /// Reads one of some words, each with the name of the runtime's enum variant.
    pub(super) fn choice(&self, choices: &[(&str, &'static str)]) -> syn::Result<&'static str> {
        let text = self.text(&format!("\"{}\"", choices[0].0))?;
        let value = text.value();
        let chosen = choices.iter().find(|(word, _)| *word == value);
        chosen.map(|(_, variant)| *variant).ok_or_else(|| {
            let option = self.option;
            let words: Vec<_> = choices
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            let words = words.join(" or ");
            let says = format!("unknown value \"{value}\" of `{option}`; help: write {words}");
            syn::Error::new(text.span(), says)
        })
    }

    pub(super) fn policy(&self) -> syn::Result<LitStr> {
        let name = self.text("\"short\"")?;
        if name.value().is_empty() {
            return Err(syn::Error::new(
                name.span(),
                "the name of the policy is empty; help: write such as `policy = \"short\"`",
            ));
        }
        Ok(name)
    }

    pub(super) fn tiers(&self) -> syn::Result<Tiers> {
        let text = self.text("\"l1,l2\"")?;
        let span = text.span();
        if text.value().trim().is_empty() {
            return Err(syn::Error::new(
                span,
                "`tiers` names no tier; help: write such as \"l1,l2\", or remove `tiers` to use \
                 all tiers of the runtime",
            ));
        }
        let mut levels = Vec::new();
        for name in text.value().split(',').map(str::trim) {
            if name.is_empty() {
                return Err(syn::Error::new(
                    span,
                    "the name of a tier is empty; help: write one comma between two names, such \
                     as \"l1,l2\"",
                ));
            }
            let number = level_number(name).ok_or_else(|| {
                let says = format!(
                    "unknown tier `{name}`; help: tiers are `l1` to `l9`, such as \"l1,l2\""
                );
                syn::Error::new(span, says)
            })?;
            if levels.last().is_some_and(|last| *last >= number) {
                return Err(syn::Error::new(
                    span,
                    "tiers are not in the order of their numbers; help: name each once, the \
                     lowest number first",
                ));
            }
            levels.push(number);
        }
        Ok(Tiers { levels, span })
    }

    /// Reads a name for keys. Names are part of shared keys: `name:version:arguments` must have one
    /// meaning only.
    pub(super) fn function_name(&self) -> syn::Result<LitStr> {
        let text = self.text("\"users::by_id\"")?;
        let value = text.value();
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':');
        let single_colon = value.replace("::", "").contains(':');
        if value.is_empty() || !value.chars().all(plain) || single_colon {
            let says = format!(
                "\"{value}\" is not a valid name; help: use letters, digits, `_`, `-`, `.`, `/` \
                 and `::`, such as \"users::by_id\""
            );
            return Err(syn::Error::new(text.span(), says));
        }
        Ok(text)
    }

    pub(super) fn version(&self) -> syn::Result<u32> {
        self.equals("version = 2")?;
        if !self.input.peek(LitInt) {
            return Err(self.error("`version` is not a number; help: write such as `version = 2`"));
        }
        let number: LitInt = self.input.parse()?;
        number.base10_parse().map_err(|_| {
            syn::Error::new(
                number.span(),
                "`version` is out of range; help: use a number from 0 to 4294967295",
            )
        })
    }

    /// Reads the arguments that are not in the key, each with whether it is written `mut`.
    pub(super) fn skip(&self, errors: &mut Errors) -> syn::Result<Vec<(bool, Ident)>> {
        if !self.input.peek(syn::token::Paren) {
            return Err(self.error("`skip` needs a list; help: write `skip(pool, ctx)`"));
        }
        let input = self.input;
        let list;
        parenthesized!(list in input);
        let mut names: Vec<(bool, Ident)> = Vec::new();
        while !list.is_empty() {
            let is_mut = list.parse::<Option<Token![mut]>>()?.is_some();
            let name = list.call(Ident::parse_any).map_err(|error| {
                // The rest of the list is not parsed, so that it causes no further errors.
                let _ = list.parse::<TokenStream>();
                syn::Error::new(
                    error.span(),
                    "expected the name of an argument; help: write such as `skip(pool, ctx)`, or \
                     `skip(mut conn)` for an `&mut`",
                )
            })?;
            if names.iter().any(|(_, known)| *known == name) {
                errors.at(name.span(), format!("`{name}` is given twice"));
            }
            names.push((is_mut, name));
            comma(&list, |_| true, errors)?;
        }
        Ok(names)
    }

    pub(super) fn scope(&self) -> syn::Result<Scope> {
        self.equals("scope = self.tenant_id")?;
        if self.input.parse::<Option<Token![Self]>>()?.is_some() {
            return Ok(Scope::Type);
        }
        self.input.parse().map(Scope::Value)
    }

    /// Reads the path of a function that makes an error from another one.
    pub(super) fn function_path(&self) -> syn::Result<ExprPath> {
        match self.value("share_error = path::to::function")? {
            Expr::Path(path) => Ok(path),
            other => Err(syn::Error::new_spanned(
                other,
                "`share_error` is not the path of a function; help: name a function \
                 `fn(&E) -> E`, where `E` is the error",
            )),
        }
    }

    pub(super) fn facade(&self) -> syn::Result<Path> {
        let path = self.text("\"my::path\"")?;
        path.parse_with(Path::parse_mod_style).map_err(|_| {
            syn::Error::new(
                path.span(),
                "`crate` is not a path; help: write the path of the facade, such as \
                 \"::multi_tier_cached\"",
            )
        })
    }
}

/// Skips to the next comma after a mistake, so that later options are checked too.
pub(super) fn skip_to_comma(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<proc_macro2::TokenTree>()?;
    }
    Ok(())
}

/// Reads the comma between two elements of a list. If it is missing, that is one mistake: the next
/// element is read if `is_next` accepts its name, and skipped otherwise.
pub(super) fn comma(
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

/// Returns the number of a tier by its name, `l1` to `l9`.
pub(super) fn level_number(name: &str) -> Option<u8> {
    match name.strip_prefix('l')?.as_bytes() {
        [digit @ b'1'..=b'9'] => Some(digit - b'0'),
        _ => None,
    }
}
