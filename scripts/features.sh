#!/usr/bin/env bash
# Checks that every combination of the facade's features builds.
set -euo pipefail
cd "$(dirname "$0")/.."
features=(redis tls quick_cache bincode msgpack json)
for ((set = 0; set < 1 << ${#features[@]}; set++)); do
  chosen=()
  for ((bit = 0; bit < ${#features[@]}; bit++)); do
    ((set >> bit & 1)) && chosen+=("${features[bit]}")
  done
  list=$(IFS=,; echo "${chosen[*]-}")
  cargo check --quiet -p multi-tier-cached --lib --no-default-features --features "$list" ||
    { echo "does not build with: $list"; exit 1; }
done
echo "$((1 << ${#features[@]})) combinations of features build"
