#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "pare/schemes/scheme.hpp"

namespace pare {

namespace detail {

/// A string built at compile time.
struct NameBuffer {
  std::array<char, 48> text{};
  std::size_t length = 0;

  constexpr void add(std::string_view part) noexcept {
    for (const char c : part) text[length++] = c;
  }
  constexpr void add(std::size_t number) noexcept {
    if (number >= 10) add(number / 10);
    text[length++] = static_cast<char>('0' + number % 10);
  }
};

template <class G>
constexpr void add_granularity(NameBuffer& name) noexcept {
  if constexpr (G::block_rows == whole && G::block_cols == whole) {
    name.add("-tensor");
  } else if constexpr (G::block_rows == 1 && G::block_cols == whole) {
    name.add("-channel");
  } else if constexpr (G::block_rows == 1) {
    name.add("-g");
    name.add(G::block_cols);
  } else {
    name.add("-b");
    name.add(G::block_rows);
    name.add("x");
    name.add(G::block_cols);
  }
}

template <SchemeType S>
constexpr NameBuffer build_name() noexcept {
  using F = typename S::format_type;
  NameBuffer name;
  name.add(S::has_zero_point ? F::name().substr(1) : F::name());  // "uint4" without its u: "-asym" says it
  if constexpr (S::has_zero_point) name.add("-asym");
  add_granularity<typename S::granularity_type>(name);
  if constexpr (S::scale_type::kind != FormatKind::float32) {
    name.add("-");
    name.add(S::scale_type::name());
  }
  return name;
}

template <SchemeType S>
inline constexpr NameBuffer scheme_name = build_name<S>();

}  // namespace detail

/// The scheme's name, from its parts: FORMAT[-asym]-(tensor | channel | gN | bRxC)[-SCALE], as in "int4-g128",
/// "int4-asym-g32", "e2m1-g32-e8m0", "e4m3-b128x128".
template <SchemeType S>
constexpr std::string_view name() noexcept {
  return {detail::scheme_name<S>.text.data(), detail::scheme_name<S>.length};
}

}  // namespace pare
