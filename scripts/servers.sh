#!/usr/bin/env bash
# Installs the programs that tests start (redis-server, valkey-server, memcached, openssl, tmux,
# valgrind, and prometheus with promtool) if they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v memcached >/dev/null || missing+=(memcached)
command -v openssl >/dev/null || missing+=(openssl)
command -v valgrind >/dev/null || missing+=(valgrind)
command -v tmux >/dev/null || missing+=(tmux)
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
fi

scripts/valkey.sh

# Unpacked and not installed: the package would start a server of its own, and its pages need
# eleven more packages.
unpacked=target/prometheus
if ! command -v prometheus >/dev/null && [ ! -x "$unpacked/usr/bin/promtool" ]; then
  echo "unpacking prometheus"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  [ -n "$(apt-cache policy prometheus 2>/dev/null)" ] || "${as_root[@]}" apt-get update -qq
  (cd "$work" && apt-get download -qq prometheus >/dev/null 2>&1) ||
    { "${as_root[@]}" apt-get update -qq; (cd "$work" && apt-get download -qq prometheus >/dev/null); }
  mkdir -p "$unpacked"
  dpkg-deb -x "$work"/prometheus_*.deb "$unpacked"
fi
