//! The rows and panels of the board.
//!
//! A query that divides leaves out what would be divided by zero, so that no panel shows "not a
//! number" for a function that is idle.

/// A row of the board.
#[derive(Debug)]
#[non_exhaustive]
pub struct Row {
    /// The heading.
    pub title: &'static str,
    /// The panels.
    pub panels: &'static [Panel],
}

/// A panel of the board.
#[derive(Debug)]
#[non_exhaustive]
pub struct Panel {
    /// The heading.
    pub title: &'static str,
    /// The question that it answers.
    pub question: &'static str,
    /// The kind of the panel in Grafana: `stat`, `timeseries` or `table`.
    pub kind: &'static str,
    /// The unit, by its name in Grafana.
    pub unit: &'static str,
    /// The templates of the queries, each with its legend.
    pub queries: &'static [(&'static str, &'static str)],
}

/// Families that are on no panel, each with the reason.
pub const NOT_ON_BOARD: &[(&str, &str)] = &[];

const HIT_RATIO: &str = "(sum(rate([[lookups|result=\"hit\"]][$__rate_interval])) + sum(rate([[hits.isolated]][$__rate_interval]))) / ((sum(rate([[lookups|result=\"hit\"]][$__rate_interval])) + sum(rate([[hits.isolated]][$__rate_interval]))) + sum(rate([[load.duration_count]][$__rate_interval])) > 0)";
const LOAD_P99: &str = "histogram_quantile(0.99, sum by (le) (rate([[load.duration_bucket]][$__rate_interval]))) and sum(rate([[load.duration_count]][$__rate_interval])) > 0";

const fn panel(
    title: &'static str,
    unit: &'static str,
    question: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        title,
        question,
        kind: "timeseries",
        unit,
        queries,
    }
}

const fn stat(
    title: &'static str,
    unit: &'static str,
    question: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        title,
        question,
        kind: "stat",
        unit,
        queries,
    }
}

