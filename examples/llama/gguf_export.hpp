#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.hpp"
#include "io/ggml_type.hpp"
#include "io/quantize_file.hpp"
#include "llama/model_writer.hpp"
#include "llama/tokenizer.hpp"
#include "llama/weight_files.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// A type that the linear layers of a GGUF file can have, by its name in lower or upper case: "q4_0", "Q6_K", "f16".
/// Error: an unknown name, with the list of those there are.
pare::Result<io::GgmlType> gguf_type(std::string_view name);

/// A linear layer that stayed F16 because its rows do not divide into blocks.
struct KeptLayer {
  std::string name;
  std::size_t columns;
};

/// What became of a model on its way to GGUF.
struct GgufModel : CompressedModel {
  std::vector<KeptLayer> kept;
};

/// Where the blocks of linear layers come from.
enum class GgufLinears {
  quantized,  ///< from floats: rows that do not divide into blocks stay F16
  converted,  ///< from codes that are there, exactly; embedding and head become F32, or stay F16
};

/// What a GGUF file is to hold.
struct GgufTarget {
  io::GgmlType type;  ///< of the linear layers
  GgufLinears linears = GgufLinears::quantized;
  bool fast = false;  ///< by gguf::quantize_fast
};

/// Writes the model as one GGUF file for llama.cpp: the linear layers of the blocks in the target's type; embedding and
/// head in Q8_0 where that has blocks and their rows divide into blocks of 32, else in F16 (F32 if that is the type);
/// norms in F32. A head that is shared with the embedding is not written twice. Works tensor by tensor; the file
/// appears whole or not at all. Errors: those of the files, tensors that are packed already, no linear layer at all
/// whose rows divide into the type's blocks, codes that blocks cannot hold, a vocabulary that does not fit, faults of
/// the disk.
pare::Result<GgufModel> write_gguf(const WeightFiles& files, const Tokenizer& tokenizer,
                                   const std::filesystem::path& path, const GgufTarget& target, io::Overwrite overwrite,
                                   pare::Executor executor, io::ProgressCallback progress);

}  // namespace llama
