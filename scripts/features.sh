#!/usr/bin/env bash
# Checks without features, with each alone, and with all: the facade builds and is lint-free, and the tests of the crate that a feature
# is of pass. (With all of them `scripts/test.sh` runs the rest.)
set -euo pipefail
cd "$(dirname "$0")/.."
features=(redis tls disk memcached objects quick_cache bincode msgpack json custom-codec toml testing)
of_the_core=(quick_cache bincode msgpack json custom-codec toml testing)
tiers=(cache-redis "cache-redis --features tls" cache-disk cache-memcached cache-object)
for set in "" "${features[@]}" "$(IFS=,; echo "${features[*]}")"; do
  cargo clippy --quiet -p multi-tier-cached --lib --no-default-features --features "$set" -- -D warnings ||
    { echo "not as it should be with: ${set:-no features}"; exit 1; }
done
for feature in "" "${of_the_core[@]}"; do
  cargo test --quiet -p cache-core --lib --no-default-features --features "$feature" >/dev/null ||
    { echo "the core's tests fail with: ${feature:-no features}"; exit 1; }
done
# The commands of the Redis tier are tested against a server.
scripts/servers.sh
for tier in "${tiers[@]}"; do
  # Words: a package, and its feature.
  # shellcheck disable=SC2086
  cargo test --quiet --lib -p $tier >/dev/null || { echo "the tests fail of $tier alone"; exit 1; }
done
echo "the facade is lint-free, and the tests of each feature's crate pass, without features, with each and with all"
