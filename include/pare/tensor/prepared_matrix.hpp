#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "pare/layouts/layouts.hpp"
#include "pare/tensor/common_unit.hpp"
#include "pare/tensor/matrix_preparation.hpp"
#include "pare/tensor/prepared_product.hpp"

namespace pare {

/// Integers or E2M1 codes of a layout, known at run time, in the order in which products read them: what PreparedTensor
/// is for weights of a scheme. It lives in memory alone: no file holds it, and nothing is promised of its bytes. Made
/// by `prepare`.
class PreparedMatrix {
 public:
  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  /// The bytes that a product reads of the weights.
  [[nodiscard]] std::size_t bytes() const noexcept { return buffer_.size(); }
  [[nodiscard]] std::size_t blocks() const noexcept { return ceil_div(shape_.rows, prepared_rows); }
  /// The columns that share a scale of the activations: 32, 64 or 128.
  [[nodiscard]] std::size_t group() const noexcept { return strides_.units * prepared_unit; }
  /// The bits that a code takes: 4 or 8.
  [[nodiscard]] int bits() const noexcept { return bits_; }
  /// Whether codes are E2M1's and no integers.
  [[nodiscard]] bool is_e2m1() const noexcept { return is_e2m1_; }
  /// The columns that share a scale of the weights: those of a group, or 16.
  [[nodiscard]] std::size_t section() const noexcept { return group() / sections_; }
  /// What the activations' offsets are for: the integer of the value 0, or 1 where groups have minimums.
  [[nodiscard]] std::int32_t offset() const noexcept { return has_minimums_ ? 1 : std::int32_t{strides_.zero}; }
  /// Blocks of 16 rows from `block` on, as the kernels take them.
  [[nodiscard]] PreparedWeights weights(std::size_t block = 0) const noexcept {
    PreparedWeights w = strides_;
    const auto* p = reinterpret_cast<const std::uint8_t*>(buffer_.data());
    w.codes = p + block * w.code_stride;
    w.scales = p + scales_.first + block * w.scale_stride;
    w.scale_units = units(scales_);
    if (has_minimums_) w.minimums = p + minimums_.first + block * w.minimum_stride;
    w.minimum_units = units(minimums_);
    return w;
  }

  /// As `prepare` says.
  static Result<PreparedMatrix> make(const CodedMatrix& matrix, const Options& options);

 private:
  explicit PreparedMatrix(Shape shape) : shape_(shape) {}

  [[nodiscard]] Result<void> allocate(bool shares_row, std::pmr::memory_resource* memory);
  void fill_codes(std::size_t block, MatrixView<const std::uint8_t> codes) noexcept;
  void fill_parameters(std::size_t block, const CodedMatrix& matrix, bool of_minimums) noexcept;
  /// The scales or minimums of sections from `begin` on.
  void read_run(const CodedMatrix& matrix, std::size_t row, std::size_t begin, bool of_minimums,
                std::span<float> run) const noexcept;
  /// Whether the scales or minimums of every run of sections are small multiples of a float.
  [[nodiscard]] bool has_units(const CodedMatrix& matrix, bool of_minimums, const Executor& executor) const;

  /// Where scales or minimums begin in the buffer, and what they are multiplied by.
  struct Parameters {
    std::size_t first = 0, units = 0;
  };
  [[nodiscard]] PreparedUnits units(const Parameters& of) const noexcept {
    const auto* p = reinterpret_cast<const std::uint8_t*>(buffer_.data());
    return {reinterpret_cast<const float*>(p + of.units), p + of.first};
  }

