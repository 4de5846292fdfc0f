// expect: pare: the first parameter of Pruner must be a Saliency such as Magnitude or Wanda
#include <pare/prune/n_of_m.hpp>
#include <pare/prune/pruner.hpp>
#include <pare/prune/saliency.hpp>

struct Nameless {
#ifdef SHOULD_COMPILE
  double score(float weight) const { return weight; }
#endif
};

int main() {
  const pare::Pruner<Nameless, pare::NofM<2, 4>> pruner;
  return pruner(pare::MatrixView<const float>()) ? 0 : 1;
}
