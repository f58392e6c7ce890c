//! `cargo run --release -p model` searches everything; `-- --quick` what CI has time for.

use std::process::ExitCode;
use std::time::Instant;

use model::protocol::{Guards, Protocol, Target};
use model::rings;
use model::search::{Outcome, exhaust, shortest};

/// One write, nothing else.
const CALM: Protocol = Protocol {
    keys: 1,
    writes: 1,
    targets: &[Target::Key],
    breaks: 0,
    failovers: 0,
    old_primary_lives: false,
    evictions: 0,
    given_up: true,
    bound: 1,
    time: 2,
    guards: Guards::ALL,
};

/// The same, and nobody gives up.
const STEADY: Protocol = Protocol {
    given_up: false,
    ..CALM
};

/// One write, whose function is invalidated, and one control key that is evicted.
const EVICTION: Protocol = Protocol {
    targets: &[Target::Function],
    evictions: 1,
    bound: 0,
    time: 1,
    ..STEADY
};

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    // `--only <part of a name>` searches what is so called.
    let only = std::env::args()
        .skip_while(|argument| argument != "--only")
        .nth(1);
    let is_wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only));
    let mut failed = false;
    println!(
        "{:44} {:>12} {:>14} {:>8}",
        "with every guard", "states", "steps", "time"
    );
    for (name, protocol, long) in whole() {
        if quick && long || !is_wanted(name) {
            continue;
        }
        let (outcome, time) = timed(|| exhaust(&protocol, 400_000_000));
        let ok = outcome.exhausted;
        failed |= !ok;
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
    println!(
        "\n{:44} {:>12} {:>14}",
        "with one guard taken out", "states", "shortest"
    );
    for (name, protocol) in without_a_guard() {
        if !is_wanted(name) {
            continue;
        }
        let mut found = shortest(&protocol, 4_000_000);
        if found.wrong.is_none() && !found.exhausted {
            // Too deep for the shortest; any will do.
            found = exhaust(&protocol, 100_000_000);
        }
        let Outcome { states, wrong, .. } = found;
        failed |= wrong.is_none();
        match wrong {
            Some((what, path)) => println!(
                "{name:44} {states:>12} {:>8} steps  {what:?}: {path:?}",
                path.len()
            ),
            None => println!("{name:44} {states:>12}  NOTHING WAS FOUND"),
        }
    }
    failed |= !search_rings(quick, is_wanted);
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Searches the loads that wait for each other over instances. Returns whether all came out as they must.
fn search_rings(quick: bool, is_wanted: impl Fn(&str) -> bool) -> bool {
    let mut ok = true;
    println!(
        "\n{:44} {:>12} {:>14} {:>8}",
        "loads that wait for each other", "states", "go on", "time"
    );
    for (name, rings, long) in rings::scenarios::whole() {
        if quick && long || !is_wanted(name) {
            continue;
        }
        let (outcome, time) = timed(|| rings::search(&rings));
        // Without a ring nobody goes on, and in a ring somebody does in some order of steps.
        let is_right = outcome.wrong.is_none() && outcome.going_on == u32::from(rings.has_ring);
        ok &= is_right;
        println!(
            "{name:44} {:>12} {:>14} {time:>7.1}s {}",
            outcome.states,
            outcome.going_on,
            if is_right { "" } else { "WRONG" }
        );
        if let Some(wrong) = outcome.wrong {
            println!("    {wrong:?}");
        }
    }
    println!(
        "\n{:44} {:>12} {:>14}",
        "with one guard against rings taken out", "states", "shortest"
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

#[expect(clippy::disallowed_methods, reason = "it tells how long it took")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, f32) {
    let began = Instant::now();
    let result = work();
    (result, began.elapsed().as_secs_f32())
}

/// What must be exhausted; the long ones are marked.
fn whole() -> Vec<(&'static str, Protocol, bool)> {
    vec![
        ("1 write", CALM, false),
        (
            "1 write, of the function",
            Protocol {
                targets: &[Target::Key, Target::Function],
                ..CALM
            },
            false,
        ),
        (
            "1 write, 1 broken link",
            Protocol { breaks: 1, ..CALM },
            true,
        ),
        (
            "1 write, 1 lossy failover",
            Protocol {
                failovers: 1,
                ..CALM
            },
            true,
        ),
        ("2 writes", Protocol { writes: 2, ..CALM }, true),
        // From here on leases do not end and loads do not go away: that is searched above.
        (
            "1 write, old primary lives",
            Protocol {
                failovers: 1,
                old_primary_lives: true,
                bound: 0,
                ..STEADY
            },
            false,
        ),
        (
            "2 writes, of the function",
            Protocol {
                writes: 2,
                targets: &[Target::Key, Target::Function],
                ..STEADY
            },
            true,
        ),
        (
            "2 writes, 1 broken link",
            Protocol {
                writes: 2,
                breaks: 1,
                ..STEADY
            },
            true,
        ),
        (
            "1 write, 2 broken links",
            Protocol {
                breaks: 2,
                ..STEADY
            },
            true,
        ),
        (
            "2 keys, 1 write, of the function",
            Protocol {
                keys: 2,
                targets: &[Target::Key, Target::Function],
                ..STEADY
            },
            true,
        ),
        ("of the function, 1 eviction", EVICTION, false),
        (
            "of the function, 2 evictions",
            Protocol {
                evictions: 2,
                ..EVICTION
            },
            true,
        ),
        (
            "of the namespace, 3 evictions",
            Protocol {
                targets: &[Target::Namespace],
                evictions: 3,
                ..EVICTION
            },
            true,
        ),
        (
            "of the function, 3 evictions",
            Protocol {
                evictions: 3,
                ..EVICTION
            },
            true,
        ),
    ]
}

/// What must be found wrong.
fn without_a_guard() -> Vec<(&'static str, Protocol)> {
    let without = |guards, protocol| Protocol { guards, ..protocol };
    let function = Protocol {
        targets: &[Target::Key, Target::Function],
        ..CALM
    };
    let breaks = Protocol { breaks: 1, ..CALM };
    let failover = Protocol {
        failovers: 1,
        ..CALM
    };
    let old = Protocol {
        failovers: 1,
        old_primary_lives: true,
        bound: 0,
        ..STEADY
    };
    vec![
        (
            "lease",
            without(
                Guards {
                    lease: false,
                    ..Guards::ALL
                },
                CALM,
            ),
        ),
        (
            "fence",
            without(
                Guards {
                    fence: false,
                    ..Guards::ALL
                },
                CALM,
            ),
        ),
        (
            "second fence",
            without(
                Guards {
                    second_fence: false,
                    ..Guards::ALL
                },
                CALM,
            ),
        ),
        (
            "barrier",
            without(
                Guards {
                    barrier: false,
                    ..Guards::ALL
                },
                CALM,
            ),
        ),
        (
            "barrier from when it was sent",
            without(
                Guards {
                    barrier_from_sent: false,
                    ..Guards::ALL
                },
                Protocol { time: 3, ..CALM },
            ),
        ),
        (
            "ordered channel",
            without(
                Guards {
                    ordered_channel: false,
                    ..Guards::ALL
                },
                breaks.clone(),
            ),
        ),
        (
            "one script",
            without(
                Guards {
                    one_script: false,
                    ..Guards::ALL
                },
                CALM,
            ),
        ),
        (
            "fence on attach",
            without(
                Guards {
                    fence_on_attach: false,
                    ..Guards::ALL
                },
                breaks,
            ),
        ),
        (
            "history",
            without(
                Guards {
                    history: false,
                    ..Guards::ALL
                },
                failover.clone(),
            ),
        ),
        (
            "lease on its link",
            without(
                Guards {
                    lease_on_link: false,
                    ..Guards::ALL
                },
                failover,
            ),
        ),
        (
            "epoch",
            without(
                Guards {
                    epoch: false,
                    ..Guards::ALL
                },
                function.clone(),
            ),
        ),
        (
            "epoch forgotten with the message",
            without(
                Guards {
                    epoch_forgotten: false,
                    ..Guards::ALL
                },
                function,
            ),
        ),
        (
            "restored if all was heard",
            without(
                Guards {
                    restored_if_all_heard: false,
                    ..Guards::ALL
                },
                EVICTION,
            ),
        ),
        (
            "sequence restored alone",
            without(
                Guards {
                    sequence_restored_alone: false,
                    ..Guards::ALL
                },
                Protocol {
                    targets: &[Target::Namespace],
                    evictions: 3,
                    ..EVICTION
                },
            ),
        ),
        (
            "sequence begins above",
            without(
                Guards {
                    sequence_begins_above: false,
                    ..Guards::ALL
                },
                Protocol {
                    evictions: 4,
                    ..EVICTION
                },
            ),
        ),
        (
            "heartbeat",
            without(
                Guards {
                    heartbeat: false,
                    ..Guards::ALL
                },
                old,
            ),
        ),
    ]
}
