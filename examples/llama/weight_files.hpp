#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/checkpoint.hpp"
#include "io/gguf.hpp"
#include "io/llama2c.hpp"
#include "io/packed_matrix.hpp"
#include "io/weight_layout.hpp"
#include "llama/architecture.hpp"
#include "llama/config.hpp"

namespace llama {

/// A tensor under its Hugging Face name. `bytes` are those of the file, or of `owned` where they had to be converted.
struct Tensor : io::TensorView {
  std::shared_ptr<const std::vector<float>> owned;
};

/// What is known of a tensor before it is read. A packed one is listed once, for all its parts.
struct ListedTensor : io::TensorInfo {
  std::string scheme;     ///< of pare's catalog where `packed`; "int8-gN" for llama2.c's codes, GGUF's name for its
                          ///< blocks, that of another layout; else empty
  bool packed = false;    ///< read_packed() reads it, and not read(), which gives tensors of `dtype`
  std::size_t bytes = 0;  ///< in the file
};

/// The weights of a model on disk: whatever io::Checkpoint opens, or a llama2.c .bin, read tensor by tensor under
/// Hugging Face names. The rotary halves of llama2.c's and GGUF's queries and keys come in Hugging Face's order. GGUF's
/// tensors come as F32, whatever their blocks, as do linear layers in a layout that config.json's quantization_config
/// describes: each is one tensor, whatever its parts.
class WeightFiles {
 public:
  /// Opens MODEL; every file is validated, no tensor is read.
  static pare::Result<WeightFiles> open(const std::filesystem::path& model);

  /// The configuration: config.json of the folder or beside the file, the GGUF file's own, or the llama2.c header.
  [[nodiscard]] pare::Result<Config> config() const;

  /// What the files say about themselves, as text, without the description of packed tensors; of two entries with one
  /// key, the first.
  [[nodiscard]] io::Metadata metadata() const;

  /// All tensors in the order of their data.
  [[nodiscard]] const std::vector<ListedTensor>& tensors() const noexcept { return tensors_; }

  /// The tensor of that name, or nullptr.
  [[nodiscard]] const ListedTensor* find(std::string_view name) const;

  /// The tensor, which must have this shape and be packed, F32, F16 or BF16. The error names the file, the tensor, what
  /// was expected and what was found.
  [[nodiscard]] pare::Result<const ListedTensor*> require(const ExpectedTensor& expected) const;

  /// An `unsupported` error that names the first tensor that is packed or in another layout's codes, if there is any.
  [[nodiscard]] pare::Result<void> require_floats() const;

  /// Reads a tensor that is not packed. Its bytes last as long as it and these files do.
  [[nodiscard]] pare::Result<Tensor> read(std::string_view name) const;

  /// Reads a tensor that is packed; the matrix lasts as long as these files do.
  [[nodiscard]] pare::Result<io::PackedMatrix> read_packed(std::string_view name) const;

  /// The codes of a linear layer, whatever quantized it, rows in Hugging Face's order. Error: unsupported where it has
  /// none.
  [[nodiscard]] pare::Result<pare::CodedMatrix> read_coded(std::string_view name) const;

  /// Lets the system drop the pages of a tensor that has been read.
  void release(std::span<const std::byte> bytes) const noexcept;

  /// The file that messages name.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// The folder of the weights, where config.json and the tokenizer are.
  [[nodiscard]] const std::filesystem::path& folder() const noexcept { return folder_; }
  [[nodiscard]] bool is_llama2c() const noexcept { return std::holds_alternative<io::Llama2cFile>(source_); }
  /// The GGUF file, or the first shard, which has the metadata; nullptr where the model is stored otherwise.
  [[nodiscard]] const io::GgufFile* gguf() const noexcept {
    const auto* shards = std::get_if<std::vector<io::GgufFile>>(&source_);
    return shards == nullptr ? nullptr : &shards->front();
  }
  /// The bytes of the weight files.
  [[nodiscard]] std::size_t file_bytes() const noexcept { return file_bytes_; }

 private:
  using Source = std::variant<io::Checkpoint, io::Llama2cFile, std::vector<io::GgufFile>>;

  WeightFiles(Source source, std::filesystem::path folder, std::string name)
      : source_(std::move(source)), folder_(std::move(folder)), name_(std::move(name)) {}
  static pare::Result<WeightFiles> open_checkpoint(const std::filesystem::path& model);
  static pare::Result<WeightFiles> open_llama2c(const std::filesystem::path& model);
  static pare::Result<WeightFiles> open_gguf(const std::filesystem::path& model);
  /// Lists the layers in a layout of another tool; nothing where config.json has no quantization_config.
  pare::Result<void> find_layers();
  void index();

  Source source_;
  std::filesystem::path folder_;
  std::string name_;
  std::size_t file_bytes_ = 0;
  std::optional<io::WeightLayout> layout_;
  std::map<std::string, std::vector<const io::TensorView*>, std::less<>> layers_;  ///< parts by the weight's name
  std::vector<ListedTensor> tensors_;
  std::vector<io::PackedEntry> packed_;
  std::map<std::string, std::size_t, std::less<>> by_name_;  ///< indices into tensors_
};

}  // namespace llama
