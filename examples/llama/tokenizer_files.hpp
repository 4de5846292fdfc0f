#pragma once

#include <filesystem>

#include "io/file.hpp"
#include "llama/config.hpp"
#include "llama/tokenizer.hpp"
#include "llama/weight_files.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// The tokenizer of a model: `given` (a tokenizer.json, a folder with one, or a llama2c .bin), or where that is empty
/// what lies beside the weights: tokenizer.json, tokenizer.bin, or tokN.bin for a vocabulary of N tokens. Errors: none
/// of them is there, those of Tokenizer.
pare::Result<Tokenizer> load_tokenizer(const WeightFiles& files, const Config& config,
                                       const std::filesystem::path& given = {});

/// Copies into a new model's folder the files beside the weights that other programs read with them: those of the
/// tokenizer, and generation_config.json.
pare::Result<void> copy_tokenizer_files(const WeightFiles& files, const Config& config,
                                        const io::OutputDirectory& folder);

}  // namespace llama
