//! Checks of the times besides the ttl, against each other.

use std::time::Duration;

use proc_macro2::Span;

use crate::args::{Args, Setting, Ttl};
use crate::errors::Errors;

/// Reports options that contradict each other, and options without the one that they belong to.
pub(super) fn times(args: &Args, errors: &mut Errors) {
    companions(args, errors);
    order(args, errors);
    refresh_ahead(args, errors);
    consistency(args, errors);
}

/// Reports options that have no effect, or cannot work, without another one.
fn companions(args: &Args, errors: &mut Errors) {
    let times = &args.times;
    let is_missing = |is_set: bool, option: &str| !is_set && !args.is_broken(option);
    if is_missing(times.stale_if_error.is_some(), "stale_if_error") {
        if let Some(stale_if) = &args.stale_if {
            errors.at(
                stale_if.option.span(),
                "`stale_if` has no effect without `stale_if_error`; help: add such as \
                 `stale_if_error = \"6h\"`",
            );
        }
        if let Some(soft_timeout) = &times.soft_timeout {
            errors.at(
                soft_timeout.option.span(),
                "`soft_timeout` has no effect without `stale_if_error`: no stale value could be \
                 returned; help: add such as `stale_if_error = \"6h\"`",
            );
        }
    }
    if let Some(error_ttl) = &times.error_ttl
        && is_missing(args.error_if.is_some(), "error_if")
    {
        errors.at(
            error_ttl.option.span(),
            "`error_ttl` needs `error_if`, which says which errors are kept; help: add such as \
             `error_if = |error: &Error| error.is_not_found()`",
        );
    }
    if let Some(error_if) = &args.error_if
        && is_missing(times.error_ttl.is_some(), "error_ttl")
    {
        errors.at(
            error_if.option.span(),
            "`error_if` has no effect without `error_ttl`; help: add such as `error_ttl = \"5s\"`",
        );
    }
}

/// Reports timeouts that are not in their order: with the longer of two first, the shorter one
/// would never end a wait.
fn order(args: &Args, errors: &mut Errors) {
    let times = &args.times;
    let timeouts = [
        ("soft_timeout", &times.soft_timeout),
        ("hard_timeout", &times.hard_timeout),
        ("load_limit", &times.load_limit),
    ];
    let set = timeouts
        .iter()
        .filter_map(|(name, timeout)| Some((name, timeout.as_ref()?)));
    let longer = set.clone().skip(1);
    for ((name, timeout), (longer_name, longer)) in set.zip(longer) {
        if timeout.value >= longer.value {
            errors.at(
                timeout.span,
                format!(
                    "`{name}` is not shorter than `{longer_name}`; help: write the shortest time \
                     for `soft_timeout` and the longest for `load_limit`"
                ),
            );
        }
    }
}

/// Reports a refresh that would begin before the value is there.
fn refresh_ahead(args: &Args, errors: &mut Errors) {
    let Some((ahead, span)) = least_ahead(args) else {
        return;
    };
    if let Some(shortest) = args.ttl.as_ref().and_then(Ttl::shortest)
        && ahead >= shortest
    {
        errors.at(
            span,
            "`refresh_ahead` is not shorter than the ttl: every call would refresh the value; \
             help: write a time that is shorter than each ttl, or `refresh_ahead` alone",
        );
    }
}

fn least_ahead(args: &Args) -> Option<(Duration, Span)> {
    let ahead = args.times.refresh_ahead.as_ref()?;
    Some((ahead.value?, ahead.span))
}

/// Reports stale values and refreshes ahead of a function each call of which asks its tier.
fn consistency(args: &Args, errors: &mut Errors) {
    let times = &args.times;
    let window = times.stale_while_revalidate.as_ref();
    let window: Option<&Setting<_>> = window.or(times.stale_if_error.as_ref());
    let ahead = times.refresh_ahead.as_ref().map(|ahead| &ahead.option);
    if let Some(option) = window.map(|window| &window.option).or(ahead)
        && args.consistency == Some("Strong")
    {
        errors.at(
            option.span(),
            format!(
                "`{option}` contradicts `consistency = \"strong\"`, by which each call asks the \
                 tier; help: remove one of them"
            ),
        );
    }
}
