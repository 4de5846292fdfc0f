#pragma once

#include <cstddef>
#include <filesystem>
#include <vector>

#include "llama/perplexity.hpp"
#include "llama/weight_files.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// What is run through a model to learn how it uses its weights.
struct CalibrationData {
  std::filesystem::path text;  ///< blank lines separate documents
  std::filesystem::path ids;   ///< an array of token ids instead
  std::size_t tokens = 32768;  ///< at most so many are used

  [[nodiscard]] bool given() const { return !text.empty() || !ids.empty(); }
};

/// The data in pieces that the model's context holds. Errors name the file.
pare::Result<std::vector<Sequence>> read_calibration(const CalibrationData& data,
                                                     const std::filesystem::path& tokenizer, const WeightFiles& files,
                                                     const Config& config);

}  // namespace llama
