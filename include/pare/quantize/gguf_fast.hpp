#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pare/kernels/kernels.hpp"
#include "pare/layouts/layouts.hpp"
#include "pare/tensor/tensor.hpp"

namespace pare::gguf {

namespace detail {

/// The lines that are tried for the sub-blocks of a type.
template <BlockType T>
constexpr LineTrials line_trials() noexcept {
  using Levels = SearchLevels<T>;
  LineTrials trials{.lowest = Levels::lowest, .highest = Levels::highest, .has_minimum = block_layout<T>.has_min};
  if constexpr (T == BlockType::q2_k)
    trials.first = 0.9f, trials.step = 0.1f, trials.steps = 6, trials.places = 3;
  else if constexpr (T == BlockType::q3_k)
    trials.first = 0.8f, trials.step = 0.07f, trials.steps = 6;
  else if constexpr (T == BlockType::q6_k)
    trials.first = 0.93f, trials.step = 0.02f, trials.steps = 6;
  else if constexpr (T == BlockType::q4_k)
    trials.first = 0.94f, trials.step = 0.042f, trials.steps = 6, trials.places = 3;
  else
    trials.first = 0.96f, trials.step = 0.028f, trials.steps = 6, trials.places = 3;
  return trials;
}

}  // namespace detail

/// As quantize, for speed: each sub-block of Q2_K to Q6_K gets the line that errs least of some that are fitted to it,
/// and the block's integers follow from those lines, where quantize searches them all together. Other types are those
/// of quantize. The same bytes on every machine, whatever the executor. Errors: as of quantize.
template <KernelBackend Kernels = HighwayKernels>
Result<void> quantize_fast(BlockType type, MatrixView<const float> weights, std::span<std::uint8_t> bytes,
                           const QuantizeOptions& options = {}) {
  if (auto ok = detail::check_quantize(type, weights.shape(), bytes.size(), options.importance); !ok) return ok;
  bool done = false;
  detail::with_block_type(type, [&]<BlockType T>() {
    if constexpr (encoded_by_lines<T>) {
      done = true;
      constexpr BlockInfo info = block_info<T>;
      constexpr std::size_t blocks_at_once = 8, n = block_layout<T>.sub_block, lines = sub_blocks<T>;
      const LineTrials trials = detail::line_trials<T>();
      const std::size_t per_row = weights.cols / info.elements;
      options.executor(weights.rows, [&](std::size_t r) {
        std::array<float, blocks_at_once * info.elements> values;
        std::array<std::uint8_t, blocks_at_once * info.elements> codes;
        std::array<float, blocks_at_once * lines> scales, minimums{};
        for (std::size_t first = 0; first < per_row; first += blocks_at_once) {
          const std::size_t blocks = std::min(blocks_at_once, per_row - first), begin = first * info.elements;
          if (weights.col_stride == 1)
            std::copy_n(weights.row(r) + begin, blocks * info.elements, values.data());
          else
            for (std::size_t i = 0; i < blocks * info.elements; ++i) values[i] = weights(r, begin + i);
          const auto block = [&](std::size_t b) {
            return std::span(values).subspan(b * info.elements).template first<info.elements>();
          };
          for (std::size_t b = 0; b < blocks; ++b)
            if (!detail::all_finite(ConstBlockValues<T>(block(b)))) detail::mend(block(b));
          Kernels::fit_lines(values.data(), options.importance.empty() ? nullptr : options.importance.data() + begin,
                             blocks * lines, n, trials, scales.data(), minimums.data());
          std::array<BlockCodes, blocks_at_once> parts;
          for (std::size_t b = 0; b < blocks; ++b) {
            const auto of_block = [&](auto& all) { return std::span(all).subspan(b * lines).template first<lines>(); };
            parts[b] = round_lines<T>(of_block(scales), of_block(minimums));
          }
          Kernels::encode_lines(values.data(), blocks * lines, n, scales.data(), minimums.data(), trials.lowest,
                                trials.highest, codes.data());
          for (std::size_t b = 0; b < blocks; ++b) {
            std::copy_n(codes.data() + b * info.elements, info.elements, parts[b].codes.data());
            pack_block<T>(parts[b], BlockBytes<T>(bytes.data() + (r * per_row + first + b) * info.bytes, info.bytes));
          }
        }
      });
    }
  });
  return done ? Result<void>{} : quantize(type, weights, bytes, options);
}

}  // namespace pare::gguf
