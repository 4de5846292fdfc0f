// Prints `<kernel>/<scheme>/<target> <hash of the bytes>` for every target that is compiled and that this processor
// has, for the scalar reference and for xsimd. All lines of one kernel and scheme have the same hash, on any machine.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pare/kernels/xsimd.hpp>
#include <pare/tensor/tensor.hpp>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace pare;

class Fnv1a {
 public:
  void add(std::span<const std::uint8_t> bytes) {
    for (const std::uint8_t byte : bytes) hash_ = (hash_ ^ byte) * 0x100000001b3u;
  }
  template <class T>
  void add_values(const std::vector<T>& values) {
    for (const T& value : values) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof value);
      std::uint8_t bytes[sizeof value];
      store_le(bytes, bits, sizeof value);
      add(bytes);
    }
  }
  [[nodiscard]] unsigned long long value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

/// Heavy-tailed values made of integer arithmetic alone, with zeros of both signs, tiny and huge ones.
std::vector<float> make_values(std::size_t n) {
  std::vector<float> x(n);
  std::uint64_t state = 42;
  const auto next = [&] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::int32_t>(state >> 33);
  };
  for (float& v : x) {
    const auto sum = static_cast<float>(next() % 4096 + next() % 4096 + next() % 4096 - 6142) * 0x1p-11f;
    const std::int32_t kind = next() % 64;
    v = kind == 0 ? -0.0f : kind == 1 ? sum * 0x1p-100f : kind == 2 ? sum * 16.0f : sum;
  }
  return x;
}

constexpr Shape shape{37, 1100};
const std::vector<float> weights = make_values(shape.rows * shape.cols);
const std::vector<float> inputs = make_values(9 * shape.cols);

void require(bool ok) {
  if (!ok) std::abort();
}

template <SchemeType S, class Kernels>
PackedTensor<S> print_quantize(const char* target) {
  auto packed = quantize<S, Kernels>(weights, shape);
  require(packed.has_value());
  Fnv1a hash;
  hash.add(packed->codes());
  hash.add(packed->scales());
  hash.add(packed->zero_points());
  std::printf("quantize/%s/%s %016llx\n", std::string(name<S>()).c_str(), target, hash.value());
  return std::move(*packed);
}

template <SchemeType S, class Kernels, class T>
void print_dequantize(const PackedTensor<S>& packed, const char* kernel, const char* target) {
  std::vector<T> values(weights.size());
  require(dequantize<S, Kernels>(packed, values).has_value());
  Fnv1a hash;
  hash.add_values(values);
  std::printf("%s/%s/%s %016llx\n", kernel, std::string(name<S>()).c_str(), target, hash.value());
}

template <SchemeType S, class Kernels>
void print_matmul(const PackedTensor<S>& packed, const char* target) {
  std::vector<float> y(9 * shape.rows);
  require(matmul<S, Kernels>(packed.view(), MatrixView<const float>(inputs.data(), 9, shape.cols),
                             MatrixView<float>(y.data(), 9, shape.rows))
              .has_value());
  Fnv1a hash;
  hash.add_values(y);
  std::printf("matmul/%s/%s %016llx\n", std::string(name<S>()).c_str(), target, hash.value());
}

template <SchemeType S, class Kernels>
void print_prepared_matmul(const PackedTensor<S>& packed, ActivationScales scales, const char* kernel,
                           const char* target) {
  const auto prepared = prepare<S, Kernels>(packed);
  require(prepared.has_value());
  std::vector<float> y(9 * shape.rows);
  require(matmul<S, Kernels>(*prepared, MatrixView<const float>(inputs.data(), 9, shape.cols),
                             MatrixView<float>(y.data(), 9, shape.rows), {}, scales)
              .has_value());
  Fnv1a hash;
  hash.add_values(y);
  std::printf("%s/%s/%s %016llx\n", kernel, std::string(name<S>()).c_str(), target, hash.value());
}

