// expect: pare: Wanda.* needs the activation norms of each input column: call pruner.weights, norms.
#include <pare/prune/n_of_m.hpp>
#include <pare/prune/pruner.hpp>
#include <pare/prune/saliency.hpp>
#include <vector>

int main() {
  const std::vector<float> weights(8), norms(4);
  const pare::MatrixView<const float> view(weights.data(), 2, 4);
  const pare::Pruner<pare::Wanda, pare::NofM<2, 4>> pruner;
#ifdef SHOULD_COMPILE
  return pruner(view, norms) ? 0 : 1;
#else
  return pruner(view) ? 0 : 1;
#endif
}
