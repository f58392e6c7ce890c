#!/usr/bin/env bash
# Prints what annotated functions cost a crate that has many of them: the seconds of its own release
# build and the bytes of its stripped program. It builds the same functions without an attribute
# (`none`), with this crate's in memory (`l1`), in memory and Redis (`l1,l2`), and there with a tag
# (`tags`), and with that of `cached`. It also prints the lines of LLVM IR for each function, out of
# 20, which do not depend on the load of the machine; the seconds do, so compare them within one run
# on an idle machine.
#
# Usage: scripts/compile_cost.sh [functions]   200 functions by default
#   ROOT=dir         measures another checkout of this project
#   NAMES="l1 none"  builds only these
#   LLVM_LINES=file  keeps the table of `cargo llvm-lines`
set -euo pipefail
cd "$(dirname "$0")/.."
root=${ROOT:-$PWD}
functions=${1:-200}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The functions are those of a service: each looks up a record of a type of its own, and may fail.
generate() { # name, attribute, functions
  echo '#![allow(dead_code)]'
  echo 'use serde::{Deserialize, Serialize};'
  [ "$1" = none ] || [ "$1" = cached ] || echo 'use multi_tier_cached::multi_tier_cached;'
  [ "$1" = cached ] && echo 'use cached::macros::concurrent_cached;'
  echo '#[derive(Clone, Debug)] pub struct Failed(pub String);'
  for at in $(seq "$3"); do
    cat <<RUST
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record$at { id: u64, name: String, tags: Vec<String>, score: Option<f64>, field$at: u32 }
$2
pub async fn find$at(id: u64) -> Result<Record$at, Failed> {
    tokio::task::yield_now().await;
    if id == $at { return Err(Failed("none".to_owned())); }
    Ok(Record$at { id, name: id.to_string(), tags: vec![], score: None, field$at: $at })
}
RUST
  done
  echo '#[tokio::main(flavor = "current_thread")] async fn main() {'
  echo '    let id = std::env::args().count() as u64;'
  for at in $(seq "$3"); do
    echo "    let _ = std::hint::black_box(find$at(id).await);"
  done
  echo '}'
}

ours="multi-tier-cached = { path = \"$root\" }"
declare -A dependency=([none]="" [l1]=$ours [l1,l2]=$ours
  [tags]=$ours
  [cached]='cached = { version = "4.1", features = ["async", "time_stores"] }')
declare -A attribute=([none]=""
  [l1]='#[multi_tier_cached(ttl = "5m", tiers = "l1")]'
  [l1,l2]='#[multi_tier_cached(ttl = "5m", tiers = "l1,l2")]'
  [tags]='#[multi_tier_cached(ttl = "5m", tiers = "l1,l2", tags = ["record:{id}"])]'
  [cached]='#[concurrent_cached(ttl_secs = 300)]')

crate() { # name, functions
  local crate=$work/${1/,/-}
  mkdir -p "$crate/src"
  cat >"$crate/Cargo.toml" <<TOML
[package]
name = "cost"
version = "0.0.0"
edition = "2024"
[dependencies]
serde = { version = "1", features = ["derive"] }
tokio = { version = "1", features = ["macros", "rt"] }
${dependency[$1]}
[profile.release]
strip = true
[workspace]
TOML
  cp "$root/Cargo.lock" "$crate/"
  generate "$1" "${attribute[$1]}" "$2" >"$crate/src/main.rs"
  echo "$crate"
}

build() { # crate
  (cd "$1" && CARGO_TARGET_DIR=$work/target cargo build --release --quiet)
}

printf '%-8s %10s %12s %12s\n' functions attribute seconds bytes
for name in ${NAMES:-none l1 l1,l2 tags cached}; do
  # The dependencies are built first, so that their time is not measured.
  build "$(crate "$name" 1)"
  directory=$(crate "$name" "$functions")
  touch "$directory/src/main.rs"
  began=$(date +%s.%N)
  build "$directory"
  seconds=$(echo "$(date +%s.%N) - $began" | bc)
  printf '%-8s %10s %12.1f %12d\n' "$functions" "$name" "$seconds" "$(stat -c %s "$work/target/release/cost")"
done

if ! cargo llvm-lines --version >/dev/null 2>&1; then
  echo "for the lines of LLVM IR, install: cargo install cargo-llvm-lines"
else
  for name in none l1 l1,l2 tags; do
    directory=$(crate "$name" 20)
    lines=$(cd "$directory" && CARGO_TARGET_DIR=$work/target cargo llvm-lines --release --bin cost 2>/dev/null)
    echo "$lines" >"${LLVM_LINES:-/dev/null}"
    lines=$(awk '/\(TOTAL\)/ { printf "%d", $1 / 20 }' <<<"$lines")
    [ "$name" != none ] || without=$lines
    echo "LLVM lines for each function, $name: $lines, which is $((lines - without)) more than without the attribute"
  done
fi
