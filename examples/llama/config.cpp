#include "llama/config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "io/file.hpp"
#include "io/json.hpp"
#include "io/weight_layout.hpp"

namespace llama {
using nlohmann::json;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

constexpr std::size_t largest_extent = std::size_t{1} << 24;

/// Reads the fields of one JSON object and keeps the first fault.
class Fields {
 public:
  Fields(const json& object, std::string name) : object_(object), name_(std::move(name)) {}

  /// The field, or nullptr where it is absent or null.
  [[nodiscard]] const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  [[nodiscard]] bool is_null(const char* key) const {
    const auto found = object_.find(key);
    return found != object_.end() && found->is_null();
  }

  std::size_t extent(const char* key, std::optional<std::size_t> otherwise = {}) {
    const json* value = find(key);
    if (value == nullptr && otherwise) return *otherwise;
    if (value == nullptr) return fail(ErrorCode::corrupt_data, fmt::format("has no {}", key)), 1;
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() < 1 ||
        value->get<std::uint64_t>() > largest_extent) {
      fail(ErrorCode::corrupt_data,
           fmt::format("{} must be a whole number from 1 to {}, it is {}", key, largest_extent, shown(*value)));
      return 1;
    }
    return value->get<std::size_t>();
  }

  double positive(const char* key, std::optional<double> otherwise = {}) {
    const json* value = find(key);
    if (value == nullptr && otherwise) return *otherwise;
    if (value == nullptr) return fail(ErrorCode::corrupt_data, fmt::format("has no {}", key)), 1.0;
    const double number = value->is_number() ? value->get<double>() : -1.0;
    if (number > 0 && std::isfinite(number) && number <= 1e12) return number;
    fail(ErrorCode::corrupt_data, fmt::format("{} must be a positive number, it is {}", key, shown(*value)));
    return 1.0;
  }

  bool flag(const char* key, bool otherwise) {
    const json* value = find(key);
    if (value == nullptr) return otherwise;
    if (value->is_boolean()) return value->get<bool>();
    fail(ErrorCode::corrupt_data, fmt::format("{} must be true or false, it is {}", key, shown(*value)));
    return otherwise;
  }

  std::string text(const char* key, std::string_view otherwise) {
    const json* value = find(key);
    if (value == nullptr) return std::string(otherwise);
    if (value->is_string()) return value->get<std::string>();
    fail(ErrorCode::corrupt_data, fmt::format("{} must be a text, it is {}", key, shown(*value)));
    return std::string(otherwise);
  }

  /// The fields of a nested object, which report to the same fault.
  Fields nested(const char* key, const json& value) { return {value, fmt::format("{}: {}", name_, key)}; }

  void fail(ErrorCode code, std::string_view what) {
    if (!fault_) fault_ = Error{code, fmt::format("{}: {}", name_, what)};
  }
  void unsupported(std::string_view what) { fail(ErrorCode::unsupported, what); }
  void take_fault(const Fields& other) {
    if (!fault_) fault_ = other.fault_;
  }
  [[nodiscard]] const std::optional<Error>& fault() const { return fault_; }

  static std::string shown(const json& value) {
    return value.is_structured() ? std::string(value.type_name())
                                 : io::quote(value.is_string() ? value.get_ref<const std::string&>() : value.dump());
  }

 private:
  const json& object_;
  std::string name_;
  std::optional<Error> fault_;
};

