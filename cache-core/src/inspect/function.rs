//! From a function in a runtime to what is published about it.

use std::collections::BTreeMap;

use humantime::format_duration;

use super::published::{PublishedFunction, PublishedTier};
use crate::function::plan::Plan;
use crate::function::times::option::TimeOption;
use crate::function::times::{RefreshAhead, Times};
use crate::key::Piece;
use crate::level::Level;

/// Returns what is known about a function before any of its values is: all but the fingerprint.
pub(crate) fn published_function(name: &str, plan: &Plan) -> PublishedFunction {
    let definition = &plan.definition;
    let memory = plan.memory.map(|lives| (Level::L1, lives));
    let lower = plan.lower.iter().map(|tier| {
        let config = tier.config;
        (config.level(), config.lives(tier.ttl))
    });
    let tiers = memory.into_iter().chain(lower);
    let tiers = tiers.map(|(level, lives)| PublishedTier {
        level,
        ttl: lives.filled,
    });
    let origins = &definition.origins;
    let mut overridden_by: Vec<String> = [&origins.ttl, &origins.tiers]
        .into_iter()
        .chain(&origins.times)
        .flatten()
        .cloned()
        .collect();
    overridden_by.sort_unstable();
    overridden_by.dedup();
    PublishedFunction {
        name: name.to_owned(),
        version: definition.version,
        tiers: tiers.collect(),
        codec: plan.encoding.name().to_owned(),
        times: time_texts(&definition.times),
        fingerprint: None,
        template: template_text(definition.template, definition.arguments),
        arguments: definition
            .arguments
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        is_marked: definition.is_marked(),
        file: definition.file.to_owned(),
        line: definition.line,
        overridden_by,
        problem: plan.problem.as_ref().map(ToString::to_string),
    }
}

/// Returns the times that a function has, as overrides write them.
fn time_texts(times: &Times) -> BTreeMap<String, String> {
    let durations = TimeOption::ALL.into_iter().filter_map(|option| {
        let time = option.duration(times)?;
        Some((option, format_duration(time).to_string()))
    });
    let jitter = times.jitter.map(|percent| format!("{percent}%"));
    let is_measured = times.refresh_ahead == Some(RefreshAhead::Measured);
    let measured = is_measured.then(|| "measured".to_owned());
    let jitter = jitter.map(|text| (TimeOption::Jitter, text));
    let measured = measured.map(|text| (TimeOption::RefreshAhead, text));
    let texts = durations.chain(jitter).chain(measured);
    texts
        .map(|(option, text)| (option.name().to_owned(), text))
        .collect()
}

/// Returns a template as it is written: with the names of its arguments in braces.
fn template_text(template: &[Piece], names: &[&str]) -> String {
    let mut text = String::new();
    let mut next = 0;
    for piece in template {
        let at = match piece {
            Piece::Literal(literal) => {
                text.push_str(&literal.replace('{', "{{").replace('}', "}}"));
                continue;
            }
            Piece::Argument => next,
            Piece::ArgumentAt(at) => *at,
        };
        next = at + 1;
        let name = names.get(at).copied().unwrap_or_default();
        text.extend(["{", name, "}"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_in_overrides() {
        let times = Times {
            stale_if_error: Some(Duration::from_secs(5_400)),
            refresh_ahead: Some(RefreshAhead::AtLeast(Duration::from_secs(30))),
            jitter: Some(10),
            ..Times::NONE
        };
        let texts = time_texts(&times);
        let texts: Vec<_> = texts
            .iter()
            .map(|(name, text)| (&**name, &**text))
            .collect();
        let expected = [
            ("jitter", "10%"),
            ("refresh_ahead", "30s"),
            ("stale_if_error", "1h 30m"),
        ];
        assert_eq!(texts, expected);
        let measured = Times {
            refresh_ahead: Some(RefreshAhead::Measured),
            ..Times::NONE
        };
        assert_eq!(time_texts(&measured)["refresh_ahead"], "measured");
        assert!(time_texts(&Times::NONE).is_empty());
    }

    #[test]
    fn template_is_as_it_was_written() {
        let pieces = [
            Piece::Literal("user:"),
            Piece::Argument,
            Piece::Literal(":{"),
            Piece::Argument,
        ];
        let text = template_text(&pieces, &["id", "filter.kind"]);
        assert_eq!(text, "user:{id}:{{{filter.kind}");
        assert_eq!(template_text(&pieces[..2], &[]), "user:{}");
        assert_eq!(template_text(&[], &["id"]), "");
    }
}
