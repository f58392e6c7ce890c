//! Queries, as templates over the names of families.
//!
//! `[[lookups|result="hit"]]` stands for the time series of the family `multi_tier_cached.lookups`
//! with this label, and `[[load.duration_bucket]]` for the buckets of a histogram.

use cache_core::metrics::{FAMILIES, Family, Kind};

/// The labels by which the series of a query are restricted, besides its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Filter {
    /// By the variables of the board.
    Board,
    /// Not at all.
    None,
}

/// Returns the query of a template.
///
/// # Panics
/// If the template names a family that is not in the table.
#[must_use]
pub fn expand(template: &str, filter: Filter) -> String {
    let mut query = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("[[") {
        let (selector, after) = after.split_once("]]").expect("the end of a selector");
        query += before;
        query += &series(selector, filter);
        rest = after;
    }
    query + rest
}

fn series(selector: &str, filter: Filter) -> String {
    let (name, own) = selector.split_once('|').unwrap_or((selector, ""));
    let (family, suffix) = find(name);
    let mut labels: Vec<&str> = match filter {
        Filter::None => Vec::new(),
        Filter::Board => vec![r#"job=~"$job""#, r#"instance=~"$instance""#],
    };
    // The series of no function have no such label, and are on the board whichever is chosen.
    if filter == Filter::Board && family.attribute("function").is_some() {
        labels.push(r#"function=~"$function|""#);
    }
    labels.extend((!own.is_empty()).then_some(own));
    let name = family.prometheus;
    match labels.is_empty() {
        true => format!("{name}{suffix}"),
        false => format!("{name}{suffix}{{{}}}", labels.join(",")),
    }
}

/// Finds a family by its name without the prefix, and the suffix of a histogram's series.
fn find(name: &str) -> (&'static Family, &'static str) {
    for suffix in ["", "_bucket", "_sum", "_count"] {
        let Some(stem) = name.strip_suffix(suffix) else {
            continue;
        };
        let full = format!("multi_tier_cached.{stem}");
        let family = FAMILIES.iter().find(|family| family.name == full);
        if let Some(family) = family.filter(|family| is_series(family, suffix)) {
            return (family, suffix);
        }
    }
    panic!("no family has the series {name}");
}

fn is_series(family: &Family, suffix: &str) -> bool {
    (family.kind == Kind::Histogram) != suffix.is_empty()
}

/// Returns the metrics in a query that are no series of a family in the table.
///
/// Each word is taken for a metric that contains the prefix or a part of it that is long enough for
/// a misspelling. Prometheus itself parses the queries in the tests.
#[must_use]
pub fn unknown_names(query: &str) -> Vec<String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == ':';
    let words = query.split(|char| !is_part(char));
    let metrics = words.filter(|word| word.contains("tier_") || word.contains("_cached"));
    let unknown = metrics.filter(|word| !is_known(word));
    unknown.map(str::to_owned).collect()
}

fn is_known(metric: &str) -> bool {
    let suffixes = ["", "_bucket", "_sum", "_count"].into_iter();
    let mut stems = suffixes.filter_map(|suffix| Some((metric.strip_suffix(suffix)?, suffix)));
    stems.any(|(stem, suffix)| {
        let family = FAMILIES.iter().find(|family| family.prometheus == stem);
        family.is_some_and(|family| is_series(family, suffix))
    })
}