/// The rope of transformers 5 (rope_parameters holds all) or 4 (rope_theta, and rope_scaling where it is stretched).
Rope read_rope(Fields& fields) {
  Rope rope;
  const json* parameters = fields.find("rope_parameters");
  const bool all_in_one = parameters != nullptr;
  const char* key = all_in_one ? "rope_parameters" : "rope_scaling";
  if (!all_in_one) parameters = fields.find(key);
  rope.theta = fields.positive("rope_theta", 10000.0);
  if (fields.positive("partial_rotary_factor", 1.0) != 1.0)
    fields.unsupported("a partial_rotary_factor is not supported");
  if (parameters == nullptr) return rope;
  if (!parameters->is_object()) {
    fields.fail(ErrorCode::corrupt_data, fmt::format("{} must be an object", key));
    return rope;
  }

  Fields inner = fields.nested(key, *parameters);
  rope.theta = inner.positive("rope_theta", rope.theta);
  if (inner.positive("partial_rotary_factor", 1.0) != 1.0)
    inner.unsupported("a partial_rotary_factor is not supported");
  const std::string kind = inner.text("rope_type", inner.text("type", "default"));
  if (kind == "linear") {
    rope.kind = Rope::Kind::linear;
    rope.factor = inner.positive("factor");
  } else if (kind == "llama3") {
    rope.kind = Rope::Kind::llama3;
    rope.factor = inner.positive("factor");
    rope.low_frequency = inner.positive("low_freq_factor");
    rope.high_frequency = inner.positive("high_freq_factor");
    rope.original_context = static_cast<double>(inner.extent("original_max_position_embeddings"));
    if (!inner.fault() && !(rope.low_frequency < rope.high_frequency))
      inner.fail(ErrorCode::corrupt_data, "low_freq_factor must be less than high_freq_factor");
  } else if (kind != "default") {
    inner.unsupported(fmt::format("rope_type {} is not supported; default, linear and llama3 are", io::quote(kind)));
  }
  fields.take_fault(inner);
  return rope;
}

std::vector<std::int32_t> read_end_tokens(Fields& fields) {
  const json* value = fields.find("eos_token_id");
  if (value == nullptr) return {};
  std::vector<std::int32_t> ids;
  const json list = value->is_array() ? *value : json::array({*value});
  for (const json& id : list) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > largest_extent) {
      fields.fail(ErrorCode::corrupt_data, "eos_token_id must be a token id or a list of them");
      return {};
    }
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

void check_architecture(Fields& fields, const Config& config) {
  const std::string type = fields.text("model_type", "llama");
  if (type != "llama" && type != "mistral")
    fields.unsupported(fmt::format("model_type {} is not supported", io::quote(type)));
  constexpr std::size_t mistral_window = 4096;  // what transformers takes where the field is absent; null means none
  if (type == "mistral" && !fields.is_null("sliding_window") &&
      fields.extent("sliding_window", mistral_window) < config.context)
    fields.unsupported("a sliding_window shorter than max_position_embeddings is not supported");
  const std::string activation = fields.text("hidden_act", "silu");
  if (activation != "silu") fields.unsupported(fmt::format("hidden_act {} is not supported", io::quote(activation)));
  for (const char* key : {"attention_bias", "mlp_bias"})
    if (fields.flag(key, false)) fields.unsupported(fmt::format("{} is not supported", key));
  if (const nlohmann::json* quantization = fields.find("quantization_config"))
    if (const auto layout = io::WeightLayout::described(*quantization); !layout)
      fields.unsupported(layout.error().message);
}

void check_sizes(Fields& fields, const Config& config) {
  const auto corrupt = [&](std::string_view what) { fields.fail(ErrorCode::corrupt_data, what); };
  if (config.heads % config.kv_heads != 0)
    corrupt(fmt::format("num_attention_heads ({}) must be a multiple of num_key_value_heads ({})", config.heads,
                        config.kv_heads));
  if (fields.find("head_dim") == nullptr && config.hidden_size % config.heads != 0)
    corrupt(fmt::format("hidden_size ({}) must be a multiple of num_attention_heads ({})", config.hidden_size,
                        config.heads));
  if (config.head_dim % 2 != 0) corrupt(fmt::format("the head dimension ({}) must be even", config.head_dim));
  if (config.query_size() > largest_extent)
    corrupt(fmt::format("num_attention_heads ({}) times the head dimension ({}) is beyond {}", config.heads,
                        config.head_dim, largest_extent));
}

}  // namespace

