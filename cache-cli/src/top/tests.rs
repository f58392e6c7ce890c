//! The screen at two sizes, and what keys do.

use std::path::PathBuf;

use cache_core::inspect::PublishedInstance;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::draw;
use super::numbers::Numbers;
use super::screen::{Action, Sort, View};

fn function(name: &str, (hits, loads): (u64, u64), millis: u64) -> Value {
    let time = |millis: u64| json!({"secs": millis / 1_000, "nanos": millis % 1_000 * 1_000_000});
    let buckets = json!([{"up_to": time(millis), "count": loads}]);
    let took = json!({"buckets": buckets, "sum": time(loads * millis)});
    json!({
        "name": name, "version": 1, "loads": loads, "load_errors": loads / 10,
        "load_times": {"value": took},
        "tiers": [
            {"level": "l1", "hits": hits, "misses": loads + 1},
            {"level": "l2", "hits": 1, "misses": loads},
        ],
    })
}

/// An instance that has run for `seconds`, and whose functions were called ten times a second.
fn instance(name: &str, number: u64, seconds: u64) -> PublishedInstance {
    let state = |is_coherent: bool| {
        let coherent_for = is_coherent.then(|| json!({"secs": 9, "nanos": 0}));
        json!({"connected": true, "has_channel": true, "coherent_for": coherent_for})
    };
    let of = json!({
        "id": format!("{name}-{number}"), "name": name, "number": number, "version": "0.1.0",
        "began": 1_000, "published": 1_000 + seconds * 1_000,
        "snapshot": {
            "loads_under_way": number, "entries_in_memory": 1_000 * number,
            "tiers": [
                {"level": "l1", "kind": "memory", "breaker": "closed", "health": {"connected": true}},
                {"level": "l2", "kind": "redis", "breaker": "closed", "health": state(number == 1)},
            ],
            "functions": [
                function("users::get", (10 * seconds, seconds), 2),
                function("orders::of_customer_with_a_very_long_name_in_a_module", (seconds, 40), 700),
                function("prices::current", (0, 0), 1),
            ],
        },
    });
    serde_json::from_value(of).unwrap()
}

fn numbers() -> Numbers {
    let mut numbers = Numbers::default();
    for seconds in [100, 110] {
        numbers.update(vec![
            instance("shop-1", 1, seconds),
            instance("shop-2", 2, seconds),
        ]);
    }
    numbers
}

/// Compares a screen with the file of its name. `UPDATE_GOLDEN=1` writes the file.
#[track_caller]
fn check(name: &str, screen: &str) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/top/snapshots");
    let file = directory.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, screen).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    assert_eq!(screen, expected, "{name}; UPDATE_GOLDEN=1 writes it again");
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

/// Numbers that are as large as they can be, of instances whose time goes back.
#[test]
fn damaged_numbers_are_shown_without_a_panic() {
    let most = u64::MAX;
    let mut damaged = function("users::get", (most, 1), 1);
    for name in ["loads", "load_errors", "waits", "invalidations"] {
        damaged[name] = json!(most);
    }
    let forever = json!({"secs": most, "nanos": 0});
    let took = json!({"buckets": [{"up_to": forever, "count": most}], "sum": forever});
    damaged["load_times"] = json!({"value": took});
    let mut numbers = Numbers::default();
    for seconds in [110, 100] {
        let of = |name| {
            let mut instance = serde_json::to_value(instance(name, 1, seconds)).unwrap();
            instance["snapshot"]["functions"] = json!([damaged]);
            for number in ["loads_under_way", "entries_in_memory"] {
                instance["snapshot"][number] = json!(most);
            }
            instance["functions_left_out"] = json!(most);
            serde_json::from_value(instance).unwrap()
        };
        numbers.update(vec![of("shop-1"), of("shop-2")]);
    }
    let functions = numbers.functions("");
    assert_eq!((functions[0].calls, functions[0].loads), (most, most));
    assert!(functions[0].hit_percent().is_some());
    let mut view = View::new("shop", None);
    let screen = draw::text(&view, &numbers, (160, 24));
    assert!(screen.contains(&format!("{most} loads")), "{screen}");
    view.press(key(KeyCode::Enter), 1);
    draw::text(&view, &numbers, (160, 24));
}

