#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

#include "pare/tensor/packed.hpp"
#include "pare/tensor/sparse_storage.hpp"

namespace pare::detail {

/// The most values of sparse codes that are decoded at once, and the columns whose products are summed at once.
inline constexpr std::size_t kept_window = product_columns;

/// Codes are decoded in whole blocks of so many, which every backend takes fast.
inline constexpr std::size_t decoded_block = 64;

/// Room for so many values from anywhere within a block of eight on, in whole blocks.
using KeptValues = std::array<float, kept_window + decoded_block>;

/// Runs of codes of a packed matrix, each a bit stream that starts on a whole byte, with the parameters of all of its
/// blocks, in one allocation.
template <SchemeType S>
class KeptCodes {
 public:
  using format_type = typename S::format_type;

  /// Room for `runs` runs of `count` codes in all, and the scales and zero points of `packed`.
  static Result<KeptCodes> create(const PackedView<S>& packed, std::size_t runs, std::size_t count,
                                  const Options& options) {
    const Result<PackedSizes> sizes = packed_sizes<S>(packed.shape);
    if (!sizes) return sizes.error();
    KeptCodes kept;
    kept.shape_ = packed.shape;
    // Each run takes less than eight codes more than it holds; an eighth of what can be counted is more than enough.
    constexpr std::size_t limit = std::numeric_limits<std::size_t>::max() / 64;
    if (runs > limit / 8 || count > limit)
      return Error{ErrorCode::invalid_argument, "pare: the kept codes are more than memory can be"};
    kept.codes_ = start(runs, count) + packed_bytes(decoded_block, S::bits);
    kept.scales_ = sizes->scales;
    Result<Buffer> buffer = Buffer::allocate(kept.codes_ + sizes->scales + sizes->zero_points, options.memory);
    if (!buffer) return std::move(buffer).error();
    kept.buffer_ = *std::move(buffer);
    std::uint8_t* const bytes = kept.data();
    std::fill_n(bytes, kept.codes_, std::uint8_t{0});
    if (sizes->scales != 0) std::memcpy(bytes + kept.codes_, packed.scales, sizes->scales);
    if (sizes->zero_points != 0)
      std::memcpy(bytes + kept.codes_ + kept.scales_, packed.zero_points, sizes->zero_points);
    return kept;
  }

  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept { return {data(), buffer_.size()}; }
  /// The scales and zero points; there are no codes.
  [[nodiscard]] PackedView<S> parameters() const noexcept {
    return {shape_, nullptr, data() + codes_, data() + codes_ + scales_};
  }

  /// The codes of run `run`, before which `before` codes are held.
  [[nodiscard]] const std::uint8_t* codes(std::size_t run, std::size_t before) const noexcept {
    return data() + start(run, before);
  }
  [[nodiscard]] std::uint8_t* codes(std::size_t run, std::size_t before) noexcept {
    return data() + start(run, before);
  }

  /// Decodes `count` <= kept_window codes of a run from its code `first` on, as of the scale 1 and the zero point 0,
  /// into `values`, a KeptValues. Returns where the first one stands.
  template <KernelBackend Kernels>
  static float* decode(const std::uint8_t* run, std::size_t first, std::size_t count, float* values) noexcept {
    constexpr float one = 1.0f;
    constexpr std::uint8_t zero = 0;
    const std::size_t before = first % 8, padded = ceil_div(before + count, decoded_block) * decoded_block;
    if (count != 0)
      Kernels::template decode<format_type>(run + first / 8 * S::bits, padded, padded, 0, &one, &zero, values);
    return values + before;
  }

  /// Gives values of scale 1 the parameters of a block, with the rounding of dequantize_value.
  void scale(std::size_t block, float* values, std::size_t count) const noexcept {
    const PackedView<S> view = parameters();
    const float factor = view.scale(block);
    if constexpr (S::has_zero_point) {
      const auto zero = static_cast<float>(view.zero_points[block]);
      for (std::size_t i = 0; i < count; ++i) values[i] = (values[i] - zero) * factor;
    } else {
      for (std::size_t i = 0; i < count; ++i) values[i] *= factor;
    }
  }

 private:
  /// The byte where a run starts: whole groups of eight codes of those before, and one more for each run before.
  static constexpr std::size_t start(std::size_t run, std::size_t before) noexcept {
    return (before / 8 + run) * S::bits;
  }
  [[nodiscard]] const std::uint8_t* data() const noexcept {
    return reinterpret_cast<const std::uint8_t*>(buffer_.data());
  }
  [[nodiscard]] std::uint8_t* data() noexcept { return reinterpret_cast<std::uint8_t*>(buffer_.data()); }

  Shape shape_;
  std::size_t codes_ = 0, scales_ = 0;
  Buffer buffer_;
};

/// Collects the codes of a run and packs them, a window at a time.
template <SchemeType S, KernelBackend Kernels>
class RunWriter {
 public:
  explicit RunWriter(std::uint8_t* out) : out_(out) {}
  ~RunWriter() { flush(); }
  RunWriter(const RunWriter&) = delete;
  RunWriter& operator=(const RunWriter&) = delete;

  void push(std::uint8_t code) noexcept {
    codes_[count_++] = code;
    if (count_ == codes_.size()) flush();
  }

 private:
  void flush() noexcept {
    if (count_ != 0) Kernels::template pack<S::bits>(codes_.data(), count_, out_);
    out_ += codes_.size() / 8 * S::bits;
    count_ = 0;
  }

  std::uint8_t* out_;
  std::array<std::uint8_t, 512> codes_;
  std::size_t count_ = 0;
};

/// The codes of a row in order: one byte each, a window at a time.
template <SchemeType S, KernelBackend Kernels>
class RowCodes {
 public:
  RowCodes(const PackedView<S>& packed, std::size_t row) : packed_(&packed), row_(packed.row_codes(row)) {}

  std::uint8_t operator[](std::size_t column) noexcept {
    const std::size_t begin = column / codes_.size() * codes_.size();
    if (begin != begin_) {
      Kernels::template unpack<S::bits>(row_ + begin / 8 * S::bits,
                                        std::min(codes_.size(), packed_->shape.cols - begin), codes_.data());
      begin_ = begin;
    }
    return codes_[column - begin];
  }

 private:
  const PackedView<S>* packed_;
  const std::uint8_t* row_;
  std::array<std::uint8_t, 512> codes_;
  std::size_t begin_ = std::numeric_limits<std::size_t>::max();
};

template <SchemeType S>
Result<void> check_masked(const PackedView<S>& packed, MaskView mask) {
  if (Result<void> ok = check_mask(mask, packed.shape); !ok) return ok;
  if (!mask.empty() &&
      (packed.codes == nullptr || packed.scales == nullptr || (S::has_zero_point && packed.zero_points == nullptr)))
    return Error{ErrorCode::invalid_argument, "pare: a part of the packed weights is a null pointer"};
  return {};
}

}  // namespace pare::detail
