//! Tests of the generated files.

use std::collections::HashSet;

use cache_core::metrics::FAMILIES;
use serde_json::Value;

use crate::{ALERTS, Filter, NOT_ON_BOARD, ROWS, expand, generated, unknown_names};

/// The templates of all queries.
fn templates() -> impl Iterator<Item = &'static str> {
    let panels = ROWS.iter().flat_map(|row| row.panels);
    let of_panels = panels.flat_map(|panel| panel.queries.iter().map(|(template, _)| *template));
    of_panels.chain(ALERTS.iter().map(|alert| alert.signal))
}

#[test]
fn generated_files_are_up_to_date() {
    for file in generated() {
        let found = std::fs::read_to_string(&file.path).unwrap_or_default();
        let path = file.path.display();
        assert!(
            found == file.text,
            "{path} differs; run: cargo run -p observe -- write"
        );
    }
}

#[test]
fn each_family_is_on_the_board_or_in_the_list_with_a_reason() {
    let panels = ROWS.iter().flat_map(|row| row.panels);
    let queries: String = panels
        .flat_map(|panel| panel.queries.iter().map(|(template, _)| *template))
        .collect();
    for family in FAMILIES {
        let short = family
            .name
            .strip_prefix("multi_tier_cached.")
            .expect("the prefix");
        let ends = ["]]", "|", "_bucket", "_count", "_sum"];
        let is_on_board = ends
            .iter()
            .any(|end| queries.contains(&format!("[[{short}{end}")));
        let is_listed = NOT_ON_BOARD.iter().any(|(name, _)| *name == family.name);
        assert!(
            is_on_board != is_listed,
            "{}: {is_on_board} {is_listed}",
            family.name
        );
    }
    assert_eq!(ROWS.len(), 6);
}

#[test]
fn queries_name_families_of_the_table_alone() {
    for template in templates() {
        for filter in [Filter::Board, Filter::None] {
            let query = expand(template, filter);
            assert!(!query.contains("[["), "{query}");
            assert_eq!(unknown_names(&query), Vec::<String>::new(), "{query}");
        }
    }
    let wrong =
        "rate(multi_tier_cached_lookup_total[5m]) + multi_tier_cached_load_duration_seconds";
    assert_eq!(unknown_names(wrong).len(), 2);
}

#[test]
fn labels_of_queries_are_attributes_with_values_of_the_table() {
    for template in templates() {
        for selector in template.split("[[").skip(1) {
            let selector = selector.split("]]").next().unwrap_or_default();
            let Some((name, label)) = selector.split_once('|') else {
                continue;
            };
            let (label, value) = label.split_once('=').expect("a label with a value");
            let name = format!("multi_tier_cached.{name}");
            let family = FAMILIES.iter().find(|family| family.name == name);
            let attribute = family.and_then(|family| family.attribute(label));
            let values = attribute.expect("an attribute of the family").values;
            let value = value.trim_matches('"');
            assert!(values.is_empty() || values.contains(&value), "{selector}");
        }
    }
}

#[test]
fn board_is_json_with_unique_panels_that_do_not_overlap() {
    let files = generated();
    let board: Value = serde_json::from_str(&files[0].text).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    let ids: HashSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = HashSet::new();
    for panel in panels {
        let at = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{panel} overlaps another");
            }
        }
        if panel["type"] != "row" {
            assert!(
                panel["targets"]
                    .as_array()
                    .is_some_and(|all| !all.is_empty())
            );
        }
    }
    let variables = board["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, ["datasource", "job", "instance", "function"]);
}

#[test]
fn each_alert_has_a_runbook() {
    let docs = include_str!("../../docs/metrics.md");
    for alert in ALERTS {
        let heading = format!("### {}\n", alert.name);
        assert!(docs.contains(&heading), "{} has no runbook", alert.name);
        assert_eq!(alert.runbook, alert.name.to_lowercase());
    }
}
