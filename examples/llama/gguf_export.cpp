#include "llama/gguf_export.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "io/gguf_writer.hpp"
#include "io/json.hpp"
#include "llama/coded_layers.hpp"
#include "llama/elements.hpp"
#include "llama/gguf_metadata.hpp"
#include "llama/gguf_names.hpp"
#include "llama/rope.hpp"
#include "llama/weights.hpp"
#include "pare/pare.hpp"

namespace llama {
namespace fs = std::filesystem;
using io::GgmlType;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

/// A type of linear layers, and llama.cpp's number for a file of it (general.file_type).
struct FileType {
  GgmlType type;
  std::uint32_t number;
};
constexpr std::array<FileType, 21> file_types{{
    {GgmlType::f32, 0},    {GgmlType::f16, 1},    {GgmlType::bf16, 32},  {GgmlType::q4_0, 2},    {GgmlType::q4_1, 3},
    {GgmlType::q5_0, 8},   {GgmlType::q5_1, 9},   {GgmlType::q8_0, 7},   {GgmlType::q2_k, 10},   {GgmlType::q3_k, 12},
    {GgmlType::q4_k, 15},  {GgmlType::q5_k, 17},  {GgmlType::q6_k, 18},  {GgmlType::iq4_nl, 25}, {GgmlType::iq4_xs, 30},
    {GgmlType::tq1_0, 36}, {GgmlType::tq2_0, 37}, {GgmlType::mxfp4, 38}, {GgmlType::nvfp4, 39},  {GgmlType::q1_0, 40},
    {GgmlType::q2_0, 41},
}};

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  return result;
}

/// One tensor of the GGUF file.
struct Planned {
  std::string source;  ///< Hugging Face's name; empty for the rotary factors
  io::GgufTensorInfo info;
  bool linear = false;
};

/// The largest type not above the wished one that rows of `columns` values fill.
GgmlType fitting(GgmlType wish, std::size_t columns) {
  return columns % io::info_of(wish).elements == 0 ? wish : GgmlType::f16;
}

GgmlType vocabulary_type(GgmlType linear, std::size_t columns) {
  if (io::info_of(linear).plain) return linear;
  return fitting(GgmlType::q8_0, columns);
}

struct Plan {
  std::vector<Planned> tensors;
  std::vector<KeptLayer> kept;
  std::uint64_t bytes = 0;  ///< of the source's tensors
};

Result<Plan> make_plan(const WeightFiles& files, const Config& config, const GgufTarget& target) {
  const GgmlType type = target.type;
  const bool converted = target.linears == GgufLinears::converted;
  Plan plan;
  bool fits = false, linears = false;
  for (const ListedTensor& tensor : files.tensors()) {
    std::string name = to_gguf_name(tensor.name);
    if (config.tied && tensor.name == head_name) {
      if (files.find(embedding_name) != nullptr) continue;
      name = to_gguf_name(embedding_name);  // of a tied pair the file may hold either
    }
    if (name.empty()) continue;
    Planned planned{tensor.name, {name, GgmlType::f32, tensor.shape}};
    if (is_block_linear(config, tensor.name)) {
      planned.linear = linears = true;
      planned.info.type = converted ? type : fitting(type, tensor.shape.back());
      if (planned.info.type == type)
        fits = true;
      else
        plan.kept.push_back({name, tensor.shape.back()});
    } else if (tensor.shape.size() == 2) {
      planned.info.type = !converted                       ? vocabulary_type(type, tensor.shape.back())
                          : tensor.dtype == io::DType::f16 ? GgmlType::f16
                                                           : GgmlType::f32;
    }
    plan.bytes += io::byte_count(tensor.dtype, tensor.shape).value_or(0);
    plan.tensors.push_back(std::move(planned));
  }
  if (linears && !fits && !converted) {
    const io::GgmlTypeInfo& info = io::info_of(type);
    return Error{
        ErrorCode::unsupported,
        fmt::format("{}: no linear layer fits {}, whose blocks have {} values: tensor {} has rows of {}", files.name(),
                    info.name, info.elements, io::quote(plan.kept.front().name), plan.kept.front().columns)};
  }
  // llama.cpp wants these divisors of the angles as a tensor, not as the constants that they come from.
  if (config.rope.kind == Rope::Kind::llama3)
    plan.tensors.push_back({"", {"rope_freqs.weight", GgmlType::f32, {config.head_dim / 2}}});
  return plan;
}

