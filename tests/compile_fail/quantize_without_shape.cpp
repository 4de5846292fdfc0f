// expect: ShapedMatrix|no matching function
#define PARE_USE_COMPILED_KERNELS 1
#include <pare/schemes/catalog.hpp>
#include <pare/tensor/tensor.hpp>
#include <vector>

auto packed(const std::vector<float>& weights) {
#ifdef SHOULD_COMPILE
  return pare::quantize<pare::catalog::Int4Group128>(weights, pare::Shape{1, weights.size()});
#else
  return pare::quantize<pare::catalog::Int4Group128>(weights);
#endif
}
