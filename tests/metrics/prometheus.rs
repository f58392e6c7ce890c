//! A real Prometheus scrapes the program, and runs each query of the board and of the alerts.

mod http;
mod server;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use multi_tier_cached::metrics::FAMILIES;
use multi_tier_cached::{CacheRuntime, PrometheusMetrics};
use observe::{ALERTS, Filter, ROWS, expand};
use serde_json::Value;
use testbed::until_ok;
use tokio::task::JoinSet;

use self::server::{Prometheus, binary};
use super::provoke::Program;

/// Makes calls for as long as it is polled, so that no rate is zero that a query divides by.
async fn stay_busy(program: &Program) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for round in 0.. {
        ticks.tick().await;
        program.stay_busy(round).await;
    }
}

/// Runs a query, and returns the problem if it has no series, or one that is not a number.
async fn check(prometheus: &Prometheus, query: &str) -> Result<(), String> {
    let found = prometheus.query(query).await;
    let series = found["data"]["result"].as_array().cloned();
    let Some(series) = series.filter(|_| found["status"] == "success") else {
        return Err(format!("{query}: {found}"));
    };
    if series.is_empty() {
        return Err(format!("{query}: no series"));
    }
    let wrong = series.iter().find(|one| {
        let value = one["value"][1]
            .as_str()
            .and_then(|value| value.parse::<f64>().ok());
        value.is_none_or(f64::is_nan)
    });
    wrong.map_or(Ok(()), |one| Err(format!("{query}: {one}")))
}

/// All queries, with their variables filled in. A day before is a few seconds before.
fn queries() -> Vec<String> {
    let panels = ROWS.iter().flat_map(|row| row.panels);
    let of_panels = panels.flat_map(|panel| panel.queries.iter());
    let of_board = of_panels.map(|(template, _)| {
        let query = expand(template, Filter::Board).replace("$__rate_interval", "1m");
        let any = ["$job", "$instance", "$function"];
        any.iter()
            .fold(query, |query, variable| query.replace(variable, ".*"))
    });
    let of_alerts = ALERTS
        .iter()
        .map(|alert| expand(alert.signal, Filter::None).replace("offset 1d", "offset 3s"));
    of_board.chain(of_alerts).collect()
}

#[tokio::test]
async fn prometheus_scrapes_the_program_and_each_query_has_series() {
    let program = Program::run().await;
    let runtimes = program.runtimes.iter().cloned();
    let pages = runtimes.map(|runtime| Box::new(move || runtime.prometheus_text()) as http::Page);
    let address = http::serve(pages.collect()).await;
    let prometheus = Prometheus::scraping(address, program.runtimes.len());
    let checks = async {
        until_ok("all targets are up", async || {
            all_are_up(&prometheus, &program.runtimes).await
        })
        .await;
        let queries = queries();
        assert!(queries.len() > 60, "{queries:#?}");
        for query in &queries {
            until_ok("the query has series", async || {
                check(&prometheus, query).await
            })
            .await;
        }
        metadata_is_the_table(&prometheus).await;
    };
    tokio::select! {
        () = checks => {}
        () = stay_busy(&program) => {}
    }
}

async fn all_are_up(prometheus: &Prometheus, runtimes: &[CacheRuntime]) -> Result<(), String> {
    let found = prometheus.query("up == 1").await;
    match found["data"]["result"].as_array() {
        Some(up) if up.len() == runtimes.len() => Ok(()),
        _ => Err(prometheus.get("/api/v1/targets").await.to_string()),
    }
}

/// Prometheus has the kind, the help and the unit of each family in the table.
async fn metadata_is_the_table(prometheus: &Prometheus) {
    let metadata = prometheus.get("/api/v1/targets/metadata").await;
    let all = metadata["data"].as_array().cloned().unwrap_or_default();
    for family in FAMILIES {
        // The text format of OpenMetrics names a counter without its suffix.
        let name = family
            .prometheus
            .strip_suffix("_total")
            .unwrap_or(family.prometheus);
        let found: Vec<&Value> = all.iter().filter(|one| one["metric"] == name).collect();
        assert!(!found.is_empty(), "{name} has no metadata");
        let unit = match family.unit {
            "s" => "seconds",
            "By" => "bytes",
            _ => "",
        };
        for one in found {
            assert_eq!(one["type"], family.kind.prometheus(), "{name}");
            assert_eq!(one["help"], family.help, "{name}");
            assert_eq!(one["unit"], unit, "{name}");
        }
    }
}

#[tokio::test]
async fn alerts_are_valid_and_fire_as_their_tests_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../observe");
    let arguments = [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
    ];
    let mut commands = JoinSet::new();
    for arguments in arguments {
        let mut promtool = Command::new(binary("promtool"));
        promtool.args(arguments).current_dir(&directory);
        commands.spawn_blocking(move || promtool.output());
    }
    while let Some(output) = commands.join_next().await {
        let output = output.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
    }
}
