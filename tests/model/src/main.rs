//! Searches the model.
//!
//! `cargo run --release -p model` searches everything, one search after another, because a long one
//! needs gigabytes of memory. `-- --quick` runs the searches that take less than about twenty
//! seconds each, as many at once as there are processors. `-- --only <part of a name>` selects
//! searches by name.

use std::fmt::{Debug, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use model::protocol::scenarios;
use model::search::{Model, Outcome, exhaust, shortest};
use model::{layouts, ledger, rings};

/// Most states of a search to the end.
const MOST_STATES: usize = 400_000_000;

/// A search that was not run yet. Its result is `true` if the search ends as expected, and lines
/// that say how it ended.
struct Search {
    name: &'static str,
    is_long: bool,
    run: Box<dyn FnOnce() -> (bool, String) + Send>,
}

/// Searches of one kind.
struct Section {
    heading: &'static str,
    searches: Vec<Search>,
}

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let only = std::env::args()
        .skip_while(|argument| argument != "--only")
        .nth(1);
    let is_wanted = |search: &Search| {
        !(quick && search.is_long) && only.as_ref().is_none_or(|only| search.name.contains(only))
    };
    let mut searches = Vec::new();
    for mut section in sections() {
        section.searches.retain(is_wanted);
        let heading = std::iter::once(section.heading).chain(std::iter::repeat(""));
        searches.extend(heading.zip(section.searches));
    }
    let threads = match quick {
        true => thread::available_parallelism().map_or(1, usize::from),
        false => 1,
    };
    if run(searches, threads) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn sections() -> Vec<Section> {
    vec![
        with_every_guard(),
        without_a_guard(),
        of_rings(),
        of_rings_without_a_guard(),
        of_layouts(),
        of_layouts_without_a_guard(),
        of_the_ledger(),
        of_the_ledger_without_a_guard(),
    ]
}

/// Runs the searches, this many at once, and prints what they find in their order. Returns `true`
/// if each ends as expected.
fn run(searches: Vec<(&str, Search)>, threads: usize) -> bool {
    let mut headings = Vec::new();
    let mut waiting = Vec::new();
    for (number, (heading, search)) in searches.into_iter().enumerate() {
        headings.push(heading);
        waiting.push((number, search));
    }
    let waiting = Mutex::new(waiting.into_iter());
    let (ended, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (ended, waiting) = (ended.clone(), &waiting);
            scope.spawn(move || {
                let next = || {
                    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    waiting.next()
                };
                while let Some((number, search)) = next() {
                    let (holds, found) = timed(search.run);
                    let _ = ended.send((number, search.name, holds, found));
                }
            });
        }
        drop(ended);
        print_in_order(&headings, results)
    })
}

/// Prints each result when those before it are printed. Returns `true` if there is one for each
/// heading, and each is as expected.
fn print_in_order(
    headings: &[&str],
    results: mpsc::Receiver<(usize, &'static str, bool, String)>,
) -> bool {
    let mut lines = vec![None; headings.len()];
    let (mut printed, mut ok) = (0, true);
    for (number, name, holds, found) in results {
        ok &= holds;
        lines[number] = Some(format!("{name:44} {found}"));
        while let Some(Some(line)) = lines.get(printed) {
            if !headings[printed].is_empty() {
                println!("\n{}", headings[printed]);
            }
            println!("{line}");
            printed += 1;
        }
    }
    // A search that panicked has no result.
    ok && printed == headings.len()
}

#[expect(
    clippy::disallowed_methods,
    reason = "only the duration of a search is printed"
)]
fn timed(search: impl FnOnce() -> (bool, String)) -> (bool, String) {
    let began = Instant::now();
    let (holds, mut found) = search();
    let time = began.elapsed().as_secs_f32();
    let end_of_line = found.find('\n').unwrap_or(found.len());
    found.insert_str(end_of_line, &format!("  ({time:.1} s)"));
    (holds, found)
}

/// Describes a search that must not find a violation. If it did not end, it has found one, or has
/// too many states.
fn exhausted<M: Model<Wrong: Debug, Step: Debug>>(model: &M) -> (bool, String) {
    let outcome = exhaust(model, MOST_STATES);
    let mut found = format!("{:>12} states {:>12} steps", outcome.states, outcome.steps);
    if !outcome.exhausted {
        let _ = write!(found, "  WRONG\n    {:?}", shortest(model, 8_000_000).wrong);
    }
    (outcome.exhausted, found)
}

/// Describes the violation that a search without a guard found, which must be the expected one.
fn violation<Wrong: Debug + PartialEq, Step: Debug>(
    states: usize,
    wrong: Option<(Wrong, Vec<Step>)>,
    expected: Option<&Wrong>,
) -> (bool, String) {
    match wrong {
        Some((wrong, path)) if expected.is_none_or(|expected| *expected == wrong) => {
            let steps = path.len();
            let found = format!("{states:>12} states {steps:>12} steps  {wrong:?}: {path:?}");
            (true, found)
        }
        other => (false, format!("{expected:?} WAS NOT FOUND: {other:?}")),
    }
}

