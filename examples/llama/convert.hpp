#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.hpp"
#include "io/quantize_file.hpp"
#include "llama/layer_codes.hpp"
#include "llama/tokenizer.hpp"
#include "llama/weight_files.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// What became of a model's linear layers on their way to another layout.
struct ConvertedModel {
  struct Layer {
    std::string name;
    std::string from;  ///< the layout or scheme that it had
    std::size_t bytes_before = 0;
    std::size_t bytes_after = 0;
  };
  std::vector<Layer> layers;
  std::size_t file_bytes = 0;
};

/// Where the tensors of a model that is to be written come from, when not all come from its files.
struct CodedSource {
  /// The codes of a linear layer.
  pare::FunctionRef<pare::Result<LayerCodes>(const ListedTensor&)> codes;
  /// The values of another tensor that has changed, such as a norm that took a scale in; nullptr for all others.
  pare::FunctionRef<pare::Result<std::shared_ptr<const std::vector<float>>>(const ListedTensor&)> floats;
};

/// The names that convert_model() takes besides gguf:TYPE: those of io::WeightLayout, "pare" and "float32".
std::vector<std::string> convertible_layouts();

/// Writes a quantized model in another layout, codes, scales and zero points as they are: as a folder in Hugging Face's
/// form whose config.json has a quantization_config. Layers of "float32" are what their codes stand for. All other
/// tensors stay as they are. Memory is bounded by the largest layer and a shard of 1 GiB. The folder appears whole or
/// not at all. Errors: an unknown layout, a layer that is not quantized, and whatever of a layer the layout cannot
/// hold, by the names of both.
pare::Result<ConvertedModel> convert_model(const WeightFiles& files, std::string_view layout,
                                           const std::filesystem::path& folder, io::Overwrite overwrite,
                                           io::ProgressCallback progress);

/// The same for linear layers, and tensors that go with them, of another source than the files.
pare::Result<ConvertedModel> write_coded_model(const WeightFiles& files, const CodedSource& source,
                                               std::string_view layout, const std::filesystem::path& folder,
                                               io::Overwrite overwrite, io::ProgressCallback progress);

}  // namespace llama
