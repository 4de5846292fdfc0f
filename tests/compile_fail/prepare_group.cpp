// expect: pare: prepare takes groups of a multiple of 32 columns
#include <pare/tensor/tensor.hpp>

#ifdef SHOULD_COMPILE
using S = pare::Scheme<4, pare::Symmetric, pare::PerGroup<96>>;
#else
using S = pare::Scheme<4, pare::Symmetric, pare::PerGroup<48>>;
#endif

int main() {
  const pare::Result<pare::PreparedTensor<S>> prepared = pare::prepare(pare::PackedView<S>{});
  return prepared ? 0 : 1;
}
