//! A reader of the text format of OpenMetrics.

use std::collections::BTreeMap;

use super::{Attributes, Series, Value};

/// Reads a text. The families have the names that queries have.
pub(super) fn parse(text: &str) -> BTreeMap<String, Series> {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut families = BTreeMap::<String, Series>::new();
    let mut described: BTreeMap<String, Series> = BTreeMap::new();
    for line in text.lines() {
        if let Some(description) = line.strip_prefix("# ") {
            let mut words = description.splitn(3, ' ');
            let (what, name, rest) = (words.next(), words.next(), words.next());
            let (Some(what), Some(name), Some(rest)) = (what, name, rest) else {
                continue;
            };
            let series = described.entry(name.to_owned()).or_default();
            match what {
                "HELP" => rest.clone_into(&mut series.help),
                "TYPE" => rest.clone_into(&mut series.kind),
                "UNIT" => rest.clone_into(&mut series.unit),
                other => panic!("{other} in {line}"),
            }
            continue;
        }
        let (name, attributes, number) = sample(line);
        let suffixes = ["_bucket", "_sum", "_count", ""];
        let is_described = |suffix: &&&str| {
            let stem = name.strip_suffix(**suffix);
            let histogram = stem.and_then(|stem| described.get(stem));
            histogram.is_some_and(|series| series.kind == "histogram" || suffix.is_empty())
        };
        let suffix = suffixes
            .iter()
            .find(is_described)
            .copied()
            .unwrap_or("_total");
        let stem = name.strip_suffix(suffix).expect("the suffix of a counter");
        let description = &described[stem];
        let is_counter = suffix == "_total";
        let family = if is_counter { &name } else { stem };
        let series = families
            .entry(family.to_owned())
            .or_insert_with(|| description.clone());
        if suffix.starts_with("_") && !is_counter {
            add_to_histogram(series, suffix, attributes, number);
            continue;
        }
        let earlier = series.values.insert(attributes, Value::Number(number));
        assert!(earlier.is_none(), "{line} is there twice");
    }
    families
}

/// Adds one of the series of a histogram. `attributes` has the bound of a bucket.
fn add_to_histogram(series: &mut Series, suffix: &str, mut attributes: Attributes, number: f64) {
    let bound = attributes.remove("le");
    let value = series.values.entry(attributes);
    let value = value.or_insert_with(|| Value::Histogram(Vec::new(), 0.0));
    let Value::Histogram(buckets, sum) = value else {
        panic!("a histogram has a number for its value");
    };
    match bound.as_deref() {
        Some("+Inf") => buckets.push((f64::INFINITY, number as u64)),
        Some(bound) => buckets.push((bound.parse().unwrap(), number as u64)),
        None if suffix == "_sum" => *sum = number,
        None => {}
    }
}

/// Reads one line: the name, the labels and the number.
fn sample(line: &str) -> (String, Attributes, f64) {
    let (head, number) = line.rsplit_once(' ').expect("a number at the end");
    let number = number.parse().expect("a number");
    let Some((name, labels)) = head.split_once('{') else {
        return (head.to_owned(), Attributes::new(), number);
    };
    let mut rest = labels.strip_suffix('}').expect("the end of the labels");
    let mut attributes = Attributes::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").expect("a label");
        let (value, after) = quoted(after);
        attributes.insert(label.to_owned(), value);
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    (name.to_owned(), attributes, number)
}

/// Reads up to the closing quote, and undoes the escapes.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('n') => value.push('\n'),
                Some(escaped) => value.push(escaped),
                None => break,
            },
            char => value.push(char),
        }
    }
    panic!("no end of {text:?}");
}
