#!/usr/bin/env bash
# Every goal, met or missed, in one run: beside the machine (pare_bench_goals), beside other libraries (pare_bench_peers),
# again with everybody kept to AVX2 where ggml's backend for it is given, and what an include costs.
#
#   goals.sh [BUILD_FOLDER, build/release by default] [FILE of ggml's AVX2 backend]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
programs=${1:-build/release}/bin

"$programs/pare_bench_goals"
if [ -x "$programs/pare_bench_peers" ]; then
  "$programs/pare_bench_peers"
  if [ $# -ge 2 ]; then
    printf '\nEverybody kept to AVX2:\n'
    "$programs/pare_bench_peers" --avx2 "$2"
  fi
else
  echo "no peers: pare_bench_peers was not built" >&2
fi
echo
"$here/compile_time.sh" "${CXX:-g++}"
