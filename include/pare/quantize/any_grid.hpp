#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include "pare/quantize/scheme_grid.hpp"

namespace pare {

/// A grid chosen at run time: one instance of an algorithm then serves every scheme, for an indirect call a weight.
class AnyGrid {
 public:
  /// The grid of the catalog's scheme of that name. Error: an unknown name, with the list of the known ones.
  template <class = void>  // so that only a caller compiles every scheme's grid
  static Result<AnyGrid> named(std::string_view scheme) {
    return with_scheme(scheme, []<class S>(std::type_identity<S>) -> Result<AnyGrid> { return of<SchemeGrid<S>>(); });
  }
  /// Any grid without members.
  template <BlockedGrid G>
    requires std::is_empty_v<G>
  static AnyGrid of() {
    AnyGrid any;
    any.format_ = G{}.format();
    any.shift_kind_ = G{}.shift_kind();
    any.scale_type_ = G{}.scale_type();
    any.block_ = [](Shape shape) { return G{}.block(shape); };
    any.fit_ = [](std::span<const float> block) { return G{}.fit(block); };
    any.encode_ = [](float x, const BlockGrid& fitted) { return G{}.encode(x, fitted); };
    any.decode_ = [](std::uint8_t code, const BlockGrid& fitted) { return G{}.decode(code, fitted); };
    return any;
  }

  [[nodiscard]] CodeFormat format() const { return format_; }
  [[nodiscard]] ShiftKind shift_kind() const { return shift_kind_; }
  [[nodiscard]] ScaleType scale_type() const { return scale_type_; }
  [[nodiscard]] Shape block(Shape shape) const { return block_(shape); }
  [[nodiscard]] BlockGrid fit(std::span<const float> block) const { return fit_(block); }
  [[nodiscard]] std::uint8_t encode(float x, const BlockGrid& fitted) const { return encode_(x, fitted); }
  [[nodiscard]] float decode(std::uint8_t code, const BlockGrid& fitted) const { return decode_(code, fitted); }

 private:
  AnyGrid() = default;

  CodeFormat format_;
  ShiftKind shift_kind_ = ShiftKind::none;
  ScaleType scale_type_ = ScaleType::float32;
  Shape (*block_)(Shape) = nullptr;
  BlockGrid (*fit_)(std::span<const float>) = nullptr;
  std::uint8_t (*encode_)(float, const BlockGrid&) = nullptr;
  float (*decode_)(std::uint8_t, const BlockGrid&) = nullptr;
};

static_assert(BlockedGrid<AnyGrid>);

}  // namespace pare
