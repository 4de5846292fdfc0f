// expect: pare: a pipe scales inputs first
#include <pare/quantize/quantize.hpp>

int main() {
#ifdef SHOULD_COMPILE
  const auto recipe = pare::pipe(pare::SmoothQuant{}, pare::RandomizedHadamard{}, pare::RoundToNearest{});
#else
  const auto recipe = pare::pipe(pare::RandomizedHadamard{}, pare::SmoothQuant{}, pare::RoundToNearest{});
#endif
  return recipe.keeps_groups() ? 0 : 1;
}
