#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.hpp"
#include "io/tensor.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace io {

/// The header of a llama2.c checkpoint.
struct Llama2cConfig {
  int version = 0;  ///< 0 legacy float, 1 float, 2 int8 in groups
  std::size_t dim = 0;
  std::size_t hidden_dim = 0;
  std::size_t layers = 0;
  std::size_t heads = 0;
  std::size_t kv_heads = 0;
  std::size_t vocab_size = 0;
  std::size_t seq_len = 0;
  bool shared_classifier = true;  ///< output.weight is tok_embeddings.weight
  std::size_t group_size = 0;     ///< consecutive values that share a scale; version 2 only

  [[nodiscard]] std::size_t head_dim() const noexcept { return dim / heads; }
};

/// A tensor of a llama2.c checkpoint. With dtype i8, `scales` holds one f32 for each group of the flattened tensor.
struct Llama2cTensor : TensorView {
  std::span<const std::byte> scales;
};

/// A llama2.c checkpoint of version 0, 1 or 2. Tensor names are those of its exporter: tok_embeddings.weight,
/// layers.N.attention_norm.weight, layers.N.attention.{wq,wk,wv,wo}.weight, layers.N.ffn_norm.weight,
/// layers.N.feed_forward.{w1,w2,w3}.weight, norm.weight, output.weight (also where it is shared), and in version 0
/// freqs_cos and freqs_sin. Weights are [out, in]; the rows of wq and wk are in interleaved rotary order.
class Llama2cFile {
 public:
  /// Maps and checks `path`: the header's sizes must account for every byte of the file.
  static pare::Result<Llama2cFile> open(const std::filesystem::path& path);

  /// The same for bytes in memory, which must outlive the result. `name` stands for the file in messages.
  static pare::Result<Llama2cFile> parse(std::span<const std::byte> bytes, std::string_view name);

  [[nodiscard]] const Llama2cConfig& config() const noexcept { return config_; }

  /// The tensors in the order of the file, layers of one kind in a row; a shared output.weight comes last.
  [[nodiscard]] const std::vector<Llama2cTensor>& tensors() const noexcept { return tensors_; }

  /// The tensor of that name, or nullptr.
  [[nodiscard]] const Llama2cTensor* find(std::string_view name) const noexcept;

  /// Lets the system drop the pages of a tensor that has been read (MappedFile::release).
  void release(std::span<const std::byte> bytes) const noexcept { file_.release(bytes); }

 private:
  Llama2cFile() = default;

  MappedFile file_;
  Llama2cConfig config_;
  std::vector<Llama2cTensor> tensors_;
  std::vector<std::size_t> by_name_;  ///< indices into tensors_, sorted by name
};

/// The values of a tensor as floats; int8 codes are multiplied by their group's scale.
std::vector<float> to_floats(const Llama2cTensor& tensor);

/// Gives the values of the tensor with that name.
using Llama2cSource = pare::FunctionRef<pare::Result<std::vector<float>>(std::string_view)>;

/// Writes a version 0 checkpoint; `config.version` and `config.group_size` are not used. Asks `source` for one tensor
/// after the other, freqs_cos and freqs_sin ([seq_len, head_dim / 2]) included, output.weight only where it is not
/// shared.
pare::Result<void> write_llama2c_v0(const std::filesystem::path& path, const Llama2cConfig& config,
                                    Llama2cSource source);

}  // namespace io
