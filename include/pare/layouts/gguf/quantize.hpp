#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "pare/core/core.hpp"
#include "pare/layouts/gguf/decode.hpp"
#include "pare/layouts/gguf/rule_encoders.hpp"
#include "pare/layouts/gguf/searched_encoders.hpp"

namespace pare::gguf {

/// How quantize() works.
struct QuantizeOptions {
  /// How much the squared error of each column counts, the mean square of its activations as a rule; empty: all the
  /// same. Types that cannot use it (Q8_0, Q1_0, Q2_0, ternary, MXFP4, NVFP4) do without, as ggml's do.
  std::span<const float> importance{};
  Executor executor = serial;
};

namespace detail {

/// Replaces NaN by zero and infinities by the largest finite magnitude, with their signs.
template <std::size_t N>
constexpr void mend(std::span<float, N> values) noexcept {
  float peak = 0.0f;
  for (const float v : values) peak = is_finite(v) && magnitude(v) > peak ? magnitude(v) : peak;
  for (float& v : values) v = is_nan(v) ? 0.0f : is_finite(v) ? v : v < 0.0f ? -peak : peak;
}

template <std::size_t N>
constexpr bool all_finite(std::span<const float, N> values) noexcept {
  std::uint32_t others = 0;  // counted, which vectorizes
  for (const float v : values) others += is_finite(v) ? 0u : 1u;
  return others == 0;
}

}  // namespace detail

/// Encodes one block: by the type's rule, or by a search where the type has none or `importance`, one weight per value,
/// is not empty. NaN counts as zero, an infinity as the largest finite magnitude of the block with its sign.
template <BlockType T>
constexpr void encode_block(ConstBlockValues<T> values, BlockBytes<T> block,
                            std::span<const float> importance = {}) noexcept {
  std::array<float, block_info<T>.elements> mended{};
  const bool finite = detail::all_finite(values);
  if (!finite) {
    for (std::size_t i = 0; i < mended.size(); ++i) mended[i] = values[i];
    detail::mend(std::span(mended));
  }
  const ConstBlockValues<T> x = finite ? values : ConstBlockValues<T>(mended);
  if constexpr (searchable<T>) {
    if (!encoded_by_rule<T> || !importance.empty()) return pack_block<T>(encode_by_search<T>(x, importance), block);
  }
  if constexpr (encoded_by_rule<T>) pack_block<T>(encode_by_rule<T>(x), block);
}

namespace detail {

/// Calls function.template operator()<T>() for the type T of the table that `type` is.
template <class Function>
void with_block_type(BlockType type, Function&& function) {
  const auto attempt = [&]<std::size_t I>() {
    if (block_types[I].type != type) return false;
    function.template operator()<block_types[I].type>();
    return true;
  };
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    static_cast<void>((attempt.template operator()<I>() || ...));
  }(std::make_index_sequence<block_types.size()>{});
}

/// The row of a type and whether `cols` columns, `rows` times, take exactly `bytes` bytes of it.
inline Result<BlockInfo> check_blocks(BlockType type, Shape shape, std::size_t bytes) {
  const BlockInfo* info = find_block_type(static_cast<std::uint32_t>(type));
  if (info == nullptr)
    return Error{ErrorCode::unsupported, "pare: GGUF type " + std::to_string(static_cast<std::uint32_t>(type)) +
                                             " is not a block type of pare's"};
  if (shape.cols % info->elements != 0)
    return Error{ErrorCode::invalid_argument, "pare: a row of " + std::to_string(shape.cols) +
                                                  " values is not a multiple of " + std::string(info->name) +
                                                  "'s block of " + std::to_string(info->elements)};
  std::size_t need = 0;
  if (!checked_multiply(shape.cols / info->elements, info->bytes, need) || !checked_multiply(need, shape.rows, need))
    return Error{ErrorCode::invalid_argument, "pare: the shape is larger than memory can be"};
  if (need != bytes)
    return Error{ErrorCode::invalid_argument,
                 "pare: " + std::to_string(shape.rows) + " x " + std::to_string(shape.cols) + " values take " +
                     std::to_string(need) + " bytes of " + std::string(info->name) + ", not " + std::to_string(bytes)};
  return *info;
}

/// Whether a matrix and the importances of its columns can be encoded into these bytes.
inline Result<void> check_quantize(BlockType type, Shape shape, std::size_t bytes, std::span<const float> importance) {
  if (auto fits = check_blocks(type, shape, bytes); !fits) return std::move(fits).error();
  if (!importance.empty() && importance.size() != shape.cols)
    return Error{ErrorCode::invalid_argument, "pare: " + std::to_string(importance.size()) +
                                                  " importance weights for " + std::to_string(shape.cols) + " columns"};
  for (std::size_t c = 0; c < importance.size(); ++c)
    if (!is_finite(importance[c]) || importance[c] < 0.0f)
      return Error{ErrorCode::invalid_argument,
                   "pare: the importance of column " + std::to_string(c) + " is negative or not finite"};
  return {};
}

}  // namespace detail