/// The rows, from the top.
pub const ROWS: &[Row] = &[
    Row {
        title: "Overview",
        panels: &[
            stat(
                "Hit ratio",
                "percentunit",
                "Which share of the calls did a tier answer?",
                &[(HIT_RATIO, "hits")],
            ),
            stat(
                "Hits",
                "ops",
                "How many calls does each tier answer?",
                &[(
                    "sum by (tier) (rate([[lookups|result=\"hit\"]][$__rate_interval]))",
                    "{{tier}}",
                )],
            ),
            stat(
                "Loads",
                "ops",
                "How many bodies run?",
                &[(
                    "sum(rate([[load.duration_count]][$__rate_interval]))",
                    "loads",
                )],
            ),
            stat(
                "Load p99",
                "s",
                "How long do the slowest bodies run?",
                &[(LOAD_P99, "p99")],
            ),
            stat(
                "Tiers not connected",
                "short",
                "Is a tier unreachable?",
                &[(
                    "count([[tier.state|state=\"connected\"]] == 0) or vector(0)",
                    "shards",
                )],
            ),
            stat(
                "Versions",
                "short",
                "Which versions and engines run?",
                &[(
                    "count by (version, engine) ([[info]])",
                    "{{version}} {{engine}}",
                )],
            ),
        ],
    },
    Row {
        title: "Functions",
        panels: &[
            Panel {
                title: "Functions",
                question: "Which functions are called, hit, loaded and slow?",
                kind: "table",
                unit: "short",
                queries: &[
                    (
                        "sum by (function) (rate([[lookups|tier=\"l1\"]][$__rate_interval]))",
                        "look-ups in memory",
                    ),
                    (
                        "sum by (function) (rate([[lookups|result=\"hit\"]][$__rate_interval])) / (sum by (function) (rate([[lookups|result=\"hit\"]][$__rate_interval])) + sum by (function) (rate([[load.duration_count]][$__rate_interval])) > 0)",
                        "hit ratio",
                    ),
                    (
                        "sum by (function) (rate([[load.duration_count]][$__rate_interval]))",
                        "loads",
                    ),
                    (
                        "sum by (function) (rate([[load.duration_sum]][$__rate_interval])) / (sum by (function) (rate([[load.duration_count]][$__rate_interval])) > 0)",
                        "mean time of a load",
                    ),
                    (
                        "sum by (function) (rate([[load.duration_sum]][$__rate_interval]))",
                        "cost: seconds of loads a second",
                    ),
                ],
            },
            panel(
                "Results without a value",
                "ops",
                "How many calls get a kept `None` or a kept error?",
                &[(
                    "sum by (function, result) (rate([[hits.negative]][$__rate_interval]))",
                    "{{function}} {{result}}",
                )],
            ),
            panel(
                "Uncached calls",
                "ops",
                "Which calls run their body and keep nothing, and why?",
                &[(
                    "sum by (function, reason) (rate([[calls.uncached]][$__rate_interval]))",
                    "{{function}} {{reason}}",
                )],
            ),
            panel(
                "Waits",
                "ops",
                "How many calls wait for the load of another?",
                &[(
                    "sum by (function, for) (rate([[waits]][$__rate_interval]))",
                    "{{function}} {{for}}",
                )],
            ),
            panel(
                "Values with tags that cannot be kept",
                "ops",
                "Does a body tag its value in a function without tags?",
                &[(
                    "sum by (function) (rate([[values.untaggable]][$__rate_interval]))",
                    "{{function}}",
                )],
            ),
        ],
    },
    Row {
        title: "Loads",
        panels: &[
            panel(
                "Results",
                "ops",
                "How do bodies end?",
                &[(
                    "sum by (result) (rate([[load.duration_count]][$__rate_interval]))",
                    "{{result}}",
                )],
            ),
            panel(
                "Time of a load",
                "s",
                "How long do bodies run?",
                &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate([[load.duration_bucket]][$__rate_interval]))) and sum(rate([[load.duration_count]][$__rate_interval])) > 0",
                        "p50",
                    ),
                    (LOAD_P99, "p99"),
                ],
            ),
            panel(
                "Loads in progress",
                "short",
                "Do loads pile up?",
                &[
                    ("sum by (function) ([[load.active]])", "{{function}}"),
                    ("sum([[flight.active]])", "all, with their tiers"),
                ],
            ),
            panel(
                "Background",
                "short",
                "Are there enough places for loads in the background?",
                &[
                    ("sum by (state) ([[background.loads]])", "{{state}}"),
                    ("sum([[background.limit]])", "places"),
                ],
            ),
            panel(
                "Refreshes",
                "ops",
                "Are values replaced before callers wait for them?",
                &[
                    ("sum(rate([[refresh.loads]][$__rate_interval]))", "began"),
                    (
                        "sum(rate([[refresh.failures]][$__rate_interval]))",
                        "failed",
                    ),
                ],
            ),
            panel(
                "Stale values",
                "ops",
                "How many calls get a stale value?",
                &[
                    (
                        "sum by (tier) (rate([[hits.stale]][$__rate_interval]))",
                        "{{tier}}",
                    ),
                    (
                        "sum(rate([[calls.stale_on_error]][$__rate_interval]))",
                        "because of an error",
                    ),
                ],
            ),
            panel(
                "Limits",
                "ops",
                "Do callers or loads reach their limits?",
                &[
                    (
                        "sum(rate([[calls.timed_out]][$__rate_interval]))",
                        "calls timed out",
                    ),
                    (
                        "sum(rate([[loads.abandoned]][$__rate_interval]))",
                        "loads dropped at their limit",
                    ),
                    (
                        "sum(rate([[loads.backed_off]][$__rate_interval]))",
                        "loads backed off",
                    ),
                    ("sum(rate([[loads.shed]][$__rate_interval]))", "loads shed"),
                ],
            ),
        ],
    },
    Row {
        title: "Tiers",
        panels: &[
            panel(
                "Look-ups",
                "ops",
                "What does each tier answer?",
                &[(
                    "sum by (tier, result) (rate([[lookups]][$__rate_interval]))",
                    "{{tier}} {{result}}",
                )],
            ),
            panel(
                "Time of operations, p99",
                "s",
                "How long do the slowest operations take?",
                &[(
                    "histogram_quantile(0.99, sum by (tier, operation, le) (rate([[tier.operation.duration_bucket]][$__rate_interval]))) and sum by (tier, operation) (rate([[tier.operation.duration_count]][$__rate_interval])) > 0",
                    "{{tier}} {{operation}}",
                )],
            ),
            panel(
                "Operations",
                "ops",
                "How do operations end?",
                &[(
                    "sum by (tier, operation, result) (rate([[tier.operation.duration_count]][$__rate_interval]))",
                    "{{tier}} {{operation}} {{result}}",
                )],
            ),
            panel(
                "Errors",
                "ops",
                "For which functions do operations fail?",
                &[(
                    "sum by (function, tier) (rate([[tier.errors]][$__rate_interval]))",
                    "{{function}} {{tier}}",
                )],
            ),
            panel(
                "States",
                "short",
                "Which shards are connected, coherent, or avoided?",
                &[(
                    "min by (tier, kind, shard, state) ([[tier.state]])",
                    "{{tier}} {{kind}} {{shard}} {{state}}",
                )],
            ),
            panel(
                "Refused fills",
                "ops",
                "Which values are not stored because they may be out of date?",
                &[(
                    "sum by (tier, reason) (rate([[fills.refused]][$__rate_interval]))",
                    "{{tier}} {{reason}}",
                )],
            ),
            panel(
                "Values that cannot be stored",
                "ops",
                "Which values are too large, or do not survive their codec?",
                &[(
                    "sum by (function, tier, reason) (rate([[values.unstored]][$__rate_interval]))",
                    "{{function}} {{tier}} {{reason}}",
                )],
            ),
            panel(
                "Unusable records",
                "ops",
                "Which records are damaged, or of another type?",
                &[(
                    "sum by (function, tier, reason) (rate([[records.unusable]][$__rate_interval]))",
                    "{{function}} {{tier}} {{reason}}",
                )],
            ),
            panel(
                "Promotions",
                "ops",
                "How many records are copied to a higher tier?",
                &[(
                    "sum by (tier) (rate([[promotions]][$__rate_interval]))",
                    "{{tier}}",
                )],
            ),
            panel(
                "Unusable features",
                "short",
                "Does a permission at the store miss?",
                &[(
                    "max by (tier, shard) ([[tier.features.unusable]])",
                    "{{tier}} {{shard}}",
                )],
            ),
        ],
    },
    Row {
        title: "Coherence",
        panels: &[
            panel(
                "Invalidations",
                "ops",
                "What does the program invalidate?",
                &[(
                    "sum by (scope) (rate([[invalidations]][$__rate_interval]))",
                    "{{scope}}",
                )],
            ),
            panel(
                "Expiries",
                "ops",
                "What does the program make stale?",
                &[(
                    "sum by (scope) (rate([[expiries]][$__rate_interval]))",
                    "{{scope}}",
                )],
            ),
            panel(
                "Received",
                "ops",
                "What arrives over the channels?",
                &[(
                    "sum by (tier, scope) (rate([[tier.invalidations]][$__rate_interval]))",
                    "{{tier}} {{scope}}",
                )],
            ),
            panel(
                "Age of the last barrier",
                "s",
                "Up to which time is memory known to be right?",
                &[(
                    "max by (tier, shard) ([[tier.barrier.age]])",
                    "{{tier}} {{shard}}",
                )],
            ),
            panel(
                "Queued invalidations",
                "short",
                "Which invalidations does a store not know yet?",
                &[(
                    "sum by (tier, shard) ([[invalidation.queued]])",
                    "{{tier}} {{shard}}",
                )],
            ),
            panel(
                "Losses",
                "short",
                "How often was a channel or a store lost?",
                &[
                    (
                        "sum by (tier) (increase([[tier.isolations]][$__rate_interval]))",
                        "{{tier}} isolations",
                    ),
                    (
                        "sum by (tier) (increase([[tier.gaps]][$__rate_interval]))",
                        "{{tier}} missing messages",
                    ),
                    (
                        "sum by (tier) (increase([[tier.history_changes]][$__rate_interval]))",
                        "{{tier}} history changes",
                    ),
                    (
                        "sum by (tier) (increase([[tier.replays]][$__rate_interval]))",
                        "{{tier}} invalidations sent again",
                    ),
                ],
            ),
            panel(
                "Isolated hits",
                "ops",
                "How many calls does memory answer in an outage?",
                &[(
                    "sum by (function) (rate([[hits.isolated]][$__rate_interval]))",
                    "{{function}}",
                )],
            ),
        ],
    },
    Row {
        title: "Memory",
        panels: &[
            panel(
                "Entries",
                "short",
                "Is memory full?",
                &[
                    ("sum by (instance) ([[memory.entry.count]])", "{{instance}}"),
                    (
                        "sum by (instance) ([[memory.entry.limit]])",
                        "{{instance}}, maximum",
                    ),
                ],
            ),
            panel(
                "Bytes",
                "bytes",
                "Is memory full, if it is bounded by bytes?",
                &[
                    ("sum by (instance) ([[memory.usage]])", "{{instance}}"),
                    (
                        "sum by (instance) ([[memory.limit]])",
                        "{{instance}}, maximum",
                    ),
                ],
            ),
            panel(
                "Evictions",
                "ops",
                "Does memory lose values that are in use? (quick_cache only)",
                &[(
                    "sum by (instance) (rate([[memory.evictions]][$__rate_interval]))",
                    "{{instance}}",
                )],
            ),
        ],
    },
];