/// The protocol with all guards.
fn with_every_guard() -> Section {
    let search = |(name, protocol, is_long)| Search {
        name,
        is_long,
        run: Box::new(move || exhausted(&protocol)),
    };
    Section {
        heading: "with every guard",
        searches: scenarios::whole().into_iter().map(search).collect(),
    }
}

/// Search without a guard that takes longer than the others.
const LONG: &str = "sequence restored alone";

/// Search without a guard whose violation takes too many steps to find the shortest order of them,
/// so any order will do.
const DEEP: &str = "sequence begins above";

/// The protocol without each guard.
fn without_a_guard() -> Section {
    let search = |(name, protocol, expected): (_, _, Option<_>)| Search {
        name,
        is_long: name == LONG,
        run: Box::new(move || {
            let found = match name {
                DEEP => exhaust(&protocol, 100_000_000),
                _ => shortest(&protocol, 4_000_000),
            };
            violation(found.states, found.wrong, expected.as_ref())
        }),
    };
    let searches = scenarios::without_a_guard();
    Section {
        heading: "with one guard removed",
        searches: searches.into_iter().map(search).collect(),
    }
}

/// Loads that wait for each other: one caller of each ring continues.
fn of_rings() -> Section {
    let search = |(name, rings, is_long): (_, rings::Rings, _)| Search {
        name,
        is_long,
        run: Box::new(move || {
            let outcome = rings::search(&rings);
            // Without a ring no caller continues. In a ring one does, in some order of steps.
            let holds = outcome.wrong.is_none() && outcome.continuing == u32::from(rings.has_ring);
            let mut found = format!(
                "{:>12} states {:>12} continue",
                outcome.states, outcome.continuing
            );
            if !holds {
                let _ = write!(found, "  WRONG\n    {:?}", outcome.wrong);
            }
            (holds, found)
        }),
    };
    Section {
        heading: "loads that wait for each other",
        searches: rings::scenarios::whole().into_iter().map(search).collect(),
    }
}

fn of_rings_without_a_guard() -> Section {
    let search = |(name, rings, expected): (_, rings::Rings, _)| Search {
        name,
        is_long: false,
        run: Box::new(move || {
            let outcome = rings::search(&rings);
            violation(outcome.states, outcome.wrong, Some(&expected))
        }),
    };
    let searches = rings::scenarios::without_a_guard();
    Section {
        heading: "with one guard against rings removed",
        searches: searches.into_iter().map(search).collect(),
    }
}

/// Instances with different numbers of shards, with all guards.
fn of_layouts() -> Section {
    let search = |(name, layouts, is_long): (_, layouts::Layouts, _)| Search {
        name,
        is_long,
        run: Box::new(move || {
            let outcome = layouts::search(&layouts);
            let mut found = format!("{:>12} states", outcome.states);
            if let Some(wrong) = &outcome.wrong {
                let _ = write!(found, "  WRONG\n    {wrong:?}");
            }
            (outcome.wrong.is_none(), found)
        }),
    };
    let searches = layouts::scenarios::whole();
    Section {
        heading: "different numbers of shards",
        searches: searches.into_iter().map(search).collect(),
    }
}

fn of_layouts_without_a_guard() -> Section {
    let search = |(name, layouts): (_, layouts::Layouts)| Search {
        name,
        is_long: false,
        run: Box::new(move || {
            let outcome = layouts::search(&layouts);
            violation(outcome.states, outcome.wrong, None)
        }),
    };
    let searches = layouts::scenarios::without_a_guard();
    Section {
        heading: "with one guard of a layout removed",
        searches: searches.into_iter().map(search).collect(),
    }
}

/// The ledger of tags with all guards.
fn of_the_ledger() -> Section {
    let search = |(name, ledger, is_long)| Search {
        name,
        is_long,
        run: Box::new(move || exhausted(&ledger)),
    };
    Section {
        heading: "the ledger of tags",
        searches: ledger::scenarios::whole().into_iter().map(search).collect(),
    }
}

fn of_the_ledger_without_a_guard() -> Section {
    let search = |(name, ledger, expected): (_, _, _)| Search {
        name,
        is_long: false,
        run: Box::new(move || {
            let Outcome { states, wrong, .. } = shortest(&ledger, 4_000_000);
            violation(states, wrong, Some(&expected))
        }),
    };
    let searches = ledger::without_guards::without_a_guard();
    Section {
        heading: "with one guard of the ledger removed",
        searches: searches.into_iter().map(search).collect(),
    }
}
