#!/usr/bin/env bash
# Runs all tests, and installs the servers that they start. No test is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/servers.sh

# Tests between instances wait most of the time, so more of them run at once than there are
# processors.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}

target=${CARGO_TARGET_DIR:-target}

cargo test --workspace
# Promises between instances, on a cluster of three primaries with replicas and behind sentinels.
between_instances=(
  channel:: conformance::redis:: conformance::two_instances_on_redis conformance::calls_do_not_hang
  guards:: leases:: loads_across_instances:: lost_links:: outages:: queued_invalidations::
  server_history:: strong_consistency::
)
for topology in cluster sentinel; do
  # With the packages of above, so that nothing is built again.
  TOPOLOGY=$topology cargo test --workspace --test it -- \
    "${between_instances[@]}" --skip memcached::
done
# Examples that check themselves: a restart with memory, Redis, a disk and object storage; a
# database that dies and comes back; values of several functions that are invalidated by a tag;
# values of several ids.
for example in tiers stale tags batch; do
  "$target/debug/examples/$example"
done
# Spans and traces are at most 1 % of the instructions of a miss while they are off.
cargo run --profile bench --quiet -p instructions
# Fence and flight under the schedules of loom (one search is bounded to three preemptions), and
# waiters under many schedules of shuttle.
RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/rustc_with_schedules.sh \
  cargo test -p cache-core -p cache-redis --lib schedules
# The model of the agreement between instances: the quick searches, and one without each guard.
cargo run --release --quiet -p model -- --quick
# A short soak on each kind of server. `scripts/soak.sh` runs longer, and with optimizations.
SOAK=$target/debug/soak scripts/soak.sh 15
