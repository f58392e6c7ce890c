#!/bin/sh
# Compiler of the packages of this workspace, with `--cfg schedules`: locks and atomic numbers are
# then those of loom and shuttle. As RUSTC_WORKSPACE_WRAPPER it leaves the dependencies as they are,
# which RUSTFLAGS does not, so they need not be built again.
exec "$@" --cfg schedules