  Shape shape_;
  int bits_ = 8;
  std::size_t sections_ = 1;  // of a group: 2 where the kernels take Group16Codes
  bool has_minimums_ = false, is_e2m1_ = false;
  PreparedWeights strides_;  // its pointers stay null
  Parameters scales_, minimums_;
  Buffer buffer_;
};

inline Result<void> PreparedMatrix::allocate(bool shares_row, std::pmr::memory_resource* memory) {
  PreparedWeights& w = strides_;
  const std::size_t scales_of_row = shares_row ? std::min<std::size_t>(1, w.groups) : w.groups * sections_;
  const std::size_t unit_bytes = prepared_rows * prepared_unit / 8 * static_cast<std::size_t>(bits_);
  std::size_t per_block = 0, most = 0;
  // A group has no more bytes of scales and minimums than these.
  if (!checked_multiply(w.groups, w.units * unit_bytes + 4 * prepared_rows * prepared_run * sizeof(float), per_block) ||
      !checked_multiply(blocks(), per_block, most))
    return Error{ErrorCode::out_of_memory, "pare: the prepared weights do not fit the address space"};
  w.code_stride = w.groups * w.units * unit_bytes;
  std::size_t bytes = blocks() * w.code_stride;
  const auto reserve = [&](PreparedScale type, std::size_t& stride, std::size_t& step, Parameters& at) {
    const bool is_integer = type == PreparedScale::integer8;
    step = shares_row ? 0 : prepared_rows * prepared_scale_bytes(type);
    stride = prepared_rows * prepared_scale_bytes(type) *
             (is_integer ? ceil_div(scales_of_row, prepared_run) * prepared_run : scales_of_row);
    at.first = bytes;
    at.units = bytes += blocks() * stride;
    if (is_integer) bytes += blocks() * stride / prepared_run * sizeof(float);
  };
  reserve(w.scale, w.scale_stride, w.scale_step, scales_);
  if (has_minimums_) reserve(w.minimum, w.minimum_stride, w.minimum_step, minimums_);
  Result<Buffer> buffer = Buffer::allocate(bytes, memory);
  if (!buffer) return std::move(buffer).error();
  buffer_ = *std::move(buffer);
  return {};
}

inline void PreparedMatrix::fill_codes(std::size_t block, MatrixView<const std::uint8_t> codes) noexcept {
  auto* const out = reinterpret_cast<std::uint8_t*>(buffer_.data()) + block * strides_.code_stride;
  const std::size_t first_row = block * prepared_rows;
  const std::size_t unit_bytes = strides_.code_stride / (strides_.groups * strides_.units);
  std::memset(out, 0, strides_.code_stride);
  for (std::size_t r = 0; r < std::min(prepared_rows, shape_.rows - first_row); ++r)
    for (std::size_t c = 0; c < shape_.cols; ++c) {
      const std::size_t column = c % prepared_unit;
      const PreparedPlace place =
          bits_ == 4 ? prepared_place<PreparedNibbles>(r, column) : prepared_place<PreparedBytes>(r, column);
      std::uint8_t& byte = out[c / prepared_unit * unit_bytes + place.byte];
      byte = static_cast<std::uint8_t>(byte | codes(first_row + r, c) << place.shift);
    }
}

inline void PreparedMatrix::fill_parameters(std::size_t block, const CodedMatrix& matrix, bool of_minimums) noexcept {
  const Parameters& at = of_minimums ? minimums_ : scales_;
  const PreparedScale type = of_minimums ? strides_.minimum : strides_.scale;
  const std::size_t stride = of_minimums ? strides_.minimum_stride : strides_.scale_stride;
  auto* const p = reinterpret_cast<std::uint8_t*>(buffer_.data());
  std::uint8_t* const out = p + at.first + block * stride;
  const std::size_t bytes = prepared_scale_bytes(type), first_row = block * prepared_rows;
  std::memset(out, 0, stride);
  // Columns that fill up the last group can be a section of their own, whose parameters stay 0.
  const std::size_t sections = std::min(stride / (prepared_rows * bytes), ceil_div(shape_.cols, section()));
  auto* units = reinterpret_cast<float*>(p + at.units) + block * stride / prepared_run;
  for (std::size_t begin = 0; begin < sections; begin += prepared_run, units += prepared_rows) {
    if (type == PreparedScale::integer8) std::fill_n(units, prepared_rows, 0.0f);
    for (std::size_t r = 0; r < std::min(prepared_rows, shape_.rows - first_row); ++r) {
      std::array<float, prepared_run> values;
      const std::span run(values.data(), std::min(prepared_run, sections - begin));
      read_run(matrix, first_row + r, begin, of_minimums, run);
      std::uint8_t* to = out + (begin * prepared_rows + r) * bytes;
      if (type == PreparedScale::integer8) units[r] = *detail::common_unit(run);
      for (const float value : run) {
        detail::store_parameter(type, value, type == PreparedScale::integer8 ? units[r] : 1.0f, to);
        to += prepared_rows * bytes;
      }
    }
  }
}

inline void PreparedMatrix::read_run(const CodedMatrix& matrix, std::size_t row, std::size_t begin, bool of_minimums,
                                     std::span<float> run) const noexcept {
  for (std::size_t i = 0; i < run.size(); ++i) {
    const std::size_t column = (begin + i) * section() / matrix.block.cols;
    const detail::BlockLine line = detail::block_line(matrix, row / matrix.block.rows, column);
    run[i] = of_minimums ? line.minimum : line.scale;
  }
}

inline bool PreparedMatrix::has_units(const CodedMatrix& matrix, bool of_minimums, const Executor& executor) const {
  std::atomic<bool> all = true;
  const std::size_t sections = ceil_div(shape_.cols, section());
  executor(shape_.rows, [&](std::size_t row) {
    std::array<float, prepared_run> values;
    for (std::size_t begin = 0; begin < sections && all.load(std::memory_order_relaxed); begin += prepared_run) {
      const std::span run(values.data(), std::min(prepared_run, sections - begin));
      read_run(matrix, row, begin, of_minimums, run);
      if (!detail::common_unit(run)) all.store(false, std::memory_order_relaxed);
    }
  });
  return all;
}

inline Result<PreparedMatrix> PreparedMatrix::make(const CodedMatrix& matrix, const Options& options) {
  if (Result<void> ok = detail::check_prepared(matrix); !ok) return std::move(ok).error();
  PreparedMatrix prepared(matrix.shape);
  const std::size_t columns = matrix.block.cols;
  const bool shares_row = columns >= matrix.shape.cols;
  const std::size_t group = shares_row || columns % 128 == 0 ? 128 : columns % 64 == 0 ? 64 : 32;
  const std::optional<std::uint8_t> zero = detail::common_zero(matrix);
  prepared.bits_ = matrix.format.bits <= 4 ? 4 : 8;
  prepared.sections_ = shares_row || columns % prepared_unit == 0 ? 1 : 2;
  prepared.has_minimums_ = !zero.has_value();
  prepared.is_e2m1_ = detail::is_e2m1(matrix);
  prepared.strides_.zero = zero.value_or(0);
  prepared.strides_.units = group / prepared_unit;
  prepared.strides_.groups = ceil_div(matrix.shape.cols, group);
  prepared.strides_.scale = detail::prepared_scale(matrix);
  // Floats for every 16 columns would be half of what a product of one row reads; wider groups need fewer of them.
  const auto reduce = [&](PreparedScale& type, bool of_minimums) {
    if (type == PreparedScale::float32 && prepared.sections_ == 2 &&
        prepared.has_units(matrix, of_minimums, options.executor))
      type = PreparedScale::integer8;
  };
  reduce(prepared.strides_.scale, false);
  if (prepared.has_minimums_) reduce(prepared.strides_.minimum, true);
  if (Result<void> ok = prepared.allocate(shares_row, options.memory); !ok) return std::move(ok).error();
  if (matrix.shape.rows == 0 || matrix.shape.cols == 0) return prepared;
  options.executor(prepared.blocks(), [&](std::size_t block) {
    prepared.fill_codes(block, matrix.codes());
    prepared.fill_parameters(block, matrix, false);
    if (prepared.has_minimums_) prepared.fill_parameters(block, matrix, true);
  });
  return prepared;
}

/// The integers of a layout (GGUF's Q4_0 to Q8_0 and Q2_K to Q6_K, GPTQ, AWQ, HQQ, MatMulNBits, ...) or its E2M1 codes
/// (MXFP4, NVFP4), which are integers when doubled, in the order in which products with eight-bit activations read
/// them: codes of up to four bits take four, wider ones eight; groups are of a multiple of 16 columns or a whole row,
/// those of a multiple of 32 being faster. Where all blocks count from one integer nothing else is kept; else each
/// group of a row has a minimum: value = integer * scale - minimum. Scales and minimums are floats, or 16 bits where
/// the layout's are; those of 16 columns are bytes, and a float for eight of them, where these are the same numbers, as
/// in GGUF's types. Errors: unsupported for other formats, groups and orders of columns; out_of_memory.
inline Result<PreparedMatrix> prepare(const CodedMatrix& matrix, const Options& options = {}) {
  return PreparedMatrix::make(matrix, options);
}

/// y = x * W^T with activations in eight bits, as for a PreparedTensor: x is [m, in], the matrix [out, in], y [m, out].
/// With minimums, the bound stated there holds with |integer * scale| + |minimum| in place of |w_c|; where sections
/// have 16 columns, with the sections of a row for G.
template <KernelBackend Kernels = HighwayKernels>
Result<void> matmul(const PreparedMatrix& weights, MatrixView<const float> x, MatrixView<float> y,
                    const Options& options = {}, ActivationScales scales = ActivationScales::per_group) {
  const auto multiply = [&]<class Codes>(std::type_identity<Codes>) {
    return detail::multiply_prepared<Codes, Kernels>(weights, weights.group(), weights.offset(), x, y, options, scales);
  };
  if (weights.is_e2m1())
    return weights.section() < prepared_unit ? multiply(std::type_identity<Group16Codes<PreparedE2M1>>())
                                             : multiply(std::type_identity<PreparedE2M1>());
  if (weights.section() < prepared_unit)
    return weights.bits() == 4 ? multiply(std::type_identity<Group16Codes<PreparedNibbles>>())
                               : multiply(std::type_identity<Group16Codes<PreparedBytes>>());
  return weights.bits() == 4 ? multiply(std::type_identity<PreparedNibbles>())
                             : multiply(std::type_identity<PreparedBytes>());
}

/// As above; x and y are MatrixViews or types with Eigen's accessors.
template <KernelBackend Kernels = HighwayKernels, class X, class Y>
Result<void> matmul(const PreparedMatrix& weights, const X& x, Y&& y, const Options& options = {},
                    ActivationScales scales = ActivationScales::per_group) {
  auto input = detail::to_view(x, Shape{});
  auto output = detail::to_view(y, Shape{});
  if (!input) return std::move(input).error();
  if (!output) return std::move(output).error();
  return matmul<Kernels>(weights, MatrixView<const float>(*input), *output, options, scales);
}

/// y = W * x for one vector: x has `in` values, y `out`.
template <KernelBackend Kernels = HighwayKernels>
Result<void> matvec(const PreparedMatrix& weights, std::span<const float> x, std::span<float> y,
                    const Options& options = {}, ActivationScales scales = ActivationScales::per_group) {
  return matmul<Kernels>(weights, MatrixView<const float>(x.data(), 1, x.size()),
                         MatrixView<float>(y.data(), 1, y.size()), options, scales);
}

}  // namespace pare
