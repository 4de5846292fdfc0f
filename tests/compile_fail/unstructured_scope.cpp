// expect: pare: Unstructured<Scope> takes PerRow, PerLayer, PerLayerThreshold or PerLayerKthValue as its scope
#include <pare/prune/pruner.hpp>
#include <pare/prune/saliency.hpp>
#include <pare/prune/unstructured.hpp>

#ifdef SHOULD_COMPILE
using Scope = pare::PerLayer;
#else
using Scope = int;
#endif

int main() {
  const pare::Pruner<pare::Magnitude, pare::Unstructured<Scope>> pruner;
  return pruner(pare::MatrixView<const float>()) ? 0 : 1;
}
