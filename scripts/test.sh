#!/usr/bin/env bash
# Runs all tests, and installs the servers that they start. No test is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/servers.sh

# Tests between instances wait most of the time, so more of them run at once than there are
# processors.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}

cargo test --workspace --exclude soak
# Promises between instances, on a cluster of three primaries with replicas and behind sentinels.
between_instances=(
  channel:: conformance::redis:: conformance::two_instances_on_redis conformance::calls_do_not_hang
  guards:: leases:: loads_across_instances:: lost_links:: outages:: queued_invalidations::
  server_history:: strong_consistency::
)
for topology in cluster sentinel; do
  # With the packages of above, so that nothing is built again.
  TOPOLOGY=$topology cargo test --workspace --exclude soak --test it -- \
    "${between_instances[@]}" --skip memcached::
done
# Codecs that are off by default are tested in the crate that implements them.
cargo test -p cache-core --all-features
# One function with memory, Redis, a disk and object storage, and a restart.
cargo run --quiet --example tiers --features disk,objects,redis
# A database that dies and comes back.
cargo run --quiet --example stale
# Fence and flight under all schedules of loom, and waiters under many schedules of shuttle.
RUSTFLAGS="--cfg schedules" CARGO_TARGET_DIR=target/schedules \
  cargo test --release -p cache-core -p cache-redis --lib schedules
# The model of the agreement between instances: the quick searches, and one without each guard.
cargo run --release --quiet -p model -- --quick
# Promises between processes, and a short soak on each kind of server. `scripts/soak.sh` runs
# longer.
cargo test --release -p soak
scripts/soak.sh 15