std::vector<float> rotary_factors(const Config& config) {
  Config plain = config;
  plain.rope.kind = Rope::Kind::plain;
  std::vector<float> factors = rope_frequencies(plain);
  const std::vector<float> stretched = rope_frequencies(config);
  for (std::size_t i = 0; i < factors.size(); ++i) factors[i] /= stretched[i];
  return factors;
}

/// Reads one tensor as floats, its rows in GGUF's order.
Result<std::vector<float>> read_values(const WeightFiles& files, const Config& config, const std::string& name) {
  const auto tensor = files.read(name);
  if (!tensor) return tensor.error();
  std::vector<float> values(io::element_count(tensor->shape).value_or(0));
  to_floats(tensor->dtype, tensor->bytes, values);
  files.release(tensor->bytes);
  if (rotary_heads(config, name) == 0) return values;
  const std::size_t cols = tensor->shape.back();
  std::vector<float> turned(values.size());
  for (std::size_t r = 0; r < tensor->shape.front(); ++r)
    std::memcpy(turned.data() + r * cols, values.data() + rotary_row(r, config.head_dim) * cols, cols * sizeof(float));
  return turned;
}

template <class T>
std::vector<std::byte> as_elements(std::span<const float> values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const T element(values[i]);
    std::memcpy(bytes.data() + i * sizeof(T), &element, sizeof(T));
  }
  return bytes;
}

/// The blocks that hold a layer's codes exactly, its rows in GGUF's order.
Result<std::vector<std::byte>> converted_blocks(const WeightFiles& files, const Config& config,
                                                const Planned& planned) {
  auto matrix = files.read_coded(planned.source);
  if (!matrix) return matrix.error();
  if (rotary_heads(config, planned.source) != 0) {
    std::vector<std::size_t> sources(matrix->shape.rows);
    for (std::size_t r = 0; r < sources.size(); ++r) sources[r] = rotary_row(r, config.head_dim);
    matrix = with_rows(*matrix, sources);
  }
  auto blocks = matrix ? gguf_blocks(planned.info.type, *matrix) : matrix.error();
  if (blocks) return blocks;
  return Error{blocks.error().code,
               fmt::format("{}: tensor {}: {}", files.name(), io::quote(planned.source), blocks.error().message)};
}

/// The bytes of values in a type, and what they decode to where that is another value.
struct Encoded {
  std::vector<std::byte> bytes;
  std::optional<pare::ErrorStatistics> error;
};

Result<Encoded> encode(GgmlType type, bool fast, std::span<const float> values, pare::Shape shape,
                       pare::Executor executor) {
  if (type == GgmlType::f32) return Encoded{as_elements<float>(values), {}};
  if (type == GgmlType::f16) return Encoded{as_elements<pare::Half>(values), {}};
  if (type == GgmlType::bf16) return Encoded{as_elements<pare::BFloat16>(values), {}};
  const auto block = static_cast<pare::gguf::BlockType>(type);
  Encoded encoded;
  encoded.bytes.resize(io::byte_count(type, std::array{shape.rows, shape.cols}).value_or(0));
  const std::span<std::uint8_t> bytes(reinterpret_cast<std::uint8_t*>(encoded.bytes.data()), encoded.bytes.size());
  const pare::MatrixView<const float> matrix(values.data(), shape.rows, shape.cols);
  const pare::gguf::QuantizeOptions options{.executor = executor};
  auto quantized = fast ? pare::gguf::quantize_fast(block, matrix, bytes, options)
                        : pare::gguf::quantize(block, matrix, bytes, options);
  if (!quantized) return std::move(quantized).error();
  std::vector<float> decoded(values.size());
  if (auto done = pare::gguf::dequantize(block, bytes, decoded); !done) return std::move(done).error();
  encoded.error = pare::ErrorStatistics{};
  for (std::size_t i = 0; i < values.size(); ++i) encoded.error->add(values[i], decoded[i]);
  return encoded;
}

