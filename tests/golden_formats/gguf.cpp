// GGUF blocks: every decoder bit for bit; rule-based encoders to the same bytes as ggml's; searched encoders at least
// as accurate as ggml's in each row.
#include "pare/layouts/gguf/gguf.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "families.hpp"

namespace golden {

namespace {
namespace gguf = pare::gguf;
using gguf::BlockType;

/// The tensors of one file, as rows of the same number of values.
struct Rows {
  BlockType type;
  std::size_t columns;
  std::size_t bytes;  ///< of a packed row

  [[nodiscard]] std::vector<float> decode(std::span<const std::uint8_t> packed) const {
    std::vector<float> values(packed.size() / bytes * columns);
    const auto done = gguf::dequantize(type, packed, values);
    return done ? values : std::vector<float>{};
  }
  [[nodiscard]] std::vector<std::uint8_t> encode(std::span<const float> values,
                                                 std::span<const float> importance) const {
    const std::size_t rows = values.size() / columns;
    std::vector<std::uint8_t> packed(rows * bytes);
    const auto done = gguf::quantize(type, pare::MatrixView<const float>(values.data(), rows, columns), packed,
                                     {.importance = importance});
    return done ? packed : std::vector<std::uint8_t>{};
  }
};

/// The sum of weight * (value - decoded)^2 of a row; infinite where a decoded value is not finite.
double weighted_error(std::span<const float> values, std::span<const float> decoded, std::span<const float> weights) {
  double sum = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double difference = static_cast<double>(values[i]) - static_cast<double>(decoded[i]);
    sum += (weights.empty() ? 1.0 : static_cast<double>(weights[i])) * difference * difference;
  }
  return std::isfinite(sum) ? sum : std::numeric_limits<double>::infinity();
}

void check_decoder(const Rows& rows, const Vectors& vectors, std::string_view packed, std::string_view decoded,
                   Report& report) {
  report.equal(decoded, vectors.values<float>(decoded), rows.decode(vectors.values<std::uint8_t>(packed)));
}

/// What encodes the input, to be compared with the encoder of ggml whose blocks are in `packed`. Rows whose scale is
/// beyond f16 are left out: ggml's encoders have undefined behaviour there.
void check_encoder(const Rows& rows, const Vectors& vectors, std::string_view packed, std::string_view decoded,
                   std::span<const float> importance, bool by_rule, Report& report) {
  const auto input = vectors.values<float>("input");
  const auto theirs = vectors.values<std::uint8_t>(packed);
  const auto their_values = vectors.values<float>(decoded);
  const auto ours = rows.encode(input, importance);
  const auto our_values = rows.decode(ours);
  const std::size_t count = input.size() / rows.columns;
  if (ours.size() != theirs.size() || our_values.size() != their_values.size())
    return report.check(packed, false, fmt::format("{} bytes where there should be {}", ours.size(), theirs.size()));
  for (std::size_t r = 0; r < count; ++r) {
    const std::size_t at = r * rows.columns;
    const auto row = [&](const std::vector<float>& values) { return std::span(values).subspan(at, rows.columns); };
    const double their_error = weighted_error(row(input), row(their_values), importance);
    if (by_rule) {
      if (std::isinf(their_error)) continue;
      report.equal(fmt::format("{}[{}]", packed, r), std::span(theirs).subspan(r * rows.bytes, rows.bytes),
                   std::span(ours).subspan(r * rows.bytes, rows.bytes));
    } else {
      const double our_error = weighted_error(row(input), row(our_values), importance);
      report.check(fmt::format("{}[{}]", packed, r), std::isfinite(our_error) && our_error <= their_error,
                   fmt::format("error {} where ggml's is {}", our_error, their_error));
    }
  }
}

template <BlockType T>
void check_blocks(const std::filesystem::path& file, Report& report) {
  const auto vectors = Vectors::open(file, report);
  if (!vectors) return;
  const auto shape = vectors->shape("input"), packed_shape = vectors->shape("packed");
  if (shape.size() != 2 || packed_shape.size() != 2) return report.check("input", false, "is not a matrix");
  const Rows rows{T, shape[1], packed_shape[1]};
  const auto size = gguf::packed_size(T, {1, rows.columns});
  if (!size || *size != rows.bytes) return report.check("packed", false, "has rows of another size");

  check_decoder(rows, *vectors, "packed", "dequant", report);
  check_decoder(rows, *vectors, "raw_packed", "raw_dequant", report);
  check_encoder(rows, *vectors, "packed", "dequant", {}, gguf::encoded_by_rule<T>, report);
  if (!vectors->has("packed_noimat")) return;
  check_decoder(rows, *vectors, "packed_noimat", "dequant_noimat", report);
  check_decoder(rows, *vectors, "packed_imat", "dequant_imat", report);
  check_encoder(rows, *vectors, "packed_noimat", "dequant_noimat", {}, gguf::encoded_by_rule<T>, report);
  const auto importance = vectors->values<float>("imatrix");
  check_encoder(rows, *vectors, "packed_imat", "dequant_imat", importance, !gguf::searchable<T>, report);
}

constexpr Check checks[] = {
    {"gguf/q4_0.safetensors", check_blocks<BlockType::q4_0>},
    {"gguf/q4_1.safetensors", check_blocks<BlockType::q4_1>},
    {"gguf/q5_0.safetensors", check_blocks<BlockType::q5_0>},
    {"gguf/q5_1.safetensors", check_blocks<BlockType::q5_1>},
    {"gguf/q8_0.safetensors", check_blocks<BlockType::q8_0>},
    {"gguf/q2_K.safetensors", check_blocks<BlockType::q2_k>},
    {"gguf/q3_K.safetensors", check_blocks<BlockType::q3_k>},
    {"gguf/q4_K.safetensors", check_blocks<BlockType::q4_k>},
    {"gguf/q5_K.safetensors", check_blocks<BlockType::q5_k>},
    {"gguf/q6_K.safetensors", check_blocks<BlockType::q6_k>},
    {"gguf/iq4_nl.safetensors", check_blocks<BlockType::iq4_nl>},
    {"gguf/iq4_xs.safetensors", check_blocks<BlockType::iq4_xs>},
    {"gguf/tq1_0.safetensors", check_blocks<BlockType::tq1_0>},
    {"gguf/tq2_0.safetensors", check_blocks<BlockType::tq2_0>},
    {"gguf/mxfp4.safetensors", check_blocks<BlockType::mxfp4>},
    {"gguf/nvfp4.safetensors", check_blocks<BlockType::nvfp4>},
    {"gguf/q1_0.safetensors", check_blocks<BlockType::q1_0>},
    {"gguf/q2_0.safetensors", check_blocks<BlockType::q2_0>},
};

}  // namespace

std::span<const Check> gguf_checks() { return checks; }

}  // namespace golden
