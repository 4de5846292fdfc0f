#pragma once

#include <cstddef>
#include <vector>

#include "io/quantize_file.hpp"
#include "llama/model.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace llama {

/// What to measure, in the terms of llama-bench: pp and tg.
struct Bench {
  std::size_t prompt = 512;    ///< tokens taken in at once, from an empty context; 0: not measured
  std::size_t generate = 128;  ///< tokens taken in one by one, from an empty context, with logits each; 0: not measured
  std::size_t repetitions = 5;
};

/// How long each repetition of one measurement took.
struct Speed {
  std::size_t tokens = 0;
  std::vector<double> seconds;

  /// The mean over the repetitions of their tokens per second.
  [[nodiscard]] double tokens_per_second() const noexcept;
  /// The standard deviation of a repetition's tokens per second; 0 for a single one.
  [[nodiscard]] double deviation() const noexcept;
};

/// The speeds of both; no seconds where one was not measured.
struct Speeds {
  Speed prompt;
  Speed generate;
};

/// Measures a model on tokens without meaning, each measurement after a run that does not count. Nothing is sampled.
/// `progress` is told the runs done and to do. Errors: nothing to measure, more tokens than the model's context.
pare::Result<Speeds> measure_speed(const Model& model, const Bench& options, pare::Executor executor,
                                   io::ProgressCallback progress);

}  // namespace llama
