//! From a function in a runtime to what is published about it.

use super::published::{PublishedFunction, PublishedTier};
use crate::function::plan::Plan;
use crate::key::Piece;
use crate::level::Level;

/// Returns what is known about a function before any of its values is: all but the fingerprint.
pub(crate) fn published_function(name: &str, plan: &Plan) -> PublishedFunction {
    let definition = &plan.definition;
    let memory = plan.memory.as_ref().map(|_| Level::L1);
    let levels = memory
        .into_iter()
        .chain(plan.lower.iter().map(|tier| tier.config.level()));
    let tiers = levels.map(|level| PublishedTier {
        level,
        ttl: definition.ttl.of(level).unwrap_or_default(),
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
    use super::*;

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
