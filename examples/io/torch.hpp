#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.hpp"
#include "io/name_index.hpp"
#include "io/safetensors.hpp"
#include "io/tensor.hpp"
#include "pare/core/result.hpp"

namespace io {

/// A file that torch.save wrote: a zip archive, or the sequence of pickles that came before it (PyTorch 0.1.10 to 1.5).
/// Nothing in it is executed. Tensors that lie in one piece are read from the mapping when touched; views with other
/// strides, and what somebody has compressed, are brought into one piece in memory when the file is opened.
class TorchFile {
 public:
  /// Whether `bytes` start as such a file does.
  static bool recognizes(std::span<const std::byte> bytes) noexcept;

  /// Maps and checks `path`. The tensors are those of the model in it, as torch_state_dict finds them. Errors name the
  /// file and the tensor or the place: corrupt_data, and unsupported for storages, byte orders and kinds of tensors
  /// that pare does not know, and where strided views would take more than 64 MiB and four times the file.
  static pare::Result<TorchFile> open(const std::filesystem::path& path);

  /// The same for bytes in memory, which must outlive the result. `name` stands for the file in messages.
  static pare::Result<TorchFile> parse(std::span<const std::byte> bytes, std::string_view name);

  /// The tensors in the order of the state_dict.
  [[nodiscard]] const std::vector<TensorView>& tensors() const noexcept { return tensors_; }

  /// The tensor of that name, or nullptr.
  [[nodiscard]] const TensorView* find(std::string_view name) const noexcept { return by_name_.find(tensors_, name); }

  /// What the checkpoint says about itself (torch_metadata).
  [[nodiscard]] const Metadata& metadata() const noexcept { return metadata_; }

  /// Lets the system drop the pages of a tensor that has been read (MappedFile::release).
  void release(std::span<const std::byte> bytes) const noexcept { file_.release(bytes); }

  /// The name that messages use.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  TorchFile() = default;

  std::string name_;
  MappedFile file_;
  Metadata metadata_;
  std::vector<TensorView> tensors_;
  NameIndex by_name_;
  std::vector<std::vector<std::byte>> gathered_;  ///< the tensors that are not in the file as they are
};

}  // namespace io