/// Bytes of a matrix; invalid_argument where a row ends within a block (the message names both numbers).
inline Result<std::size_t> packed_size(BlockType type, Shape shape) {
  const BlockInfo* info = find_block_type(static_cast<std::uint32_t>(type));
  std::size_t bytes = 0;
  if (info != nullptr && shape.cols % info->elements == 0 &&
      checked_multiply(shape.cols / info->elements, info->bytes, bytes) && checked_multiply(bytes, shape.rows, bytes))
    return bytes;
  return detail::check_blocks(type, shape, 0).error();
}

/// Decodes whole blocks: `values` are their elements one after the other, exactly as ggml's decoders give them. Any
/// bytes are valid.
template <class = void>  // so that only a caller compiles every type's decoder
Result<void> dequantize(BlockType type, std::span<const std::uint8_t> bytes, std::span<float> values) {
  if (auto fits = detail::check_blocks(type, {1, values.size()}, bytes.size()); !fits) return std::move(fits).error();
  detail::with_block_type(type, [&]<BlockType T>() {
    constexpr BlockInfo info = block_info<T>;
    for (std::size_t b = 0; b < values.size() / info.elements; ++b)
      decode_block<T>(ConstBlockBytes<T>(bytes.data() + b * info.bytes, info.bytes),
                      BlockValues<T>(values.data() + b * info.elements, info.elements));
  });
  return {};
}

/// Encodes a matrix, row by row, into exactly packed_size() bytes: the same bytes on every machine, whatever the
/// executor. An invalid_argument error says which row length does not fit, or which importance is negative or not
/// finite.
template <class = void>  // so that only a caller compiles every type's encoder
Result<void> quantize(BlockType type, MatrixView<const float> weights, std::span<std::uint8_t> bytes,
                      const QuantizeOptions& options = {}) {
  if (auto ok = detail::check_quantize(type, weights.shape(), bytes.size(), options.importance); !ok) return ok;
  detail::with_block_type(type, [&]<BlockType T>() {
    constexpr BlockInfo info = block_info<T>;
    const std::size_t per_row = weights.cols / info.elements;
    options.executor(weights.rows, [&](std::size_t r) {
      for (std::size_t b = 0; b < per_row; ++b) {
        std::array<float, info.elements> values;
        for (std::size_t i = 0; i < info.elements; ++i) values[i] = weights(r, b * info.elements + i);
        encode_block<T>(ConstBlockValues<T>(values),
                        BlockBytes<T>(bytes.data() + (r * per_row + b) * info.bytes, info.bytes),
                        options.importance.empty() ? options.importance
                                                   : options.importance.subspan(b * info.elements, info.elements));
      }
    });
  });
  return {};
}

}  // namespace pare::gguf
