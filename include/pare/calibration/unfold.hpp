#pragma once

#include <cstddef>
#include <span>

#include "pare/core/core.hpp"

namespace pare {

/// A two-dimensional convolution as a product of matrices: its weight is [out, channels * kernel.rows * kernel.cols].
struct Convolution {
  std::size_t channels = 1;  ///< of the input
  Shape kernel{1, 1};
  Shape stride{1, 1};
  Shape padding{0, 0};
  Shape dilation{1, 1};

  [[nodiscard]] constexpr std::size_t columns() const noexcept { return channels * kernel.rows * kernel.cols; }
  /// The pixels of the output, or nothing where the kernel is larger than the padded image.
  [[nodiscard]] constexpr Shape output(Shape image) const noexcept {
    const auto extent = [](std::size_t size, std::size_t k, std::size_t s, std::size_t p, std::size_t d) {
      const std::size_t reach = d * (k - 1) + 1, padded = size + 2 * p;
      return k == 0 || s == 0 || padded < reach ? std::size_t{0} : (padded - reach) / s + 1;
    };
    return {extent(image.rows, kernel.rows, stride.rows, padding.rows, dilation.rows),
            extent(image.cols, kernel.cols, stride.cols, padding.cols, dilation.cols)};
  }
};

/// Unfolds one image [channels, image.rows, image.cols] (im2col): row p of the result is what output pixel p is
/// multiplied by, in the order of the weight's columns, with zeros for the padding. So a convolution has the
/// statistics of a linear layer with a token for each pixel. Errors: an image that does not have
/// channels * rows * cols values, out_of_memory.
inline Result<Matrix<float>> unfold(std::span<const float> pixels, Shape image, const Convolution& convolution,
                                    std::pmr::memory_resource* memory = nullptr) {
  std::size_t area = 0, count = 0;
  if (!checked_multiply(image.rows, image.cols, area) || !checked_multiply(area, convolution.channels, count) ||
      count != pixels.size())
    return Error{ErrorCode::invalid_argument, "pare: an image has channels * rows * cols values"};
  const Shape out = convolution.output(image);
  auto result = Matrix<float>::create({out.rows * out.cols, convolution.columns()}, memory);
  if (!result) return result;
  for (std::size_t y = 0; y < out.rows; ++y)
    for (std::size_t x = 0; x < out.cols; ++x) {
      float* p = result->row(y * out.cols + x).data();
      for (std::size_t c = 0; c < convolution.channels; ++c)
        for (std::size_t i = 0; i < convolution.kernel.rows; ++i)
          for (std::size_t j = 0; j < convolution.kernel.cols; ++j) {
            // A coordinate before the image wraps around to one beyond it.
            const std::size_t row =
                y * convolution.stride.rows + i * convolution.dilation.rows - convolution.padding.rows;
            const std::size_t col =
                x * convolution.stride.cols + j * convolution.dilation.cols - convolution.padding.cols;
            *p++ = row < image.rows && col < image.cols ? pixels[c * area + row * image.cols + col] : 0.0f;
          }
    }
  return result;
}

}  // namespace pare
