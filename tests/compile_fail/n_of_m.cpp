// expect: pare: NofM<N, M> keeps N of every M columns: N must be at least 1 and at most M
#include <pare/prune/n_of_m.hpp>
#include <pare/prune/pruner.hpp>
#include <pare/prune/saliency.hpp>

#ifdef SHOULD_COMPILE
using Pattern = pare::NofM<2, 4>;
#else
using Pattern = pare::NofM<4, 2>;
#endif

int main() {
  const pare::Pruner<pare::Magnitude, Pattern> pruner;
  return pruner(pare::MatrixView<const float>()) ? 0 : 1;
}
