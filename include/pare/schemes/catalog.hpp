#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "pare/core/core.hpp"
#include "pare/schemes/name.hpp"

namespace pare {

/// The named schemes: the one list behind tests, benchmarks, documentation and command lines.
namespace catalog {

using Int8Tensor = Scheme<8, Symmetric, PerTensor>;
using Int8Channel = Scheme<8, Symmetric, PerChannel>;
using Int8Group32 = Scheme<8, Symmetric, PerGroup<32>>;
using Int8AsymChannel = Scheme<8, Asymmetric, PerChannel>;
using Int8AsymGroup32 = Scheme<8, Asymmetric, PerGroup<32>>;
using Int6Group32 = Scheme<6, Symmetric, PerGroup<32>>;
using Int5Group32 = Scheme<5, Symmetric, PerGroup<32>>;
using Int4Channel = Scheme<4, Symmetric, PerChannel>;
using Int4Group32 = Scheme<4, Symmetric, PerGroup<32>>;
using Int4Group128 = Scheme<4, Symmetric, PerGroup<128>>;
using Int4Group32F16 = Scheme<4, Symmetric, PerGroup<32>, f16>;
using Int4AsymChannel = Scheme<4, Asymmetric, PerChannel>;
using Int4AsymGroup32 = Scheme<4, Asymmetric, PerGroup<32>>;
using Int4AsymGroup128 = Scheme<4, Asymmetric, PerGroup<128>>;
using Int4AsymGroup64F16 = Scheme<4, Asymmetric, PerGroup<64>, f16>;
using Int3Group32 = Scheme<3, Symmetric, PerGroup<32>>;
using Int3AsymGroup32 = Scheme<3, Asymmetric, PerGroup<32>>;
using Int3AsymGroup64F16 = Scheme<3, Asymmetric, PerGroup<64>, f16>;
using Int2Group32 = Scheme<2, Symmetric, PerGroup<32>>;
using Int2AsymGroup32 = Scheme<2, Asymmetric, PerGroup<32>>;
using Int2AsymGroup64F16 = Scheme<2, Asymmetric, PerGroup<64>, f16>;
using NF4Group32 = Scheme<nf4, Symmetric, PerGroup<32>>;
using NF4Group64 = Scheme<nf4, Symmetric, PerGroup<64>>;
using MXFP4 = Scheme<e2m1, Symmetric, PerGroup<32>, e8m0>;
using MXFP8 = Scheme<e4m3, Symmetric, PerGroup<32>, e8m0>;
using MXFP8E5M2 = Scheme<e5m2, Symmetric, PerGroup<32>, e8m0>;
using FP8Tensor = Scheme<e4m3, Symmetric, PerTensor>;
using FP8Channel = Scheme<e4m3, Symmetric, PerChannel>;
using FP8Block128 = Scheme<e4m3, Symmetric, PerBlock<128, 128>>;
using FP8E5M2Tensor = Scheme<e5m2, Symmetric, PerTensor>;

}  // namespace catalog

/// A list of schemes that functions can be called over.
template <SchemeType... S>
struct SchemeList {
  static constexpr std::size_t size = sizeof...(S);
  static constexpr std::array<std::string_view, size> names = {pare::name<S>()...};

  /// Calls f(std::type_identity<S>{}) for each scheme, in order.
  template <class Function>
  static constexpr void for_each(Function&& f) {
    (f(std::type_identity<S>{}), ...);
  }
};

using Catalog =
    SchemeList<catalog::Int8Tensor, catalog::Int8Channel, catalog::Int8Group32, catalog::Int8AsymChannel,
               catalog::Int8AsymGroup32, catalog::Int6Group32, catalog::Int5Group32, catalog::Int4Channel,
               catalog::Int4Group32, catalog::Int4Group128, catalog::Int4Group32F16, catalog::Int4AsymChannel,
               catalog::Int4AsymGroup32, catalog::Int4AsymGroup128, catalog::Int4AsymGroup64F16, catalog::Int3Group32,
               catalog::Int3AsymGroup32, catalog::Int3AsymGroup64F16, catalog::Int2Group32, catalog::Int2AsymGroup32,
               catalog::Int2AsymGroup64F16, catalog::NF4Group32, catalog::NF4Group64, catalog::MXFP4, catalog::MXFP8,
               catalog::MXFP8E5M2, catalog::FP8Tensor, catalog::FP8Channel, catalog::FP8Block128,
               catalog::FP8E5M2Tensor>;

/// Short names that the field uses, and the scheme each stands for.
inline constexpr std::array<std::pair<std::string_view, std::string_view>, 8> scheme_aliases = {{
    {"int8", name<catalog::Int8Channel>()},
    {"int4", name<catalog::Int4Group128>()},
    {"nf4", name<catalog::NF4Group64>()},
    {"mxfp4", name<catalog::MXFP4>()},
    {"mxfp8", name<catalog::MXFP8>()},
    {"fp8", name<catalog::FP8Tensor>()},
    {"fp8-channel", name<catalog::FP8Channel>()},
    {"fp8-block", name<catalog::FP8Block128>()},
}};

/// The full name behind a short one; any other text comes back as it is.
constexpr std::string_view resolve_alias(std::string_view text) noexcept {
  for (const auto& [alias, full] : scheme_aliases)
    if (alias == text) return full;
  return text;
}

/// Calls f(std::type_identity<S>{}) for the scheme of the catalog that `text` names and returns what f does, which must
/// be a Result; an error that lists the known names if there is none.
template <class Function>
auto with_scheme(std::string_view text, Function&& f) -> decltype(f(std::type_identity<catalog::Int8Tensor>{})) {
  using R = decltype(f(std::type_identity<catalog::Int8Tensor>{}));
  const std::string_view wanted = resolve_alias(text);
  std::string known;
  R result = Error{ErrorCode::invalid_argument, {}};
  bool found = false;
  Catalog::for_each([&]<class S>(std::type_identity<S> scheme) {
    if (found || name<S>() != wanted) {
      known.append(known.empty() ? "" : ", ").append(name<S>());
      return;
    }
    found = true;
    result = f(scheme);
  });
  if (!found)
    return Error{ErrorCode::invalid_argument,
                 "unknown scheme \"" + std::string(text) + "\"; the known ones are " + known};
  return result;
}

}  // namespace pare
