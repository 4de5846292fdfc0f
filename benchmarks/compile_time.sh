#!/usr/bin/env bash
# What a translation unit pays for pare: user seconds of compiling an include of everything, for which there are goals, and
# a file that also quantizes to INT4, with the bytes of code in its object file; both again from a precompiled header.
# Names of compilers may be given as arguments.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/standard.cpp" <<'CPP'
#include <span>
#include <vector>
CPP
cat > "$work/include.cpp" <<'CPP'
#include <pare/pare.hpp>
CPP
cat > "$work/quantize.cpp" <<'CPP'
#include <pare/pare.hpp>

using W4 = pare::Scheme<4, pare::Symmetric, pare::PerGroup<128>>;

pare::Result<pare::PackedTensor<W4>> pack(std::span<const float> weights, pare::Shape shape) {
  return pare::quantize<W4>(weights, shape);
}
CPP

eigen=$(pkg-config --cflags-only-I eigen3 2>/dev/null || echo -I/usr/include/eigen3)
targets='-DHWY_DISABLED_TARGETS=(HWY_AVX3_DL|HWY_SVE|HWY_SVE2|HWY_SVE_256|HWY_SVE2_128|HWY_RVV)'

compile() {  # arguments of the compiler
  "$compiler" -std=c++20 -O2 -I"$root/include" $eigen "$targets" "$@" 2>"$work/errors" || { cat "$work/errors" >&2; exit 1; }
}

user_seconds() {  # the best of three; arguments of the compiler
  compile "$@" -o "$work/out.o"  # what fails, fails here
  for _ in 1 2 3; do
    (TIMEFORMAT=%U; time compile "$@" -o "$work/out.o") 2>&1
  done | sort -n | head -1
}

row() {  # what, seconds, goal or nothing, bytes or nothing
  local verdict=""
  [ -z "$3" ] || verdict=$(awk "BEGIN { print $2 <= $3 ? \"met\" : \"missed\" }")
  echo "| $compiler | $1 | $2 | $3 | $verdict | $4 |"
}

measure() {  # what, the include's goal in seconds, flags...
  local what=$1 goal=$2
  shift 2
  local seconds
  seconds=$(user_seconds "$@" -c "$work/include.cpp")
  row "include, $what" "$seconds" "$goal" ""
  seconds=$(user_seconds "$@" -c "$work/quantize.cpp")
  row "quantize, $what" "$seconds" "" "$(size "$work/out.o" | awk 'NR == 2 { print $1 }')"
  # Both compilers look for include.cpp.gch or .pch where -include names include.cpp.
  local precompiled=(-include "$work/include.cpp")
  if "$compiler" --version | grep -q clang; then
    compile "$@" -x c++-header "$work/include.cpp" -o "$work/include.cpp.pch"
  else
    compile "$@" -x c++-header "$work/include.cpp" -o "$work/include.cpp.gch"
  fi
  seconds=$(user_seconds "$@" "${precompiled[@]}" -c "$work/standard.cpp")
  row "include, $what, precompiled" "$seconds" "" ""
  seconds=$(user_seconds "$@" "${precompiled[@]}" -c "$work/quantize.cpp")
  row "quantize, $what, precompiled" "$seconds" "" ""
  rm -f "$work"/include.cpp.?ch
}

[ $# -gt 0 ] || set -- g++ clang++-14 clang++-19 clang++
echo '| compiler | what | user seconds | goal | | bytes of code |'
echo '|---|---|---|---|---|---|'
for compiler in "$@"; do
  command -v "$compiler" >/dev/null || continue
  own=$(user_seconds -c "$work/standard.cpp")
  row "\`<span>\` and \`<vector>\` alone" "$own" "" ""
  measure "header-only" 1.5
  measure "static dispatch" "" -DPARE_STATIC_DISPATCH
  measure "compiled kernels" "$(awk "BEGIN { print $own + 0.1 }")" -DPARE_USE_COMPILED_KERNELS=1
done
