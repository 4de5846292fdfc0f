#!/usr/bin/env bash
# What a translation unit pays for pare: user seconds of compiling one that quantizes to INT4, and the bytes of code in its
# object file, header-only and with the compiled kernels. Names of compilers may be given as arguments.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/empty.cpp" <<'CPP'
#include <span>
#include <vector>
CPP
cat > "$work/consumer.cpp" <<'CPP'
#include <pare/pare.hpp>

using W4 = pare::Scheme<4, pare::Symmetric, pare::PerGroup<128>>;

pare::Result<pare::PackedTensor<W4>> pack(std::span<const float> weights, pare::Shape shape) {
  return pare::quantize<W4>(weights, shape);
}
CPP

eigen=$(pkg-config --cflags-only-I eigen3 2>/dev/null || echo -I/usr/include/eigen3)
targets='-DHWY_DISABLED_TARGETS=(HWY_AVX3_DL|HWY_SVE|HWY_SVE2|HWY_SVE_256|HWY_SVE2_128|HWY_RVV)'

measure() {  # compiler, label, source, flags...
  local compiler=$1 label=$2 source=$3
  shift 3
  local best="" seconds text
  for _ in 1 2 3; do
    seconds=$(TIMEFORMAT=%U; { time "$compiler" -std=c++20 -O2 -I"$root/include" $eigen "$targets" "$@" \
      -c "$work/$source.cpp" -o "$work/out.o" 2>"$work/errors"; } 2>&1) || { cat "$work/errors" >&2; exit 1; }
    if [ -z "$best" ] || awk "BEGIN { exit !($seconds < $best) }"; then best=$seconds; fi
  done
  text=$(size "$work/out.o" | awk 'NR == 2 { print $1 }')
  printf '%-12s %-22s %8s s %10s bytes\n' "$compiler" "$label" "$best" "$text"
}

[ $# -gt 0 ] || set -- g++ clang++-14 clang++-19 clang++
for compiler in "$@"; do
  command -v "$compiler" >/dev/null || continue
  measure "$compiler" "<span>, <vector> alone" empty
  measure "$compiler" "header-only" consumer
  measure "$compiler" "static dispatch" consumer -DPARE_STATIC_DISPATCH
  measure "$compiler" "compiled kernels" consumer -DPARE_USE_COMPILED_KERNELS=1
done
