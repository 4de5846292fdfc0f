#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "io/llama2c.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// How positions turn queries and keys: the base of the frequencies and what stretches them to longer contexts.
struct Rope {
  enum class Kind { plain, linear, llama3 };

  Kind kind = Kind::plain;
  double theta = 10000.0;
  double factor = 1.0;            ///< linear, llama3
  double low_frequency = 1.0;     ///< llama3
  double high_frequency = 4.0;    ///< llama3
  double original_context = 0.0;  ///< llama3: positions of the model before stretching
};

/// The sizes and constants of a LLaMA.
struct Config {
  std::size_t vocab_size = 0;
  std::size_t hidden_size = 0;
  std::size_t intermediate_size = 0;
  std::size_t layers = 0;
  std::size_t heads = 0;
  std::size_t kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t context = 0;  ///< positions the model was made for
  double norm_epsilon = 1e-6;
  bool tied = false;  ///< the output head is the embedding
  Rope rope;
  std::vector<std::int32_t> end_tokens;

  [[nodiscard]] std::size_t query_size() const noexcept { return heads * head_dim; }
  [[nodiscard]] std::size_t kv_size() const noexcept { return kv_heads * head_dim; }
};

/// Reads a config.json of Hugging Face transformers, of its versions 4 and 5. Errors: corrupt_data that names `name`,
/// the field and the fault; unsupported for an architecture or option that the forward pass does not have.
pare::Result<Config> parse_config(std::string_view text, std::string_view name);

/// The same from a file.
pare::Result<Config> read_config(const std::filesystem::path& path);

/// The configuration that a llama2.c header stands for.
Config to_config(const io::Llama2cConfig& header);

/// A config.json that parse_config reads back.
std::string to_json(const Config& config);

/// The text of a config.json with the sizes of another configuration, all else as it was; the head dimension becomes
/// explicit. `blocks` are those of the old layers that are left, in ascending order; empty: all. Errors: those of
/// read_config.
pare::Result<std::string> resize_config(const std::filesystem::path& path, const Config& config,
                                        const std::vector<std::size_t>& blocks);

}  // namespace llama
