#!/usr/bin/env bash
# Runs the soak on redis-server and on Valkey 9: on one server, with failovers, with little memory
# under allkeys-lru, on a cluster, and behind sentinels.
# `scripts/soak.sh [seconds of each run]`, 90 by default. If the runs are shorter than 60 seconds,
# each topology is run once, on one of the two servers.
# If the runs are not shorter than 90 seconds, it also calls hot keys whose values become stale, and
# all shards of a cluster while something happens to one of its primaries. The tests of the soak
# contain the short form of the former.
# SOAK is the program, if it is built already; otherwise it is built with optimizations.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-90}

scripts/valkey.sh
valkey=target/valkey/valkey-server

if [ -z "${SOAK:-}" ]; then
  cargo build --release --quiet -p soak
  SOAK=target/release/soak
fi
for server in redis-server "$valkey"; do
  if [ "$seconds" -ge 60 ]; then
    topologies=(standalone failover evicting cluster sentinel)
  elif [ "$server" = redis-server ]; then
    topologies=(standalone cluster)
  else
    topologies=(failover evicting sentinel)
  fi
  for topology in "${topologies[@]}"; do
    "$SOAK" --seconds "$seconds" --topology "$topology" --server "$server"
    echo
  done
done
if [ "$seconds" -ge 90 ]; then
  "$SOAK" windows
  for server in redis-server "$valkey"; do
    "$SOAK" shards --server "$server"
  done
fi
