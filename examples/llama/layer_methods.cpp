#include "llama/layer_methods.hpp"

#include <fmt/format.h>

#include <charconv>
#include <utility>
#include <vector>

#include "io/json.hpp"
#include "pare/quantize/quantize.hpp"

namespace llama {
using pare::AdditiveMatrix;
using pare::AdditiveQuantizer;
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

/// Integer codes from 0 up with a zero point of their own.
bool is_asymmetric(const AnyGrid& grid) {
  constexpr std::array<float, 2> positive = {0.0f, 1.0f};
  return grid.shift_kind() == pare::ShiftKind::zero_point && grid.fit(positive).shift == 0.0f;
}

Result<CodedMatrix> half_quadratic(const AnyGrid& grid, MatrixView<const float> weights, const InputStatistics&,
                                   LinearRole, const Options& options) {
  const pare::Shape block = grid.block(weights.shape());
  if (!is_asymmetric(grid) || block.rows != 1 || grid.scale_type() != pare::ScaleType::float32)
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

constexpr pare::Damping retried{.retries = 10, .retry_fraction = 0.1};
constexpr pare::Gptq ordered_gptq{.damping = retried, .act_order = true, .static_groups = true};

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

Result<CodedMatrix> progressive(const AnyGrid& grid, MatrixView<const float> weights, const InputStatistics& input,
                                LinearRole, const Options& options) {
  const pare::Shape block = grid.block(weights.shape());
  if (!is_asymmetric(grid) || grid.format().bits != 4 || block.rows != 1 ||
      grid.scale_type() != pare::ScaleType::float32)
    return Error{ErrorCode::unsupported,
                 "QoQ needs codes of 4 bits with zero points and float scales: int4-asym-g128, int4-asym-g32 or "
                 "int4-asym-channel"};
  const pare::Qoq qoq{
      .group = has_whole_rows(grid) ? 0 : block.cols, .zero = pare::QoqZero::before_scale, .damping = retried};
  auto result = qoq(weights, input.moment, options);
  if (!result) return std::move(result).error();
  return std::move(result->matrix);
}

/// A method for the schemes that are grids.
template <auto quantize>
Result<LayerCodes> on_grid(const LayerScheme& scheme, MatrixView<const float> weights, const InputStatistics& input,
                           LinearRole role, const Options& options) {
  const auto* grid = std::get_if<AnyGrid>(&scheme);
  if (grid == nullptr)
    return Error{ErrorCode::unsupported, "codebooks are --method aqlm's; any other needs a scheme of the list"};
  auto matrix = quantize(*grid, weights, input, role, options);
  if (!matrix) return std::move(matrix).error();
  return LayerCodes(*std::move(matrix));
}

/// Rounds codebooks and scales to halves, as AQLM's loaders have them.
Result<void> round_to_halves(AdditiveMatrix& matrix) {
  for (pare::Buffer* memory : {&matrix.values_memory, &matrix.scales_memory})
    for (std::size_t i = 0; i < memory->size() / sizeof(float); ++i) {
      float& value = reinterpret_cast<float*>(memory->data())[i];
      value = static_cast<float>(pare::Half(value));
      if (!pare::is_finite(value))
        return Error{ErrorCode::unsupported, "the layer's weights are too large for codebooks in half precision"};
    }
  matrix.value_type = pare::ScaleType::float16;
  return {};
}

Result<LayerCodes> additive(const LayerScheme& scheme, MatrixView<const float> weights, const InputStatistics& input,
                            LinearRole, const Options& options) {
  const auto* quantizer = std::get_if<AdditiveQuantizer>(&scheme);
  if (quantizer == nullptr)
    return Error{ErrorCode::unsupported,
                 "AQLM needs a scheme of codebooks: 2x8 is two of 8 bits for groups of 8 weights, 1x16-g4 one of 16 "
                 "bits for groups of 4"};
  auto result = (*quantizer)(weights, input.moment, options);
  if (!result) return std::move(result).error();
  if (auto done = round_to_halves(result->matrix); !done) return std::move(done).error();
  return LayerCodes(std::move(result->matrix));
}

/// Reads a number at the beginning of the text and takes it off; 0 where there is none.
std::size_t take_number(std::string_view& text) {
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return error == std::errc() ? number : 0;
}

bool take(std::string_view& text, std::string_view prefix) {
  const bool there = text.starts_with(prefix);
  if (there) text.remove_prefix(prefix.size());
  return there;
}

}  // namespace

const std::array<LayerMethod, 8> layer_methods = {{{"rtn", on_grid<round>},
                                                   {"hqq", on_grid<half_quadratic>},
                                                   {"mse", on_grid<clip_weights>},
                                                   {"clip", on_grid<clip_outputs>},
                                                   {"gptq", on_grid<gptq>},
                                                   {"refined", on_grid<refine>},
                                                   {"qoq", on_grid<progressive>},
                                                   {"aqlm", additive}}};

Result<LayerScheme> scheme_named(std::string_view name) {
  std::string_view rest = name;
  AdditiveQuantizer quantizer;
  quantizer.codebooks = take_number(rest);
  if (quantizer.codebooks == 0 || !take(rest, "x")) {
    auto grid = AnyGrid::named(name);
    if (!grid) return std::move(grid).error();
    return LayerScheme(*grid);
  }
  const std::size_t bits = take_number(rest);
  if (take(rest, "-g")) quantizer.group = take_number(rest);
  if (quantizer.codebooks > 64 || bits < 1 || bits > 16 || quantizer.group == 0 || !rest.empty())
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}: codebooks are written as 2x8 or 1x16-g4: how many, of 1 to 16 bits, and for how many "
                             "weights, 8 if not said",
                             io::quote(name))};
  quantizer.bits = static_cast<int>(bits);
  return LayerScheme(quantizer);
}

bool has_whole_rows(const AnyGrid& grid) {
  constexpr pare::Shape wide{1, std::size_t{1} << 40};
  return grid.block(wide).cols == wide.cols;
}

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
