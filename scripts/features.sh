#!/usr/bin/env bash
# Checks the workspace without features, with each feature alone, and with all: the facade has no
# lints, and the crate that implements the feature and its tests compile. The tests of `cache-core`
# without features run here, because `scripts/test.sh` runs all tests with the features of the
# workspace, and those of `cache-core` with all.
set -euo pipefail
cd "$(dirname "$0")/.."
features=(redis tls disk memcached objects quick_cache bincode msgpack json custom-codec toml testing)
of_core=(quick_cache bincode msgpack json custom-codec toml testing)
tiers=(cache-redis "cache-redis --features tls" cache-disk cache-memcached cache-object)
for set in "" "${features[@]}" "$(IFS=,; echo "${features[*]}")"; do
  cargo clippy --quiet -p multi-tier-cached --lib --no-default-features --features "$set" -- -D warnings ||
    { echo "the facade has errors or lints with features: ${set:-none}"; exit 1; }
done
for feature in "${of_core[@]}"; do
  cargo check --quiet -p cache-core --lib --tests --no-default-features --features "$feature" ||
    { echo "cache-core does not compile with the feature $feature"; exit 1; }
done
cargo test --quiet -p cache-core --lib --no-default-features >/dev/null ||
  { echo "tests of cache-core fail without features"; exit 1; }
for tier in "${tiers[@]}"; do
  # Unquoted, because an element may be a package and an option.
  # shellcheck disable=SC2086
  cargo check --quiet --lib --tests -p $tier || { echo "$tier does not compile alone"; exit 1; }
done
echo "the facade has no lints, and each feature compiles alone"