template <SchemeType S, class Kernels>
void print_all(const char* target) {
  const PackedTensor<S> packed = print_quantize<S, Kernels>(target);
  print_dequantize<S, Kernels, float>(packed, "dequantize", target);
  print_dequantize<S, Kernels, Half>(packed, "dequantize-f16", target);
  print_dequantize<S, Kernels, BFloat16>(packed, "dequantize-bf16", target);
  print_matmul<S, Kernels>(packed, target);
  if constexpr (IntegerFormat<typename S::format_type> || std::same_as<typename S::format_type, E2M1>) {
    print_prepared_matmul<S, Kernels>(packed, ActivationScales::per_group, "prepared-matmul", target);
    print_prepared_matmul<S, Kernels>(packed, ActivationScales::per_row, "prepared-matmul-of-rows", target);
  }
}

template <class Kernels>
void print_lines(const char* target) {
  constexpr std::size_t group = 20, count = 300;
  std::vector<float> importance(group * count), scales(count), minimums(count);
  for (std::size_t i = 0; i < importance.size(); ++i) importance[i] = inputs[i] * inputs[i];
  std::vector<std::uint8_t> codes(group * count);
  for (const bool has_minimum : {false, true}) {
    const LineTrials trials{.lowest = has_minimum ? 0.0f : -8.0f,
                            .highest = has_minimum ? 15.0f : 7.0f,
                            .first = 0.9f,
                            .step = 0.07f,
                            .steps = 5,
                            .places = 3,
                            .has_minimum = has_minimum};
    Kernels::fit_lines(weights.data(), importance.data(), count, group, trials, scales.data(), minimums.data());
    Kernels::encode_lines(weights.data(), count, group, scales.data(), minimums.data(), trials.lowest, trials.highest,
                          codes.data());
    Fnv1a hash;
    hash.add_values(scales);
    hash.add_values(minimums);
    hash.add(codes);
    std::printf("fit-lines/%s/%s %016llx\n", has_minimum ? "minimum" : "signed", target, hash.value());
  }
}

template <Nvfp4Dialect D, class Kernels>
void print_nvfp4(const char* dialect, const char* target) {
  const auto packed = quantize_nvfp4<D, Kernels>(MatrixView<const float>(weights.data(), shape.rows, shape.cols));
  require(packed.has_value());
  std::vector<float> values(shape.rows * shape.cols);
  require(dequantize<D, Kernels>(packed->view(), values).has_value());
  Fnv1a hash;
  hash.add(packed->codes());
  hash.add(packed->scales());
  hash.add_values(values);
  std::printf("nvfp4/%s/%s %016llx\n", dialect, target, hash.value());
}

template <class Kernels>
void print_nvfp4(const char* target) {
  print_nvfp4<Nvfp4Dialect::modelopt, Kernels>("modelopt", target);
  print_nvfp4<Nvfp4Dialect::compressed_tensors, Kernels>("compressed-tensors", target);
}

/// One scheme of every kind of code, scale and block.
using Kinds = SchemeList<catalog::Int8Channel, catalog::Int5Group32, catalog::Int4Group128, catalog::Int3AsymGroup32,
                         catalog::NF4Group64, catalog::MXFP4, catalog::FP8Tensor, catalog::MXFP8E5M2>;

}  // namespace

int main() {
#if HWY_TARGETS == HWY_STATIC_TARGET
  const std::vector<std::int64_t> targets = {HWY_STATIC_TARGET};
#else
  const std::vector<std::int64_t> targets = hwy::SupportedAndGeneratedTargets();
#endif
  for (const std::int64_t target : targets) {
    hwy::SetSupportedTargetsForTest(target);
    const char* target_name = hwy::TargetName(target);
    Kinds::for_each([&]<class S>(std::type_identity<S>) { print_all<S, HighwayKernels>(target_name); });
    print_lines<HighwayKernels>(target_name);
    print_nvfp4<HighwayKernels>(target_name);
  }
  hwy::SetSupportedTargetsForTest(0);
  // AVX3 may be refined by VNNI, which is no target of its own.
  Kinds::for_each([]<class S>(std::type_identity<S>) { print_all<S, HighwayKernels>("best"); });
  Kinds::for_each([]<class S>(std::type_identity<S>) { print_all<S, ReferenceKernels>("reference"); });
  Kinds::for_each([]<class S>(std::type_identity<S>) { print_all<S, XsimdKernels>("xsimd"); });
  print_lines<ReferenceKernels>("reference");
  print_nvfp4<ReferenceKernels>("reference");
}
