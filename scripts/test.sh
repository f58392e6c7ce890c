#!/usr/bin/env bash
# Runs all tests. Installs redis-server and memcached, which they start themselves, where they are absent. Nothing is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v memcached >/dev/null || missing+=(memcached)
command -v openssl >/dev/null || missing+=(openssl)
if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  echo "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
fi

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
