// expect: the values of a table stand in ascending order
#include <array>
#include <pare/formats/formats.hpp>
#include <string_view>

struct Values {
#ifdef SHOULD_COMPILE
  static constexpr std::array<float, 4> values = {-1.0f, -0.25f, 0.25f, 1.0f};
#else
  static constexpr std::array<float, 4> values = {-1.0f, 0.25f, -0.25f, 1.0f};
#endif
  static constexpr std::string_view name() noexcept { return "mine"; }
};

static_assert(pare::Table<Values>::bits == 2);
