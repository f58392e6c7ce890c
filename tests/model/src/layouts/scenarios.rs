//! Searches: instances, the place of the key, and what is lost.

use super::config::{LayoutGuards, Layouts, Losses};

/// One of the instances that are set to one shard and to four, and a key that is in another shard
/// in each layout.
const TWO: Layouts = Layouts {
    instances: &[1, 4],
    restarted_with: None,
    place: 3,
    commits: 1,
    losses: NOTHING,
    guards: LayoutGuards::ALL,
};

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

/// Returns the scenarios in which no call may return an old value. The long ones are marked.
#[must_use]
pub fn whole() -> Vec<(&'static str, Layouts, bool)> {
    vec![
        ("layouts of 1 and 4", TWO, false),
        (
            "layouts of 1 and 4, 2 shards restart",
            Layouts {
                losses: RESTARTS,
                ..TWO
            },
            false,
        ),
        (
            "layouts of 2 and 4, 2 shards restart",
            Layouts {
                instances: &[2, 4],
                losses: RESTARTS,
                ..TWO
            },
            false,
        ),
        (
            "layouts of 1 and 4, a key of one shard",
            Layouts {
                place: 0,
                losses: RESTARTS,
                ..TWO
            },
            false,
        ),
        (
            "layouts of 1 and 2, shards are flushed",
            Layouts {
                instances: &[1, 2],
                losses: Losses {
                    flushes: 2,
                    ..NOTHING
                },
                ..TWO
            },
            false,
        ),
        (
            "layouts of 1 and 2, histories evicted",
            Layouts {
                instances: &[1, 2],
                losses: Losses {
                    evictions: 2,
                    ..NOTHING
                },
                ..TWO
            },
            false,
        ),
        (
            "layouts of 1 and 4, a shard does not answer",
            Layouts {
                losses: Losses {
                    restarts: 1,
                    silent: true,
                    ..NOTHING
                },
                ..TWO
            },
            false,
        ),
        (
            "layouts of 4 and 1, histories removed",
            Layouts {
                instances: &[4, 1],
                restarted_with: Some(4),
                losses: Losses {
                    removals: 4,
                    ..NOTHING
                },
                ..TWO
            },
            false,
        ),
        (
            "layouts of 1, 2 and 4, 2 shards restart",
            Layouts {
                instances: &[1, 2, 4],
                losses: RESTARTS,
                ..TWO
            },
            true,
        ),
        (
            "layouts of 1 and 4, link, restart and flush",
            Layouts {
                losses: Losses {
                    links: 1,
                    restarts: 1,
                    flushes: 1,
                    ..NOTHING
                },
                ..TWO
            },
            true,
        ),
        (
            "layouts of 4 and 2, an instance restarts as 2",
            Layouts {
                instances: &[4, 2],
                restarted_with: Some(2),
                losses: Losses {
                    restarts: 1,
                    removals: 3,
                    ..NOTHING
                },
                ..TWO
            },
            true,
        ),
    ]
}

/// Returns the scenarios that lack a guard. In each an old value must be found.
#[must_use]
pub fn without_a_guard() -> Vec<(&'static str, Layouts)> {
    let all = LayoutGuards::ALL;
    let without = |guards, scenario: Layouts| Layouts { guards, ..scenario };
    let restarts = Layouts {
        losses: RESTARTS,
        ..TWO
    };
    vec![
        (
            "layouts: an attachment compares",
            without(
                LayoutGuards {
                    compares: false,
                    ..all
                },
                TWO,
            ),
        ),
        (
            "layouts: a barrier compares",
            without(
                LayoutGuards {
                    barrier_compares: false,
                    ..all
                },
                Layouts {
                    instances: &[1, 2],
                    losses: Losses {
                        evictions: 2,
                        ..NOTHING
                    },
                    ..TWO
                },
            ),
        ),
        (
            "layouts: all links end",
            without(
                LayoutGuards {
                    all_end: false,
                    ..all
                },
                Layouts {
                    instances: &[1, 2],
                    losses: Losses {
                        evictions: 2,
                        ..NOTHING
                    },
                    ..TWO
                },
            ),
        ),
        (
            "layouts: a look before shard 0 begins",
            without(
                LayoutGuards {
                    looks: false,
                    ..all
                },
                restarts,
            ),
        ),
        (
            "layouts: a look at all shards",
            without(
                LayoutGuards {
                    looks_at_all: false,
                    ..all
                },
                restarts,
            ),
        ),
        (
            "layouts: an answer of all shards",
            without(
                LayoutGuards {
                    needs_answers: false,
                    ..all
                },
                Layouts {
                    losses: Losses {
                        restarts: 1,
                        silent: true,
                        ..NOTHING
                    },
                    ..TWO
                },
            ),
        ),
        (
            "layouts: own layout seen before a shard begins",
            without(
                LayoutGuards {
                    sees_own: false,
                    ..all
                },
                restarts,
            ),
        ),
    ]
}
