#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "io/gguf.hpp"
#include "io/json.hpp"

namespace io {

namespace {

template <class T>
constexpr bool is_array = false;
template <class... T>
constexpr bool is_array<std::variant<T...>> = true;

}  // namespace

std::optional<std::uint64_t> as_unsigned(const GgufValue& value) noexcept {
  return std::visit(
      [](const auto& held) -> std::optional<std::uint64_t> {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          if (std::in_range<std::uint64_t>(held)) return static_cast<std::uint64_t>(held);
        }
        return std::nullopt;
      },
      value);
}

std::string to_text(const GgufValue& value) {
  constexpr std::size_t shown = 8;
  const auto scalar = [](const auto& element) {
    if constexpr (std::is_same_v<std::decay_t<decltype(element)>, std::string>)
      return element;
    else
      return fmt::format("{}", element);
  };
  const auto array = [&](const auto& elements) -> std::string {
    if constexpr (std::is_same_v<std::decay_t<decltype(elements)>, std::monostate>) {
      return {};
    } else {
      using T = typename std::decay_t<decltype(elements)>::value_type;
      std::string text = "[";
      for (std::size_t i = 0; i < std::min(elements.size(), shown); ++i) {
        const T element = elements[i];
        if (i > 0) text += ", ";
        if constexpr (std::is_same_v<T, std::string>)
          text += quote(element);
        else
          text += scalar(element);
      }
      return elements.size() > shown ? fmt::format("{}, ...] ({} elements)", text, elements.size()) : text + "]";
    }
  };
  return std::visit(
      [&](const auto& held) {
        if constexpr (is_array<std::decay_t<decltype(held)>>)
          return std::visit(array, held);
        else
          return scalar(held);
      },
      value);
}

}  // namespace io
