//! Tests of what the cache promises, one module for each area. Tests start their own servers, and
//! fail if one is not installed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batch;
mod batch_expansion;
mod batch_loads;
mod batch_nested;
mod batch_reads;
mod batch_schedules;
mod channel;
mod cluster;
mod cluster_nodes;
mod codecs;
mod conformance;
mod connections;
mod credentials;
mod disk;
mod disk_tags;
mod environment;
mod evictions;
mod failing_loads;
mod failing_loads_beside;
mod failing_tiers;
mod faults;
mod foreign_contexts;
mod forms;
mod guards;
mod handle_runtime;
mod handles;
mod invalidation;
mod keys;
mod late_loads;
mod late_loads_across_instances;
mod layouts;
mod layouts_after_losses;
mod leases;
mod levels;
mod loads_across_instances;
mod logs;
mod lost_links;
mod matching;
mod matching_tiers;
mod memcached;
mod memory;
mod mistakes;
mod nested_loads;
mod never_stale;
mod objects;
mod observe;
mod outages;
mod oversized;
mod panics;
mod permissions;
mod plain;
mod private_tiers;
mod promotion;
mod queued_invalidations;
mod redis_tags;
mod redis_tier;
mod refusals;
mod replicas;
mod resharding;
mod result_times;
mod sentinels;
mod server_history;
mod shards;
mod share_error;
mod single_flight;
mod skipped_types;
mod stale;
mod stale_across_instances;
mod statistics;
mod streams;
mod strong_calls;
mod strong_consistency;
mod tags;
mod tier_invalidations;
mod tier_placement;
mod timeouts;
mod traces;
mod upkeep;

// The tier of the example `custom_tier`, which runs the conformance tests.
#[path = "../../examples/custom_tier/map.rs"]
mod map;
