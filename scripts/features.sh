#!/usr/bin/env bash
# Checks that the facade builds without features, with each, with every two, and with all.
set -euo pipefail
cd "$(dirname "$0")/.."
features=(redis tls disk memcached objects quick_cache bincode msgpack json toml testing)
checked=0
check() {
  cargo check --quiet -p multi-tier-cached --lib --no-default-features --features "$1" ||
    { echo "does not build with: $1"; exit 1; }
  checked=$((checked + 1))
}
check ""
for first in "${features[@]}"; do
  check "$first"
  for second in "${features[@]}"; do
    [[ $first < $second ]] && check "$first,$second"
  done
done
check "$(IFS=,; echo "${features[*]}")"
echo "$checked combinations of features build"
