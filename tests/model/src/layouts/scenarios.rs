//! Searches: instances, the place of the key, and what is lost.

use super::config::{LayoutGuards, Layouts, Losses};

const NOTHING: Losses = Losses {
    links: 0,
    restarts: 0,
    flushes: 0,
    evictions: 0,
    removals: 0,
    silent: false,
};

const RESTARTS: Losses = Losses {
    restarts: 2,
    ..NOTHING
};

const FLUSHES: Losses = Losses {
    flushes: 2,
    ..NOTHING
};

const EVICTIONS: Losses = Losses {
    evictions: 2,
    ..NOTHING
};

const SILENCE: Losses = Losses {
    restarts: 1,
    silent: true,
    ..NOTHING
};

const SEVERAL: Losses = Losses {
    links: 1,
    restarts: 1,
    flushes: 1,
    ..NOTHING
};

/// Returns instances that use a key which is in the last shard of each layout.
const fn of(instances: &'static [u8], losses: Losses) -> Layouts {
    Layouts {
        instances,
        restarted_with: None,
        place: 3,
        commits: 1,
        losses,
        guards: LayoutGuards::ALL,
    }
}

/// Returns the scenarios in which no call may return an old value. The long ones are marked.
#[must_use]
pub fn whole() -> Vec<(&'static str, Layouts, bool)> {
    let first = |layouts| Layouts {
        place: 0,
        ..layouts
    };
    let restarted = |shards, removals, layouts: Layouts| Layouts {
        restarted_with: Some(shards),
        losses: Losses {
            removals,
            ..layouts.losses
        },
        ..layouts
    };
    let restart = Losses {
        restarts: 1,
        ..NOTHING
    };
    #[rustfmt::skip]
    let all = vec![
        ("layouts of 1 and 4", of(&[1, 4], NOTHING), false),
        ("layouts of 1 and 4, 2 shards restart", of(&[1, 4], RESTARTS), false),
        ("layouts of 2 and 4, 2 shards restart", of(&[2, 4], RESTARTS), false),
        ("layouts of 1 and 4, a key of shard 0", first(of(&[1, 4], RESTARTS)), false),
        ("layouts of 1 and 2, shards are flushed", of(&[1, 2], FLUSHES), false),
        ("layouts of 1 and 2, histories evicted", of(&[1, 2], EVICTIONS), false),
        ("layouts of 1 and 4, a shard does not answer", of(&[1, 4], SILENCE), false),
        ("layouts of 4 and 1, histories removed", restarted(4, 4, of(&[4, 1], NOTHING)), true),
        ("layouts of 1, 2 and 4, 2 shards restart", of(&[1, 2, 4], RESTARTS), true),
        ("layouts of 1 and 4, link, restart and flush", of(&[1, 4], SEVERAL), true),
        ("layouts of 4 and 2, an instance restarts as 2", restarted(2, 3, of(&[4, 2], restart)), true),
    ];
    all
}

/// Returns the scenarios that lack a guard. In each an old value must be found.
#[must_use]
pub fn without_a_guard() -> Vec<(&'static str, Layouts)> {
    let without = |remove: fn(&mut LayoutGuards), mut layouts: Layouts| {
        remove(&mut layouts.guards);
        layouts
    };
    vec![
        (
            "layouts: an attachment compares",
            without(|guards| guards.compares = false, of(&[1, 4], NOTHING)),
        ),
        (
            "layouts: a barrier compares",
            without(
                |guards| guards.barrier_compares = false,
                of(&[1, 2], EVICTIONS),
            ),
        ),
        (
            "layouts: all links end",
            without(|guards| guards.all_end = false, of(&[1, 2], EVICTIONS)),
        ),
        (
            "layouts: a look before shard 0 begins",
            without(|guards| guards.looks = false, of(&[1, 4], RESTARTS)),
        ),
        (
            "layouts: a look at all shards",
            without(|guards| guards.looks_at_all = false, of(&[1, 4], RESTARTS)),
        ),
        (
            "layouts: an answer of all shards",
            without(|guards| guards.needs_answers = false, of(&[1, 4], SILENCE)),
        ),
        (
            "layouts: own layout seen before a shard begins",
            without(|guards| guards.sees_own = false, of(&[1, 4], RESTARTS)),
        ),
        (
            "layouts: a shard with a conflict looks again",
            without(|guards| guards.looks_again = false, of(&[2, 4], RESTARTS)),
        ),
        (
            "layouts: a look takes a conflict back",
            without(|guards| guards.clears = false, of(&[1, 4], RESTARTS)),
        ),
    ]
}
