#!/usr/bin/env bash
# Builds the llama program and compresses a LLaMA with it: the bundled one, or the model at the path given.
#
#   examples/quickstart.sh [MODEL]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/cmake/install-packages.sh"

install_packages build
(
  cd "$root"
  cmake --preset examples
  cmake --build --preset examples --target llama -j "$(nproc)"
)
exec "$root/build/examples/bin/llama" quickstart "${1:-$root/examples/models/tiny-llama}"
