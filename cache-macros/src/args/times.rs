//! The times of a function besides its ttl: stale values, timeouts, refreshes, and results that are
//! no values.

use std::time::Duration;

use proc_macro2::Span;
use syn::parse::Parse;
use syn::{Ident, LitStr, Token};

use super::duration::duration;
use super::given::Given;

/// The longest time for which an error is kept.
const LONGEST_ERROR_TTL: Duration = Duration::from_secs(60);

/// The largest jitter, in percent.
const LARGEST_JITTER: u8 = 50;

/// The value of an option, with the places that errors point at.
pub(crate) struct Setting<T> {
    /// The name of the option.
    pub(crate) option: Ident,
    pub(crate) value: T,
    /// The place of the value.
    pub(crate) span: Span,
}

/// Each is `None` for a function without the option.
#[derive(Default)]
pub(crate) struct Times {
    pub(crate) stale_while_revalidate: Option<Setting<Duration>>,
    pub(crate) stale_if_error: Option<Setting<Duration>>,
    pub(crate) soft_timeout: Option<Setting<Duration>>,
    pub(crate) hard_timeout: Option<Setting<Duration>>,
    pub(crate) load_limit: Option<Setting<Duration>>,
    /// The value is `None` if the option is written alone.
    pub(crate) refresh_ahead: Option<Setting<Option<Duration>>>,
    /// In percent.
    pub(crate) jitter: Option<Setting<u8>>,
    pub(crate) none_ttl: Option<Setting<Duration>>,
    pub(crate) error_ttl: Option<Setting<Duration>>,
}

impl Times {
    /// Returns the first option by which loads may continue after their callers were answered.
    pub(crate) fn late_option(&self) -> Option<&Ident> {
        let revalidate = self.stale_while_revalidate.as_ref().map(|it| &it.option);
        let ahead = self.refresh_ahead.as_ref().map(|it| &it.option);
        let soft = self.soft_timeout.as_ref().map(|it| &it.option);
        let hard = self.hard_timeout.as_ref().map(|it| &it.option);
        revalidate.or(ahead).or(soft).or(hard)
    }

    /// Returns the first option by which a load may take too long.
    pub(crate) fn timeout_option(&self) -> Option<&Ident> {
        let hard = self.hard_timeout.as_ref();
        hard.or(self.load_limit.as_ref()).map(|it| &it.option)
    }
}

impl Given<'_> {
    /// Reads `= value`, and keeps its place. `example` shows the whole option.
    pub(super) fn setting<T: Parse>(&self, example: &str) -> syn::Result<Setting<T>> {
        self.equals(example)?;
        let span = self.input.span();
        self.input.parse().map(|value| Setting {
            option: self.option.clone(),
            value,
            span,
        })
    }

    /// Reads a time such as `= "5m"`.
    pub(super) fn time(&self, example: &str) -> syn::Result<Setting<Duration>> {
        let text = self.text(&format!("\"{example}\""))?;
        let name = format!("`{}`", self.option);
        let zero = "; help: use at least \"1ms\", or remove the option";
        let time = duration(&text, &name, zero)?;
        Ok(self.at(&text, time))
    }

    /// Reads the time for which errors are kept.
    pub(super) fn error_ttl(&self) -> syn::Result<Setting<Duration>> {
        let ttl = self.time("5s")?;
        match ttl.value <= LONGEST_ERROR_TTL {
            true => Ok(ttl),
            false => Err(syn::Error::new(
                ttl.span,
                "`error_ttl` is too long: the longest is 60 seconds; help: write such as \"5s\"",
            )),
        }
    }

    /// Reads `refresh_ahead`, or `refresh_ahead = "5m"`.
    pub(super) fn refresh_ahead(&self) -> syn::Result<Setting<Option<Duration>>> {
        if self.input.is_empty() || self.input.peek(Token![,]) {
            return Ok(Setting {
                option: self.option.clone(),
                value: None,
                span: self.option.span(),
            });
        }
        let Setting {
            option,
            value,
            span,
        } = self.time("5m")?;
        Ok(Setting {
            option,
            value: Some(value),
            span,
        })
    }

    /// Reads a percentage.
    pub(super) fn jitter(&self) -> syn::Result<Setting<u8>> {
        let text = self.text("\"10%\"")?;
        let value = text.value();
        let error = |says: String| {
            let help = "help: write a whole number from \"0%\" to \"50%\"";
            syn::Error::new(text.span(), format!("{says}; {help}"))
        };
        let digits = value.strip_suffix('%').map(str::trim);
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
        let digits = digits.filter(|digits| !digits.is_empty());
        let Some(digits) = digits else {
            return Err(error(format!("`{value}` is not a percentage")));
        };
        // A number with too many digits for the type is too large as well.
        match digits.parse::<u8>() {
            Ok(percent) if percent <= LARGEST_JITTER => Ok(self.at(&text, percent)),
            _ => Err(error(format!("`jitter` of `{value}` is too large"))),
        }
    }

    fn at<T>(&self, text: &LitStr, value: T) -> Setting<T> {
        Setting {
            option: self.option.clone(),
            value,
            span: text.span(),
        }
    }
}
