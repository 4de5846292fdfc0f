#include "io/llama2c.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "pare/core/bits.hpp"

namespace io {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

static_assert(std::endian::native == std::endian::little, "tensors are read as they lie in the file");

namespace {

constexpr std::uint32_t magic = 0x616b3432;
constexpr std::size_t fields = 7;
constexpr std::size_t legacy_header = fields * 4;
constexpr std::size_t header_size = 256;

/// A kind of tensor: its name, shape, whether every layer has one, and whether version 2 stores it in int8.
struct Kind {
  std::string_view name;
  Extents (*shape)(const Llama2cConfig&);
  bool per_layer;
  bool quantized;
};

std::size_t kv_dim(const Llama2cConfig& c) { return c.head_dim() * c.kv_heads; }

constexpr Kind embeddings{"tok_embeddings.weight",
                          [](const Llama2cConfig& c) -> Extents { return {c.vocab_size, c.dim}; }, false, true};
constexpr Kind attention_norm{"attention_norm.weight", [](const Llama2cConfig& c) -> Extents { return {c.dim}; }, true,
                              false};
constexpr Kind wq{"attention.wq.weight", [](const Llama2cConfig& c) -> Extents { return {c.dim, c.dim}; }, true, true};
constexpr Kind wk{"attention.wk.weight", [](const Llama2cConfig& c) -> Extents { return {kv_dim(c), c.dim}; }, true,
                  true};
constexpr Kind wv{"attention.wv.weight", [](const Llama2cConfig& c) -> Extents { return {kv_dim(c), c.dim}; }, true,
                  true};
constexpr Kind wo{"attention.wo.weight", [](const Llama2cConfig& c) -> Extents { return {c.dim, c.dim}; }, true, true};
constexpr Kind ffn_norm{"ffn_norm.weight", [](const Llama2cConfig& c) -> Extents { return {c.dim}; }, true, false};
constexpr Kind w1{"feed_forward.w1.weight", [](const Llama2cConfig& c) -> Extents { return {c.hidden_dim, c.dim}; },
                  true, true};
constexpr Kind w2{"feed_forward.w2.weight", [](const Llama2cConfig& c) -> Extents { return {c.dim, c.hidden_dim}; },
                  true, true};
constexpr Kind w3{"feed_forward.w3.weight", [](const Llama2cConfig& c) -> Extents { return {c.hidden_dim, c.dim}; },
                  true, true};
constexpr Kind norm{"norm.weight", [](const Llama2cConfig& c) -> Extents { return {c.dim}; }, false, false};
constexpr Kind freqs_cos{"freqs_cos", [](const Llama2cConfig& c) -> Extents { return {c.seq_len, c.head_dim() / 2}; },
                         false, false};
constexpr Kind freqs_sin{"freqs_sin", [](const Llama2cConfig& c) -> Extents { return {c.seq_len, c.head_dim() / 2}; },
                         false, false};
constexpr Kind output{"output.weight", [](const Llama2cConfig& c) -> Extents { return {c.vocab_size, c.dim}; }, false,
                      true};

/// The order of the file; `output` is there only where it is not shared.
constexpr std::array legacy_order{embeddings, attention_norm, wq,        wk,        wv,    wo, ffn_norm, w1, w2,
                                  w3,         norm,           freqs_cos, freqs_sin, output};
constexpr std::array modern_order{attention_norm, ffn_norm, norm, embeddings, wq, wk, wv, wo, w1, w2, w3, output};

std::span<const Kind> order(const Llama2cConfig& config) {
  const std::span<const Kind> all = config.version == 0 ? std::span<const Kind>(legacy_order) : modern_order;
  return all.first(all.size() - (config.shared_classifier ? 1 : 0));
}

std::string tensor_name(const Kind& kind, std::size_t layer) {
  return kind.per_layer ? fmt::format("layers.{}.{}", layer, kind.name) : std::string(kind.name);
}

/// Bytes of the values and of the scales of one tensor.
struct Sizes {
  std::size_t values = 0;
  std::size_t scales = 0;
};

DType type_of(const Kind& kind, const Llama2cConfig& config) {
  return config.version == 2 && kind.quantized ? DType::i8 : DType::f32;
}

/// The sizes of a tensor, or nothing where they do not fit or groups do not divide it.
std::optional<Sizes> sizes_of(const Kind& kind, const Llama2cConfig& config) {
  const auto values = byte_count(type_of(kind, config), kind.shape(config));
  if (!values || type_of(kind, config) == DType::f32) return values ? std::optional(Sizes{*values, 0}) : std::nullopt;
  if (*values % config.group_size != 0) return std::nullopt;
  std::size_t scales = 0;
  if (!pare::checked_multiply(*values / config.group_size, sizeof(float), scales)) return std::nullopt;
  return Sizes{*values, scales};
}

/// Bytes of all tensors, or nothing where a size does not fit.
std::optional<std::size_t> total_size(const Llama2cConfig& config) {
  std::size_t total = 0;
  for (const Kind& kind : order(config)) {
    const auto sizes = sizes_of(kind, config);
    std::size_t bytes = 0;
    if (!sizes || sizes->values > std::numeric_limits<std::size_t>::max() - sizes->scales ||
        !pare::checked_multiply(sizes->values + sizes->scales, kind.per_layer ? config.layers : 1, bytes) ||
        bytes > std::numeric_limits<std::size_t>::max() - total)
      return std::nullopt;
    total += bytes;
  }
  return total;
}

std::int32_t load_i32(std::span<const std::byte> bytes, std::size_t offset) {
  std::int32_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

/// What is wrong with the numbers of a header, or an empty text.
std::string config_fault(const Llama2cConfig& c) {
  const std::pair<std::string_view, std::size_t> numbers[] = {{"dim", c.dim},
                                                              {"hidden_dim", c.hidden_dim},
                                                              {"n_layers", c.layers},
                                                              {"n_heads", c.heads},
                                                              {"n_kv_heads", c.kv_heads},
                                                              {"vocab_size", c.vocab_size},
                                                              {"max_seq_len", c.seq_len}};
  for (const auto& [name, value] : numbers)
    if (value < 1 || value > std::numeric_limits<std::int32_t>::max())
      return fmt::format("{} is not a positive 32-bit number", name);
  if (c.dim % c.heads != 0) return fmt::format("n_heads {} does not divide dim {}", c.heads, c.dim);
  if (c.heads % c.kv_heads != 0) return fmt::format("n_kv_heads {} does not divide n_heads {}", c.kv_heads, c.heads);
  return {};
}

/// The seven numbers that all versions begin with; a negative one becomes 0, except the legacy sign of vocab_size.
void read_fields(std::span<const std::byte> bytes, std::size_t offset, Llama2cConfig& config) {
  const bool legacy = config.version == 0;
  const std::int64_t vocab = load_i32(bytes, offset + 5 * sizeof(std::int32_t));
  if (legacy) config.shared_classifier = vocab > 0;
  const auto number = [&](std::size_t i) {
    return static_cast<std::size_t>(std::max<std::int64_t>(load_i32(bytes, offset + i * sizeof(std::int32_t)), 0));
  };
  config.dim = number(0);
  config.hidden_dim = number(1);
  config.layers = number(2);
  config.heads = number(3);
  config.kv_heads = number(4);
  config.vocab_size = static_cast<std::size_t>(legacy && vocab < 0 ? -vocab : std::max<std::int64_t>(vocab, 0));
  config.seq_len = number(6);
}

/// A header and the number of bytes that it takes.
struct Header {
  Llama2cConfig config;
  std::size_t size = 0;
};

/// Reads the header, or says what is wrong with it.
Result<Header> read_header(std::span<const std::byte> bytes) {
  const auto fault = [](std::string message, ErrorCode code = ErrorCode::corrupt_data) {
    return Error{code, std::move(message)};
  };
  if (bytes.size() < legacy_header) return fault("too short for a llama2.c file");
  Header header;
  Llama2cConfig& config = header.config;
  if (static_cast<std::uint32_t>(load_i32(bytes, 0)) != magic) {
    header.size = legacy_header;
    read_fields(bytes, 0, config);
  } else {
    if (bytes.size() < header_size) return fault("too short for a llama2.c header");
    header.size = header_size;
    config.version = load_i32(bytes, 4);
    if (config.version != 1 && config.version != 2)
      return fault(fmt::format("unknown llama2.c version {}", config.version), ErrorCode::unsupported);
    read_fields(bytes, 8, config);
    const auto shared = std::to_integer<unsigned>(bytes[36]);
    if (shared > 1) return fault(fmt::format("the flag of a shared classifier is {}", shared));
    config.shared_classifier = shared == 1;
    if (config.version == 2) {
      const std::int32_t group = load_i32(bytes, 37);
      if (group < 1) return fault(fmt::format("group size {} is not positive", group));
      config.group_size = static_cast<std::size_t>(group);
      if (config.dim % config.group_size != 0)
        return fault(fmt::format("group size {} does not divide dim {}", group, config.dim));
    }
  }
  if (auto what = config_fault(config); !what.empty()) return fault(std::move(what));
  return header;
}

}  // namespace

Result<Llama2cFile> Llama2cFile::open(const std::filesystem::path& path) {
  auto mapped = MappedFile::open(path);
  if (!mapped) return std::move(mapped).error();
  auto file = parse(mapped->bytes(), path.string());
  if (file) file->file_ = *std::move(mapped);
  return file;
}

Result<Llama2cFile> Llama2cFile::parse(std::span<const std::byte> bytes, std::string_view name) {
  const auto header = read_header(bytes);
  if (!header) return Error{header.error().code, fmt::format("{}: {}", name, header.error().message)};
  auto rest = bytes.subspan(header->size);
  const auto size = total_size(header->config);
  if (size != rest.size())
    return Error{ErrorCode::corrupt_data, fmt::format("{}: the header announces {} bytes of tensors, the file has {}",
                                                      name, size ? fmt::to_string(*size) : "too many", rest.size())};

  Llama2cFile file;
  file.config_ = header->config;
  const auto take = [&](std::size_t count) {
    const auto part = rest.first(count);
    rest = rest.subspan(count);
    return part;
  };
  for (const Kind& kind : order(file.config_)) {
    const Sizes sizes = *sizes_of(kind, file.config_);
    for (std::size_t layer = 0; layer < (kind.per_layer ? file.config_.layers : 1); ++layer) {
      const auto values = take(sizes.values);
      file.tensors_.push_back(
          {{{tensor_name(kind, layer), type_of(kind, file.config_), kind.shape(file.config_)}, values},
           take(sizes.scales)});
    }
  }
  if (file.config_.shared_classifier) {
    Llama2cTensor shared = *std::ranges::find(file.tensors_, embeddings.name, &Llama2cTensor::name);
    shared.name = output.name;
    file.tensors_.push_back(std::move(shared));
  }
  file.by_name_.resize(file.tensors_.size());
  for (std::size_t i = 0; i < file.by_name_.size(); ++i) file.by_name_[i] = i;
  std::ranges::sort(file.by_name_, {}, [&](std::size_t i) -> const std::string& { return file.tensors_[i].name; });
  return file;
}

const Llama2cTensor* Llama2cFile::find(std::string_view name) const noexcept {
  const auto name_of = [&](std::size_t i) -> std::string_view { return tensors_[i].name; };
  const auto found = std::ranges::lower_bound(by_name_, name, {}, name_of);
  return found != by_name_.end() && name_of(*found) == name ? &tensors_[*found] : nullptr;
}

std::vector<float> to_floats(const Llama2cTensor& tensor) {
  if (tensor.dtype == DType::f32) {
    std::vector<float> values(tensor.bytes.size() / sizeof(float));
    if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }
  std::vector<float> values(tensor.bytes.size());
  const std::size_t group = values.size() / (tensor.scales.size() / sizeof(float));
  for (std::size_t i = 0; i < values.size(); ++i) {
    float scale = 0;
    std::memcpy(&scale, tensor.scales.data() + i / group * sizeof(float), sizeof scale);
    values[i] = static_cast<float>(static_cast<std::int8_t>(tensor.bytes[i])) * scale;
  }
  return values;
}

Result<void> write_llama2c_v0(const std::filesystem::path& path, const Llama2cConfig& config, Llama2cSource source) {
  const auto fault = [&](std::string_view what) {
    return Error{ErrorCode::invalid_argument, fmt::format("{}: {}", path.string(), what)};
  };
  Llama2cConfig legacy = config;
  legacy.version = 0;
  if (const auto what = config_fault(legacy); !what.empty()) return fault(what);
  if (!total_size(legacy)) return fault("the tensors are too large");

  auto file = OutputFile::create(path);
  if (!file) return std::move(file).error();
  const auto vocab = static_cast<std::int32_t>(legacy.vocab_size);
  const std::int32_t header[fields] = {
      static_cast<std::int32_t>(legacy.dim),      static_cast<std::int32_t>(legacy.hidden_dim),
      static_cast<std::int32_t>(legacy.layers),   static_cast<std::int32_t>(legacy.heads),
      static_cast<std::int32_t>(legacy.kv_heads), legacy.shared_classifier ? vocab : -vocab,
      static_cast<std::int32_t>(legacy.seq_len)};
  if (auto done = file->write(std::as_bytes(std::span(header))); !done) return done;
  for (const Kind& kind : order(legacy)) {
    const std::size_t bytes = sizes_of(kind, legacy)->values;
    for (std::size_t layer = 0; layer < (kind.per_layer ? legacy.layers : 1); ++layer) {
      const std::string name = tensor_name(kind, layer);
      const auto values = source(name);
      if (!values) return values.error();
      if (values->size() * sizeof(float) != bytes)
        return fault(fmt::format("{} has {} values instead of {}", name, values->size(), bytes / sizeof(float)));
      if (auto done = file->write(std::as_bytes(std::span(*values))); !done) return done;
    }
  }
  return file->commit();
}

}  // namespace io
