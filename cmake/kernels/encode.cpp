#include <vector>

#include "pare/kernels/compiled.hpp"
#include "pare/kernels/highway.hpp"

namespace pare {

template <Element T>
void CompiledKernels::find_range(const T* x, std::size_t n, std::size_t group, Range* ranges,
                                 std::size_t following) noexcept {
  HighwayKernels::find_range(x, n, group, ranges, following);
}

template <Symmetry Rule, ScaleFormat S>
void CompiledKernels::derive_parameters(const Range* ranges, std::size_t n, float format_max,
                                        BlockParameters* parameters) noexcept {
  HighwayKernels::derive_parameters<Rule, S>(ranges, n, format_max, parameters);
}

template <Symmetry Rule, ScaleFormat S, Element T>
void CompiledKernels::find_parameters(const T* x, std::size_t n, std::size_t group, float format_max,
                                      BlockParameters* parameters, std::uint8_t* scales,
                                      std::uint8_t* zero_points) noexcept {
  HighwayKernels::find_parameters<Rule, S>(x, n, group, format_max, parameters, scales, zero_points);
}

template <class F, class T>
void CompiledKernels::encode_codes(const T* x, std::size_t n, std::size_t group, const BlockParameters* parameters,
                                   std::uint8_t* codes, std::size_t following) noexcept {
  HighwayKernels::encode<F>(x, n, group, parameters, codes, following);
}

template <Nvfp4Dialect D, Element T>
bool CompiledKernels::encode_nvfp4(const T* x, std::size_t n, float tensor_scale, std::uint8_t* codes,
                                   std::uint8_t* scales, std::size_t following) noexcept {
  return HighwayKernels::encode_nvfp4<D>(x, n, tensor_scale, codes, scales, following);
}

namespace {

using Function = void (*)();

template <class T, class... F>
void add_element(std::vector<Function>& kept, FormatList<F...>) {
  kept.push_back(reinterpret_cast<Function>(&CompiledKernels::find_range<T>));
  (kept.push_back(reinterpret_cast<Function>(&CompiledKernels::encode_codes<F, T>)), ...);
  kept.push_back(reinterpret_cast<Function>(&CompiledKernels::encode_nvfp4<Nvfp4Dialect::modelopt, T>));
  kept.push_back(reinterpret_cast<Function>(&CompiledKernels::encode_nvfp4<Nvfp4Dialect::compressed_tensors, T>));
}

template <class Rule, class S>
void add_scaling(std::vector<Function>& kept) {
  kept.push_back(reinterpret_cast<Function>(&CompiledKernels::derive_parameters<Rule, S>));
  kept.push_back(reinterpret_cast<Function>(&CompiledKernels::find_parameters<Rule, S, float>));
  kept.push_back(reinterpret_cast<Function>(&CompiledKernels::find_parameters<Rule, S, Half>));
  kept.push_back(reinterpret_cast<Function>(&CompiledKernels::find_parameters<Rule, S, BFloat16>));
}

template <class... S>
void add_scalings(std::vector<Function>& kept, FormatList<S...>) {
  const auto add_asymmetric = [&]<class T>(std::type_identity<T>) {
    if constexpr (T::kind != FormatKind::exponent) add_scaling<Asymmetric, T>(kept);
  };
  (add_scaling<Symmetric, S>(kept), ...);
  (add_asymmetric(std::type_identity<S>{}), ...);
}

}  // namespace

/// Never called: naming their addresses here instantiates the templates for the whole list.
std::vector<Function> encode_kernels() {
  std::vector<Function> kept;
  add_element<float>(kept, CodeFormats{});
  add_element<Half>(kept, CodeFormats{});
  add_element<BFloat16>(kept, CodeFormats{});
  add_scalings(kept, ScaleFormats{});
  return kept;
}

}  // namespace pare
