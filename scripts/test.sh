#!/usr/bin/env bash
# Runs all tests, and installs the servers that they start. Nothing is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/servers.sh

cargo test --workspace --exclude soak
# The codecs that are off by default, where they are implemented.
cargo test -p cache-core --all-features
# One function through memory, Redis, a disk and object storage, and a restart.
cargo run --quiet --example tiers --features disk,objects,redis
# Fence and flight under every schedule that loom finds, waiters under many of shuttle's.
RUSTFLAGS="--cfg schedules" CARGO_TARGET_DIR=target/schedules \
  cargo test --release -p cache-core -p cache-redis --lib schedules
# The agreement between instances as a model: a part of it searched to the end, and each guard missed when it is taken out.
cargo run --release --quiet -p model -- --quick
# What is promised between processes, and a short soak on each kind of server; `scripts/soak.sh` alone is the long one.
cargo test --release -p soak
scripts/soak.sh 15
