#include "llama/layer_methods.hpp"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "pare/quantize/quantize.hpp"

namespace llama {
using pare::AnyGrid;
using pare::CodedMatrix;
using pare::Error;
using pare::ErrorCode;
using pare::MatrixView;
using pare::Options;
using pare::Result;

namespace {

Result<CodedMatrix> round(const AnyGrid& grid, MatrixView<const float> weights, const InputStatistics&, LinearRole,
                          const Options& options) {
  return pare::RoundToNearest{}(grid, weights, options);
}

Result<CodedMatrix> half_quadratic(const AnyGrid& grid, MatrixView<const float> weights, const InputStatistics&,
                                   LinearRole, const Options& options) {
  const pare::Shape block = grid.block(weights.shape());
  constexpr std::array<float, 2> positive = {0.0f, 1.0f};
  const bool asymmetric = grid.shift_kind() == pare::ShiftKind::zero_point && grid.fit(positive).shift == 0.0f;
  if (!asymmetric || block.rows != 1 || grid.scale_type() != pare::ScaleType::float32)
    return Error{ErrorCode::unsupported,
                 "HQQ needs integer codes with a zero point and float scales for groups of a row, such as "
                 "int4-asym-g32 has"};
  return pare::HalfQuadratic{.bits = static_cast<double>(grid.format().bits), .group = block.cols}(weights, options);
}

Result<CodedMatrix> clip_weights(const AnyGrid& grid, MatrixView<const float> weights, const InputStatistics&,
                                 LinearRole, const Options& options) {
  return pare::RoundToNearest{}(pare::ClipSearchGrid<AnyGrid>{.base = grid}, weights, options);
}

Result<CodedMatrix> clip_outputs(const AnyGrid& grid, MatrixView<const float> weights, const InputStatistics& input,
                                 LinearRole role, const Options& options) {
  const bool scores = role == LinearRole::query || role == LinearRole::key;
  const std::vector<float> ones(weights.cols, 1.0f);
  auto result = pare::Awq{.clip_steps = scores ? 0 : 20}.quantize(grid, weights, ones, input.moment, options);
  if (!result) return std::move(result).error();
  return std::move(result->matrix);
}

constexpr pare::Gptq ordered_gptq{
    .damping = {.retries = 10, .retry_fraction = 0.1}, .act_order = true, .static_groups = true};

Result<CodedMatrix> gptq(const AnyGrid& grid, MatrixView<const float> weights, const InputStatistics& input, LinearRole,
                         const Options& options) {
  auto result = ordered_gptq(grid, weights, input.moment, options);
  if (!result) return std::move(result).error();
  return std::move(result->matrix);
}

Result<CodedMatrix> refine(const AnyGrid& grid, MatrixView<const float> weights, const InputStatistics& input,
                           LinearRole, const Options& options) {
  auto result = ordered_gptq(pare::ClipSearchGrid<AnyGrid>{.base = grid}, weights, input.moment, options);
  if (!result) return std::move(result).error();
  const auto error = pare::CoordinateDescent{}(grid, weights, input.moment, result->matrix, options);
  if (!error) return error.error();
  return std::move(result->matrix);
}

}  // namespace

const std::array<LayerMethod, 6> layer_methods = {{{"rtn", round},
                                                   {"hqq", half_quadratic},
                                                   {"mse", clip_weights},
                                                   {"clip", clip_outputs},
                                                   {"gptq", gptq},
                                                   {"refined", refine}}};

Result<InputStatistics> InputStatistics::create(std::size_t size) {
  auto moment = pare::SecondMoment<double>::create(size);
  if (!moment) return std::move(moment).error();
  auto channels = pare::ChannelStatistics::create(size);
  if (!channels) return std::move(channels).error();
  return InputStatistics{*std::move(moment), *std::move(channels)};
}

Result<void> InputStatistics::add(MatrixView<const float> tokens, const Options& options) {
  if (auto done = moment.add(tokens, options); !done) return done;
  return channels.add(tokens, options);
}

}  // namespace llama
