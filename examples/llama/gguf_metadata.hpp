#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/gguf.hpp"
#include "llama/config.hpp"
#include "llama/tokenizer.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// The sizes and constants in a GGUF file of architecture "llama". Errors: corrupt_data that names the file, the key
/// and the fault; unsupported for another architecture.
pare::Result<Config> config_from_gguf(const io::GgufFile& file);

/// What llama.cpp reads of a model besides its tensors: sizes and constants, and the vocabulary. `name` is the model's,
/// `file_type` llama.cpp's number for the most common type of the file. Error: a vocabulary of another size than the
/// model's, or an option of the model that GGUF's llama does not have.
pare::Result<std::vector<io::GgufEntry>> gguf_metadata(const Config& config, const Tokenizer& tokenizer,
                                                       const std::string& name, std::uint32_t file_type);

}  // namespace llama
