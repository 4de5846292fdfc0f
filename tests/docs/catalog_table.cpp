// Prints the README's table: one row for each scheme of the catalog.
#include <fmt/core.h>

#include <string>

#include "pare/schemes/schemes.hpp"
#include "pare/tensor/packed.hpp"

namespace {

using namespace pare;

template <Format F>
std::string values() {
  if constexpr (IntegerFormat<F>)
    return fmt::format("{} .. {}", UnsignedFormat<F> ? 0 : -F::highest, F::highest);
  else if constexpr (TableFormat<F>)
    return fmt::format("{} values, {} .. {}", F::size, F::values.front(), F::values.back());
  else
    return fmt::format("±{}, {} exponent and {} mantissa bits", F::max, F::layout.exponent, F::layout.mantissa);
}

}  // namespace

int main() {
  fmt::print("| scheme | short name | codes | scale | bits per weight, 4096 x 4096 |\n|---|---|---|---|---|\n");
  Catalog::for_each([]<class S>(std::type_identity<S>) {
    std::string aliases;
    for (const auto& [alias, full] : scheme_aliases)
      if (full == name<S>()) aliases += fmt::format("{}`{}`", aliases.empty() ? "" : ", ", alias);
    const auto sizes = packed_sizes<S>({4096, 4096});
    fmt::print("| `{}` | {} | {} | {}{} | {:.3f} |\n", name<S>(), aliases, values<typename S::format_type>(),
               S::scale_type::name(), S::has_zero_point ? " and zero point" : "",
               8.0 * static_cast<double>(sizes->total()) / (4096.0 * 4096.0));
  });
}