std::uint32_t file_type(GgmlType type) { return std::ranges::find(file_types, type, &FileType::type)->number; }

}  // namespace

Result<GgmlType> gguf_type(std::string_view name) {
  std::vector<std::string> known;
  for (const FileType& row : file_types) {
    known.push_back(lower(io::info_of(row.type).name));
    if (known.back() == lower(name)) return row.type;
  }
  return Error{ErrorCode::invalid_argument,
               fmt::format("unknown GGUF type \"{}\"; the known ones are {}", name, fmt::join(known, ", "))};
}

Result<GgufModel> write_gguf(const WeightFiles& files, const Tokenizer& tokenizer, const fs::path& path,
                             const GgufTarget& target, io::Overwrite overwrite, pare::Executor executor,
                             io::ProgressCallback progress) {
  if (auto free = check_output(path, overwrite); !free) return std::move(free).error();
  const auto config = files.config();
  if (!config) return config.error();
  if (auto complete = check_weights(files, *config); !complete) return std::move(complete).error();
  const GgmlType type = target.type;
  const bool converted = target.linears == GgufLinears::converted;
  if (converted && io::info_of(type).plain)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("gguf:{} has no blocks of codes; quantize writes it", lower(io::info_of(type).name))};
  if (!converted)
    if (auto floats = files.require_floats(); !floats) return std::move(floats).error();
  auto plan = make_plan(files, *config, target);
  if (!plan) return std::move(plan).error();
  const std::string name = fs::absolute(files.folder()).lexically_normal().filename().string();
  const auto metadata = gguf_metadata(*config, tokenizer, name.empty() ? "model" : name, file_type(type));
  if (!metadata) return Error{metadata.error().code, fmt::format("{}: {}", files.name(), metadata.error().message)};

  std::vector<io::GgufTensorInfo> infos;
  for (const Planned& planned : plan->tensors) infos.push_back(planned.info);
  auto writer = io::GgufWriter::create(path, *metadata, std::move(infos));
  if (!writer) return std::move(writer).error();

  GgufModel model;
  model.scheme = fmt::format("gguf:{}", lower(io::info_of(type).name));
  model.kept = std::move(plan->kept);
  std::uint64_t done = 0;
  for (const Planned& planned : plan->tensors) {
    if (converted && planned.linear) {
      const auto blocks = converted_blocks(files, *config, planned);
      if (!blocks) return blocks.error();
      if (auto written = writer->write(planned.info.name, *blocks); !written) return std::move(written).error();
      model.tensors.push_back({planned.info.name, planned.info.shape, blocks->size(), 0, {}});
      continue;
    }
    const auto values = planned.source.empty() ? Result<std::vector<float>>(rotary_factors(*config))
                                               : read_values(files, *config, planned.source);
    if (!values) return values.error();
    const std::size_t cols = planned.info.shape.back();
    const pare::Shape shape{cols == 0 ? 0 : values->size() / cols, cols};
    const auto encoded = encode(planned.info.type, target.fast, *values, shape, executor);
    if (!encoded)
      return Error{encoded.error().code,
                   fmt::format("{}: tensor {}: {}", files.name(), io::quote(planned.source), encoded.error().message)};
    if (auto written = writer->write(planned.info.name, encoded->bytes); !written) return std::move(written).error();
    if (planned.linear)
      model.tensors.push_back({planned.info.name, planned.info.shape, encoded->bytes.size(), 0,
                               encoded->error.value_or(pare::ErrorStatistics{})});
    if (!planned.source.empty())
      done += io::byte_count(files.find(planned.source)->dtype, planned.info.shape).value_or(0);
    progress(done, plan->bytes);
  }
  if (auto finished = writer->finish(); !finished) return std::move(finished).error();
  std::error_code ignored;
  model.file_bytes = static_cast<std::size_t>(fs::file_size(path, ignored));
  return model;
}

}  // namespace llama
