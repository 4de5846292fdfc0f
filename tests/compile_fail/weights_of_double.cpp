// expect: weights are float, pare::Half or pare::BFloat16
#define PARE_USE_COMPILED_KERNELS 1
#include <pare/schemes/catalog.hpp>
#include <pare/tensor/tensor.hpp>
#include <vector>

#ifdef SHOULD_COMPILE
using T = float;
#else
using T = double;
#endif

auto packed(const std::vector<T>& weights) {
  return pare::quantize<pare::catalog::Int4Group128>(weights, pare::Shape{1, weights.size()});
}