#[test]
fn screen_is_complete_at_both_sizes() {
    let (view, numbers) = (View::new("shop", None), numbers());
    check("80x24", &draw::text(&view, &numbers, (80, 24)));
    check("160x50", &draw::text(&view, &numbers, (160, 50)));
    let mut detail = view;
    detail.press(key(KeyCode::Enter), 3);
    check("80x24-detail", &draw::text(&detail, &numbers, (80, 24)));
    // It may be made smaller than what is to be shown.
    for size in [(1, 1), (20, 5), (0, 0)] {
        draw::text(&detail, &numbers, size);
    }
}

#[test]
fn rates_are_of_the_time_between_two_publications() {
    let functions = numbers().functions("users");
    assert_eq!(functions.len(), 1);
    // Two instances with ten hits and a load a second each.
    assert!(
        (functions[0].calls_per_second - 22.0).abs() < 0.01,
        "{functions:?}"
    );
    assert!(
        (functions[0].loads_per_second - 2.0).abs() < 0.01,
        "{functions:?}"
    );
}

#[test]
fn instance_that_began_again_has_no_rate_until_it_publishes_twice() {
    let mut numbers = numbers();
    numbers.update(vec![instance("shop-1", 7, 1)]);
    assert!(numbers.functions("users")[0].calls_per_second.abs() < 0.01);
}

#[test]
fn keys_sort_filter_select_and_end() {
    let numbers = numbers();
    let mut view = View::new("shop", None);
    let names = |view: &View| -> Vec<String> {
        let functions = view.functions(&numbers).into_iter();
        functions
            .map(|of| of.name.chars().take(5).collect())
            .collect()
    };
    assert_eq!(names(&view), ["users", "order", "price"]);
    view.press(key(KeyCode::Char('s')), 3);
    view.press(key(KeyCode::Char('s')), 3);
    assert_eq!(view.sort, Sort::Cost);
    assert_eq!(names(&view), ["order", "users", "price"]);
    for code in [KeyCode::Down, KeyCode::Down, KeyCode::Down] {
        view.press(key(code), 3);
    }
    assert_eq!(view.selected, 2, "the last one");
    for code in [
        KeyCode::Char('/'),
        KeyCode::Char('q'),
        KeyCode::Backspace,
        KeyCode::Char(':'),
        KeyCode::Char(':'),
        KeyCode::Char('g'),
    ] {
        assert_eq!(view.press(key(code), 3), Action::Redraw);
    }
    assert_eq!((names(&view), view.selected), (vec!["users".to_owned()], 0));
    view.press(key(KeyCode::Enter), 1);
    assert_eq!(view.press(key(KeyCode::Char('q')), 1), Action::Quit);
    let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.press(control, 1), Action::Quit);
}

#[test]
fn versions_of_a_function_have_rows_that_name_them() {
    let mut numbers = Numbers::default();
    let mut instance = serde_json::to_value(instance("shop-1", 1, 100)).unwrap();
    let mut second = function("users::get", (7, 5), 2);
    second["version"] = json!(2);
    let functions = instance["snapshot"]["functions"].as_array_mut().unwrap();
    functions.push(second);
    numbers.update(vec![serde_json::from_value(instance).unwrap()]);
    let mut view = View::new("shop", None);
    let screen = draw::text(&view, &numbers, (160, 24));
    for label in ["users::get:1 ", "users::get:2 ", "prices::current "] {
        assert!(screen.contains(label), "{label}: {screen}");
    }
    view.sort = Sort::Name;
    view.selected = 3;
    view.press(key(KeyCode::Enter), 4);
    let screen = draw::text(&view, &numbers, (160, 24));
    assert!(screen.contains("users::get:2"), "{screen}");
    assert!(screen.contains("7 hits, 6 misses"), "{screen}");
}

#[test]
fn selection_stays_on_the_list_when_functions_disappear() {
    let numbers = numbers();
    let mut view = View::new("shop", None);
    view.selected = 9;
    view.press(key(KeyCode::Up), view.functions(&numbers).len());
    assert_eq!(view.selected, 1);
}
