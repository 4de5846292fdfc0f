#!/usr/bin/env bash
# Builds everything and runs every test.
#
#   tests/run.sh [--asan | --all] [argument of ctest ...]
#
# --asan runs the unit tests alone, under the address and undefined-behaviour sanitizers, but for whole-model perplexities;
# --all (or CI=true) runs those first and then everything. The exit code is ctest's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source cmake/install-packages.sh

presets=(release)
[ "${CI:-}" != true ] || presets=(asan release)
case "${1:-}" in
  --asan) presets=(asan) && shift ;;
  --all) presets=(asan release) && shift ;;
esac

install_packages build test extra
for preset in "${presets[@]}"; do
  cmake --preset "$preset"
  cmake --build --preset "$preset" -j "$(nproc)"
  ctest --preset "$preset" -j "$(nproc)" --timeout 900 "$@"
done
