//! The settings of functions: each once, with all functions that have them. Most functions of a
//! program have the settings of some others.

use serde::Serialize;

use crate::inspect::published::{PublishedFunction, PublishedSettings, keys};

/// Groups functions by their settings, in their order, until the groups take `max_bytes`. Returns
/// the number of functions that are left out as well.
pub(super) fn grouped(
    functions: &[PublishedFunction],
    max_bytes: usize,
) -> (Vec<PublishedSettings>, usize) {
    let mut groups: Vec<PublishedSettings> = Vec::new();
    let mut left = max_bytes;
    for (at, function) in functions.iter().enumerate() {
        let field = keys::function(&function.name, function.version);
        let mut len = written(&field);
        let same = groups.iter_mut().find(|group| are_of(group, function));
        let new = same.is_none().then(|| of(function));
        if let Some(new) = &new {
            len += written(new);
        }
        let Some(less) = left.checked_sub(len) else {
            return (groups, functions.len() - at);
        };
        left = less;
        match (same, new) {
            (Some(same), _) => same.functions.push(field),
            (None, new) => groups.extend(new.map(|new| PublishedSettings {
                functions: vec![field],
                ..new
            })),
        }
    }
    (groups, 0)
}

/// Returns the length of a value in JSON, with the comma that follows it.
fn written(value: &impl Serialize) -> usize {
    // These types have texts as keys, and no number that JSON does not have.
    let text = serde_json::to_string(value).unwrap_or_default();
    text.len() + 1
}

fn of(function: &PublishedFunction) -> PublishedSettings {
    PublishedSettings {
        functions: Vec::new(),
        tiers: function.tiers.clone(),
        codec: function.codec.clone(),
        times: function.times.clone(),
        overridden_by: function.overridden_by.clone(),
    }
}

fn are_of(settings: &PublishedSettings, function: &PublishedFunction) -> bool {
    settings.tiers == function.tiers
        && settings.codec == function.codec
        && settings.times == function.times
        && settings.overridden_by == function.overridden_by
}
