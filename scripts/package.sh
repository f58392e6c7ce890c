#!/usr/bin/env bash
# Packs every package as for crates.io, without building it again, and checks that each published one
# carries its licences: `scripts/package.sh`.
set -euo pipefail
cd "$(dirname "$0")/.."

# The soak is not published and depends on the testbed, which is not published either: Cargo has no
# registry to resolve the testbed from.
cargo package --workspace --exclude soak --no-verify --allow-dirty --quiet

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
for package in multi-tier-cached cache-core cache-macros cache-redis cache-disk cache-memcached cache-object; do
  for licence in LICENSE-APACHE LICENSE-MIT; do
    if ! tar -tzf "target/package/$package-$version.crate" "$package-$version/$licence" >/dev/null; then
      echo "$package has no $licence; help: link the file of the root into the package" >&2
      exit 1
    fi
  done
done
