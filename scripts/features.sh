#!/usr/bin/env bash
# Checks the workspace without features, with each feature alone, and with all: the facade builds
# without lints, and the tests of the crate that implements the feature pass. `scripts/test.sh` runs
# the other tests with all features.
set -euo pipefail
cd "$(dirname "$0")/.."
features=(redis tls disk memcached objects quick_cache bincode msgpack json custom-codec toml testing)
of_core=(quick_cache bincode msgpack json custom-codec toml testing)
tiers=(cache-redis "cache-redis --features tls" cache-disk cache-memcached cache-object)
for set in "" "${features[@]}" "$(IFS=,; echo "${features[*]}")"; do
  cargo clippy --quiet -p multi-tier-cached --lib --no-default-features --features "$set" -- -D warnings ||
    { echo "the facade has errors or lints with features: ${set:-none}"; exit 1; }
done
for feature in "" "${of_core[@]}"; do
  cargo test --quiet -p cache-core --lib --no-default-features --features "$feature" >/dev/null ||
    { echo "tests of cache-core fail with features: ${feature:-none}"; exit 1; }
done
# The tests of the Redis tier's commands start a server.
scripts/servers.sh
for tier in "${tiers[@]}"; do
  # Unquoted, because an element may be a package and an option.
  # shellcheck disable=SC2086
  cargo test --quiet --lib -p $tier >/dev/null || { echo "tests of $tier fail"; exit 1; }
done
echo "the facade builds without lints, and the tests of each feature pass"
