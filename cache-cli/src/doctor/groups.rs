//! Instances, grouped by what each of them says.

use std::collections::BTreeMap;

use cache_core::inspect::PublishedInstance;

/// The largest number of instances that a line names.
const MOST_NAMED: usize = 3;

/// Instances by what each says.
pub(super) type Groups = BTreeMap<String, Vec<String>>;

/// Returns the name of an instance, or its id if another instance has the same name.
pub(super) fn label(instance: &PublishedInstance, all: &[PublishedInstance]) -> String {
    let same = all.iter().filter(|other| other.name == instance.name);
    match same.count() {
        0 | 1 => instance.name.clone(),
        _ => instance.id.clone(),
    }
}

/// Writes what instances say, and some of the instances that say it.
pub(super) fn shown(groups: &Groups) -> Vec<String> {
    let shown = groups.iter().map(|(what, names)| {
        let named: Vec<&str> = names.iter().take(MOST_NAMED).map(String::as_str).collect();
        let more = match names.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{what} ({}{more})", named.join(", "))
    });
    shown.collect()
}