Result<Config> parse_config(std::string_view text, std::string_view name) {
  const auto document = io::parse_json(text, name);
  if (!document) return document.error();
  if (!document->is_object()) return Error{ErrorCode::corrupt_data, fmt::format("{}: is not a JSON object", name)};

  Fields fields(*document, std::string(name));
  Config config;
  config.vocab_size = fields.extent("vocab_size");
  config.hidden_size = fields.extent("hidden_size");
  config.intermediate_size = fields.extent("intermediate_size");
  config.layers = fields.extent("num_hidden_layers");
  config.heads = fields.extent("num_attention_heads");
  config.kv_heads = fields.extent("num_key_value_heads", config.heads);
  config.head_dim = fields.extent("head_dim", std::max<std::size_t>(config.hidden_size / config.heads, 1));
  config.context = fields.extent("max_position_embeddings", 2048);
  config.norm_epsilon = fields.positive("rms_norm_eps", 1e-6);
  config.tied = fields.flag("tie_word_embeddings", false);
  config.rope = read_rope(fields);
  config.end_tokens = read_end_tokens(fields);
  check_architecture(fields, config);
  if (!fields.fault()) check_sizes(fields, config);
  if (fields.fault()) return *fields.fault();
  return config;
}

Result<Config> read_config(const std::filesystem::path& path) {
  const auto file = io::MappedFile::open(path);
  if (!file) return file.error();
  const auto bytes = file->bytes();
  return parse_config({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

Config to_config(const io::Llama2cConfig& header) {
  return {.vocab_size = header.vocab_size,
          .hidden_size = header.dim,
          .intermediate_size = header.hidden_dim,
          .layers = header.layers,
          .heads = header.heads,
          .kv_heads = header.kv_heads,
          .head_dim = header.head_dim(),
          .context = header.seq_len,
          .norm_epsilon = 1e-5,
          .tied = header.shared_classifier,
          .rope = {},
          .end_tokens = {2}};
}

std::string to_json(const Config& config) {
  nlohmann::ordered_json fields = {{"architectures", {"LlamaForCausalLM"}},
                                   {"model_type", "llama"},
                                   {"vocab_size", config.vocab_size},
                                   {"hidden_size", config.hidden_size},
                                   {"intermediate_size", config.intermediate_size},
                                   {"num_hidden_layers", config.layers},
                                   {"num_attention_heads", config.heads},
                                   {"num_key_value_heads", config.kv_heads},
                                   {"head_dim", config.head_dim},
                                   {"max_position_embeddings", config.context},
                                   {"hidden_act", "silu"},
                                   {"rms_norm_eps", config.norm_epsilon},
                                   {"tie_word_embeddings", config.tied},
                                   {"rope_theta", config.rope.theta},
                                   {"bos_token_id", 1}};
  if (config.rope.kind == Rope::Kind::linear)
    fields["rope_scaling"] = {{"rope_type", "linear"}, {"factor", config.rope.factor}};
  if (config.rope.kind == Rope::Kind::llama3)
    fields["rope_scaling"] = {
        {"rope_type", "llama3"},
        {"factor", config.rope.factor},
        {"low_freq_factor", config.rope.low_frequency},
        {"high_freq_factor", config.rope.high_frequency},
        {"original_max_position_embeddings", static_cast<std::size_t>(config.rope.original_context)}};
  if (!config.end_tokens.empty()) fields["eos_token_id"] = config.end_tokens;
  return fields.dump(2) + "\n";
}

Result<std::string> resize_config(const std::filesystem::path& path, const Config& config,
                                  const std::vector<std::size_t>& blocks) {
  const auto file = io::MappedFile::open(path);
  if (!file) return file.error();
  const auto bytes = file->bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (const auto valid = parse_config(text, path.string()); !valid) return valid.error();
  auto fields = nlohmann::ordered_json::parse(text, nullptr, false);
  fields["intermediate_size"] = config.intermediate_size;
  fields["num_hidden_layers"] = config.layers;
  fields["num_attention_heads"] = config.heads;
  fields["num_key_value_heads"] = config.kv_heads;
  fields["head_dim"] = config.head_dim;
  const auto types = fields.find("layer_types");  // one for each layer, as newer transformers write
  if (!blocks.empty() && types != fields.end() && types->is_array() && types->size() > blocks.back()) {
    auto kept = nlohmann::ordered_json::array();
    for (const std::size_t block : blocks) kept.push_back((*types)[block]);
    *types = std::move(kept);
  }
  return fields.dump(2) + "\n";
}

}  // namespace llama
