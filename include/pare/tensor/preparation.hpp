#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "pare/tensor/operand.hpp"
#include "pare/tensor/packed.hpp"

namespace pare::detail {

/// How a scheme's codes and scales stand in a PreparedTensor.
template <SchemeType S>
struct Preparation {
  using format_type = typename S::format_type;
  using scale_type = typename S::scale_type;
  static constexpr bool is_integer = IntegerFormat<format_type>, is_e2m1 = std::is_same_v<format_type, E2M1>;
  static constexpr std::size_t columns = S::granularity_type::block_cols;
  static constexpr bool shares_row = columns == whole;
  static constexpr bool can_prepare = (is_integer || is_e2m1) && (shares_row || columns % prepared_unit == 0);
  using codes_type =
      std::conditional_t<is_e2m1, PreparedE2M1, std::conditional_t<(S::bits <= 4), PreparedNibbles, PreparedBytes>>;
  /// The columns that share a scale of the activations: the largest of 128, 64 and 32 that divides the scheme's group.
  static constexpr std::size_t group = shares_row || columns % 128 == 0 ? 128 : columns % 64 == 0 ? 64 : 32;
  /// What turns a code into its integer.
  static constexpr std::uint32_t flip = is_integer && !S::has_zero_point ? 1u << (S::bits - 1) : 0u;
  /// The integer of the value 0; 1 where zero points are multiplied with it.
  static constexpr std::int32_t offset = is_e2m1 ? 12 : S::has_zero_point ? 1 : std::int32_t{1} << (S::bits - 1);
  /// The value of the integer 1 at a scale of 1.
  static constexpr float unit = is_e2m1 ? 0.5f : 1.0f;
  static constexpr PreparedScale scale = is_integer && std::is_same_v<scale_type, F16> ? PreparedScale::float16
                                         : (is_integer && std::is_same_v<scale_type, BF16>) || scale_type::bits == 8
                                             ? PreparedScale::bfloat16
                                             : PreparedScale::float32;

  static void store_scale(std::uint32_t stored, std::uint8_t* p) noexcept {
    const float value = scale_type::decode(stored) * unit;
    if constexpr (scale == PreparedScale::float32) {
      std::memcpy(p, &value, sizeof value);
    } else {
      const auto narrow = static_cast<std::uint16_t>(
          scale == PreparedScale::float16 ? stored : std::bit_cast<std::uint32_t>(value) >> 16);
      std::memcpy(p, &narrow, sizeof narrow);
    }
  }
};

/// Whether weights of the scheme can be prepared is known when it compiles; their pointers are looked at here.
template <SchemeType S>
Result<void> check_prepared(const PackedView<S>& packed) {
  using P = Preparation<S>;
  static_assert(P::is_integer || P::is_e2m1,
                "pare: prepare takes integers of 2 to 8 bits and e2m1, which eight-bit integers hold exactly; multiply "
                "other formats by matmul with the packed tensor");
  static_assert(P::shares_row || P::columns % prepared_unit == 0,
                "pare: prepare takes groups of a multiple of 32 columns; multiply others by matmul with the packed "
                "tensor");
  if (packed.shape.rows != 0 && packed.shape.cols != 0 &&
      (packed.codes == nullptr || packed.scales == nullptr || (S::has_zero_point && packed.zero_points == nullptr)))
    return Error{ErrorCode::invalid_argument, "pare: a part of the packed weights is a null pointer"};
  return {};
}

/// How rows of activations are divided: into groups of columns, with scales and offsets for each, for each half of one
/// or for whole rows.
struct ActivationGroups {
  std::size_t groups = 0, columns = 0;
  bool has_halves = false, one_scale = false, one_offset = false;

  [[nodiscard]] std::size_t scales() const noexcept { return one_scale ? 1 : groups; }
  [[nodiscard]] std::size_t offsets() const noexcept { return one_offset ? 1 : groups * (has_halves ? 2 : 1); }
};

/// Rows of activations as integers, in batches of prepared_batch rows, in one allocation.
class ActivationBatches {
 public:
  static Result<ActivationBatches> allocate(std::size_t rows, const ActivationGroups& groups,
                                            std::pmr::memory_resource* memory) {
    ActivationBatches batches(rows, groups);
    std::size_t parameters = 0, codes = 0, total = 0;
    if (!checked_multiply(rows, groups.groups, parameters) || !checked_multiply(parameters, groups.columns, codes) ||
        !checked_multiply(codes, 2, total))
      return Error{ErrorCode::out_of_memory, "pare: the quantized activations do not fit the address space"};
    Result<Buffer> buffer = Buffer::allocate(
        codes + rows * (groups.scales() * sizeof(float) + groups.offsets() * sizeof(std::int32_t)), memory);
    if (!buffer) return std::move(buffer).error();
    batches.buffer_ = *std::move(buffer);
    return batches;
  }

  [[nodiscard]] std::size_t count() const noexcept { return ceil_div(rows_, prepared_batch); }
  [[nodiscard]] QuantizedActivations operator[](std::size_t batch) noexcept {
    const std::size_t first = batch * prepared_batch, rows = std::min(prepared_batch, rows_ - first);
    const std::size_t columns = groups_.groups * groups_.columns;
    std::byte* const scales = buffer_.data() + rows_ * columns;
    std::byte* const offsets = scales + rows_ * groups_.scales() * sizeof(float);
    return {reinterpret_cast<std::int8_t*>(buffer_.data()) + first * columns,
            reinterpret_cast<float*>(scales) + first * groups_.scales(),
            reinterpret_cast<std::int32_t*>(offsets) + first * groups_.offsets(),
            rows,
            groups_.one_scale ? 0 : rows,
            groups_.one_offset ? 0 : rows,
            groups_.has_halves};
  }

 private:
  ActivationBatches(std::size_t rows, const ActivationGroups& groups) : rows_(rows), groups_(groups) {}

  std::size_t rows_;
  ActivationGroups groups_;
  Buffer buffer_;
};

}  // namespace pare::detail
