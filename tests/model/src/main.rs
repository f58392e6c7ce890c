//! Searches the model.
//!
//! `cargo run --release -p model` searches everything, and `-- --quick` the searches that take less
//! than a few minutes. `-- --only <part of a name>` selects searches by name.

use std::process::ExitCode;
use std::time::Instant;

use model::protocol::scenarios;
use model::search::{Outcome, exhaust, shortest};
use model::{layouts, rings};

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let only = std::env::args()
        .skip_while(|argument| argument != "--only")
        .nth(1);
    let is_wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only));
    let mut ok = search_whole(quick, is_wanted);
    ok &= search_without_a_guard(is_wanted);
    ok &= search_rings(quick, is_wanted);
    ok &= search_rings_without_a_guard(is_wanted);
    ok &= search_layouts(quick, is_wanted);
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Searches the protocol with all guards. Returns `true` if there is no violation.
fn search_whole(quick: bool, is_wanted: impl Fn(&str) -> bool) -> bool {
    let mut all_ok = true;
    println!(
        "{:44} {:>12} {:>14} {:>8}",
        "with every guard", "states", "steps", "time"
    );
    for (name, protocol, long) in scenarios::whole() {
        if quick && long || !is_wanted(name) {
            continue;
        }
        let (outcome, time) = timed(|| exhaust(&protocol, 400_000_000));
        let ok = outcome.exhausted;
        all_ok &= ok;
        println!(
            "{name:44} {:>12} {:>14} {time:>7.1}s {}",
            outcome.states,
            outcome.steps,
            if ok { "" } else { "WRONG" }
        );
        if !ok {
            let found = shortest(&protocol, 8_000_000);
            println!("    {:?}", found.wrong);
        }
    }
    all_ok
}

/// Searches the protocol without each guard. Returns `true` if each search finds its violation.
fn search_without_a_guard(is_wanted: impl Fn(&str) -> bool) -> bool {
    let mut ok = true;
    println!(
        "\n{:44} {:>12} {:>14}",
        "with one guard removed", "states", "shortest"
    );
    for (name, protocol, expected) in scenarios::without_a_guard() {
        if !is_wanted(name) {
            continue;
        }
        let mut found = shortest(&protocol, 4_000_000);
        if found.wrong.is_none() && !found.exhausted {
            // The shortest order of steps is too long to be found, so any order will do.
            found = exhaust(&protocol, 100_000_000);
        }
        let Outcome { states, wrong, .. } = found;
        let is_expected = |what| expected.is_none_or(|expected| expected == what);
        ok &= wrong.as_ref().is_some_and(|(what, _)| is_expected(*what));
        match wrong {
            Some((what, path)) if !is_expected(what) => {
                println!("{name:44} {expected:?} WAS NOT FOUND: {what:?}: {path:?}");
            }
            Some((what, path)) => println!(
                "{name:44} {states:>12} {:>8} steps  {what:?}: {path:?}",
                path.len()
            ),
            None => println!("{name:44} {states:>12}  NO VIOLATION WAS FOUND"),
        }
    }
    ok
}

/// Searches the loads that wait for each other. Returns `true` if one caller of each ring
/// continues.
fn search_rings(quick: bool, is_wanted: impl Fn(&str) -> bool) -> bool {
    let mut ok = true;
    println!(
        "\n{:44} {:>12} {:>14} {:>8}",
        "loads that wait for each other", "states", "continue", "time"
    );
    for (name, rings, long) in rings::scenarios::whole() {
        if quick && long || !is_wanted(name) {
            continue;
        }
        let (outcome, time) = timed(|| rings::search(&rings));
        // Without a ring no caller continues. In a ring one does, in some order of steps.
        let is_right = outcome.wrong.is_none() && outcome.continuing == u32::from(rings.has_ring);
        ok &= is_right;
        println!(
            "{name:44} {:>12} {:>14} {time:>7.1}s {}",
            outcome.states,
            outcome.continuing,
            if is_right { "" } else { "WRONG" }
        );
        if let Some(wrong) = outcome.wrong {
            println!("    {wrong:?}");
        }
    }
    ok
}

/// Searches the rings without each guard. Returns `true` if each search finds its violation.
fn search_rings_without_a_guard(is_wanted: impl Fn(&str) -> bool) -> bool {
    let mut ok = true;
    println!(
        "\n{:44} {:>12} {:>14}",
        "with one guard against rings removed", "states", "shortest"
    );
    for (name, rings, expected) in rings::scenarios::without_a_guard() {
        if !is_wanted(name) {
            continue;
        }
        let outcome = rings::search(&rings);
        match outcome.wrong {
            Some((wrong, path)) if wrong == expected => println!(
                "{name:44} {:>12} {:>8} steps  {wrong:?}: {path:?}",
                outcome.states,
                path.len()
            ),
            other => {
                ok = false;
                println!("{name:44} {expected:?} WAS NOT FOUND: {other:?}");
            }
        }
    }
    ok
}

/// Searches instances with different numbers of shards: with all guards, where no call may return
/// an old value, and without each of them, where one must. Returns `true` if that is so.
fn search_layouts(quick: bool, is_wanted: impl Fn(&str) -> bool) -> bool {
    let mut ok = true;
    println!(
        "\n{:44} {:>12} {:>14} {:>8}",
        "different numbers of shards", "states", "", "time"
    );
    for (name, layouts, long) in layouts::scenarios::whole() {
        if quick && long || !is_wanted(name) {
            continue;
        }
        let (outcome, time) = timed(|| layouts::search(&layouts));
        ok &= outcome.wrong.is_none();
        println!("{name:44} {:>12} {:>14} {time:>7.1}s", outcome.states, "");
        if let Some(wrong) = outcome.wrong {
            println!("    WRONG: {wrong:?}");
        }
    }
    println!(
        "\n{:44} {:>12} {:>14}",
        "with one guard of a layout removed", "states", "shortest"
    );
    for (name, layouts) in layouts::scenarios::without_a_guard() {
        if !is_wanted(name) {
            continue;
        }
        let layouts::Outcome { states, wrong } = layouts::search(&layouts);
        ok &= wrong.is_some();
        match wrong {
            Some((wrong, path)) => println!(
                "{name:44} {states:>12} {:>8} steps  {wrong:?}: {path:?}",
                path.len()
            ),
            None => println!("{name:44} {states:>12}  NO VIOLATION WAS FOUND"),
        }
    }
    ok
}

#[expect(
    clippy::disallowed_methods,
    reason = "only the duration of a search is printed"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (T, f32) {
    let began = Instant::now();
    let result = work();
    (result, began.elapsed().as_secs_f32())
}
