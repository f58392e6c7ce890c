#!/usr/bin/env bash
# Checks the features: the facade has no lints without features and with Redis alone, the command
# line has none with the disk, and the tests of `cache-core` pass without features. With all
# features the facade is checked as part of the workspace, and `scripts/test.sh` runs all tests.
# `scripts/features.sh --each` also checks the facade and `cache-core` with each feature alone, and
# runs the tests of `cache-core` with each feature alone and those of each tier's crate alone. That
# takes ten minutes more. Run it after a change of features, and before a release.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
  "") each= ;;
  --each) each=1; scripts/servers.sh ;;
  *) echo "usage: scripts/features.sh [--each]"; exit 2 ;;
esac
# The facade has code of its own for the first; it passes the others on to `cache-core`.
of_facade=(redis tls disk memcached objects prometheus testing)
of_core=(quick_cache bincode msgpack json custom-codec toml inspect testing)
tiers=(cache-redis "cache-redis --features tls" "cache-redis --features inspect" cache-disk cache-memcached cache-object)
sets=("" redis)
[ -z "$each" ] || sets+=("${of_facade[@]}" "${of_core[@]}")
for set in "${sets[@]}"; do
  cargo clippy --quiet -p multi-tier-cached --lib --no-default-features --features "$set" -- -D warnings ||
    { echo "the facade has errors or lints with features: ${set:-none}"; exit 1; }
done
cargo clippy --quiet -p multi-tier-cached-cli --features disk -- -D warnings ||
  { echo "the command line has errors or lints with the feature disk"; exit 1; }
cargo test --quiet -p cache-core --lib --no-default-features >/dev/null ||
  { echo "tests of cache-core fail without features"; exit 1; }
if [ -n "$each" ]; then
  for feature in "${of_core[@]}"; do
    cargo test --quiet -p cache-core --lib --no-default-features --features "$feature" >/dev/null ||
      { echo "a test of cache-core fails with the feature $feature"; exit 1; }
  done
  for tier in "${tiers[@]}"; do
    # Unquoted, because an element may be a package and an option.
    # shellcheck disable=SC2086
    cargo test --quiet --lib -p $tier >/dev/null || { echo "a test of $tier fails"; exit 1; }
  done
fi
echo "the features have no lints${each:+, and each compiles alone and passes its tests}"
