// expect: pare: prepare takes integers of 2 to 8 bits and e2m1, which eight-bit integers hold exactly
#include <pare/tensor/tensor.hpp>

#ifdef SHOULD_COMPILE
using S = pare::Scheme<4, pare::Symmetric, pare::PerGroup<32>>;
#else
using S = pare::Scheme<pare::nf4, pare::Symmetric, pare::PerGroup<32>>;
#endif

int main() {
  const pare::Result<pare::PreparedTensor<S>> prepared = pare::prepare(pare::PackedView<S>{});
  return prepared ? 0 : 1;
}
