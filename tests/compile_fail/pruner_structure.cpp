// expect: pare: the second parameter of Pruner must be a Structure such as Unstructured<PerRow> or NofM<2, 4>
#include <pare/prune/pruner.hpp>
#include <pare/prune/saliency.hpp>
#include <pare/prune/unstructured.hpp>

#ifdef SHOULD_COMPILE
using Pattern = pare::Unstructured<pare::PerRow>;
#else
using Pattern = pare::PerRow;
#endif

int main() {
  const pare::Pruner<pare::Magnitude, Pattern> pruner;
  return pruner(pare::MatrixView<const float>()) ? 0 : 1;
}
