#!/usr/bin/env bash
# Prints the cost of a clean release build, in crates and seconds: this facade with its default
# features, beside the libraries it is made of without it, and three libraries for the same purpose.
# `scripts/build_cost.sh [name..]` builds only those. No other program should run at the same time.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tokio='tokio = { version = "1", features = ["macros", "rt-multi-thread"] }'
declare -A stacks=(
  [bare]="moka = { version = \"0.12\", features = [\"future\"] }
redis = { version = \"1.8\", features = [\"tokio-comp\", \"connection-manager\"] }
postcard = { version = \"1\", features = [\"use-std\"] }
serde = { version = \"1\", features = [\"derive\"] }
$tokio"
  [multi-tier-cached]="multi-tier-cached = { path = \"$root\" }
serde = { version = \"1\", features = [\"derive\"] }
$tokio"
  [cached]="cached = { version = \"4.1\", features = [\"async\", \"redis_tokio\", \"redis_connection_manager\"] }
$tokio"
  [multi-tier-cache]="multi-tier-cache = \"=0.6.5\"
$tokio"
  [hitbox]="hitbox = \"0.2\"
hitbox-redis = \"0.2\"
hitbox-moka = \"0.2\"
$tokio"
)
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(bare multi-tier-cached cached multi-tier-cache hitbox)

printf '%-20s %7s %8s\n' stack crates seconds
for name in "${names[@]}"; do
  crate=$work/$name
  mkdir -p "$crate/src"
  printf '[package]\nname = "cost"\nversion = "0.0.0"\nedition = "2024"\n\n[dependencies]\n%s\n\n[workspace]\n' "${stacks[$name]}" >"$crate/Cargo.toml"
  echo 'fn main() {}' >"$crate/src/main.rs"
  # Crates that this project uses as well are built in the version of its lock file.
  cp Cargo.lock "$crate/"
  if ! (cd "$crate" && cargo fetch --quiet 2>"$work/why"); then
    printf '%-20s dependencies cannot be resolved: %s\n' "$name" "$(head -1 "$work/why")"
    continue
  fi
  crates=$(cd "$crate" && cargo tree -e no-dev --prefix none --quiet | awk '$1 != "cost" { print $1, $2 }' | sort -u | wc -l)
  began=$(date +%s)
  (cd "$crate" && CARGO_TARGET_DIR=$crate/target cargo build --release --quiet 2>"$work/why") ||
    { printf '%-20s does not build: %s\n' "$name" "$(head -1 "$work/why")"; continue; }
  printf '%-20s %7s %8s\n' "$name" "$crates" "$(($(date +%s) - began))"
  rm -rf "$crate/target"
done
