#!/usr/bin/env bash
# Packs every published package as for crates.io, without building it again, and checks that each
# carries its licences: `scripts/package.sh`. With `--verify`, each package is built as well.
#
# `cargo package --workspace` cannot be used: the soak depends on the testbed, neither is published,
# and Cargo has no registry to resolve the testbed from. `tests/house` checks that every other
# package says `publish = false`.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(multi-tier-cached cache-core cache-macros cache-redis cache-disk cache-memcached cache-object cache-prometheus
  cache-opentelemetry multi-tier-cached-cli)

verify=(--no-verify)
[ "${1:-}" != --verify ] || verify=()
cargo package "${packages[@]/#/--package=}" "${verify[@]}" --allow-dirty --quiet

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
for package in "${packages[@]}"; do
  for licence in LICENSE-APACHE LICENSE-MIT; do
    if ! tar -tzf "target/package/$package-$version.crate" "$package-$version/$licence" >/dev/null; then
      echo "$package has no $licence; help: link the file of the root into the package" >&2
      exit 1
    fi
  done
done
