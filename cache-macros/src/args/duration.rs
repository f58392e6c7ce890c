//! Durations of options.

use std::time::Duration;

use syn::LitStr;

/// The longest duration of an option: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads a duration. In errors it is `name`, and `zero` is what is wrong with none at all.
pub(super) fn duration(text: &LitStr, name: &str, zero: &str) -> syn::Result<Duration> {
    let value = text.value();
    let error = |message: String| syn::Error::new(text.span(), message);
    if value.trim().is_empty() {
        return Err(error(
            "the duration is empty; help: write such as \"30s\", \"5m\", \"1h 30m\" or \"7days\""
                .to_owned(),
        ));
    }
    let duration = humantime::parse_duration(&value).map_err(|_| {
        error(format!(
            "`{value}` is not a duration; help: write such as \"30s\", \"5m\", \"1h 30m\" or \
             \"7days\""
        ))
    })?;
    if duration.is_zero() {
        return Err(error(format!("{name} is zero{zero}")));
    }
    if duration > LONGEST {
        let units = match value.contains('M') {
            true => "; help: \"m\" is minutes, \"M\" is months",
            false => "",
        };
        return Err(error(format!(
            "{name} of `{value}` is too long: the longest is 365 days{units}"
        )));
    }
    Ok(duration)
}
