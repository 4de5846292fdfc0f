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

install_packages build test extra

# clang's sanitizers build in two thirds of the time of gcc's, and the release is gcc's anyway.
asan=asan-gcc
echo 'int main() {}' | clang++-19 -fsanitize=address,undefined -x c++ - -o /dev/null 2>/dev/null && asan=asan

presets=(release)
[ "${CI:-}" != true ] || presets=("$asan" release)
case "${1:-}" in
  --asan) presets=("$asan") && shift ;;
  --all) presets=("$asan" release) && shift ;;
esac

for preset in "${presets[@]}"; do
  cmake --preset "$preset"
  cmake --build --preset "$preset" -j "$(nproc)"
  ctest --preset "$preset" -j "$(nproc)" --timeout 900 "$@"
done
