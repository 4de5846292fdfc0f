#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <vector>

namespace io {

/// Finds the elements of a vector by their member `name`.
class NameIndex {
 public:
  NameIndex() = default;

  /// Indexes the elements as they are now.
  template <class T>
  explicit NameIndex(const std::vector<T>& elements) : order_(elements.size()) {
    for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = i;
    std::ranges::sort(order_, {}, [&](std::size_t i) -> std::string_view { return elements[i].name; });
  }

  /// The element of that name among those that were indexed, or nullptr.
  template <class T>
  [[nodiscard]] const T* find(const std::vector<T>& elements, std::string_view name) const noexcept {
    const auto name_of = [&](std::size_t i) -> std::string_view { return elements[i].name; };
    const auto found = std::ranges::lower_bound(order_, name, {}, name_of);
    return found != order_.end() && name_of(*found) == name ? &elements[*found] : nullptr;
  }

 private:
  std::vector<std::size_t> order_;  ///< indices, sorted by name
};

}  // namespace io
