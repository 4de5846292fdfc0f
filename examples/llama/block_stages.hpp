#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "llama/block_runner.hpp"
#include "llama/weight_files.hpp"
#include "pare/calibration/calibration.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"
#include "pare/prune/prune.hpp"

namespace llama {

/// Layers of a block that share an input.
using Stage = std::span<const LinearRole>;

/// All of them, in the order of execution.
inline constexpr std::array<Stage, 4> stages = {Stage(linear_roles).subspan(0, 3), Stage(linear_roles).subspan(3, 1),
                                                Stage(linear_roles).subspan(4, 2), Stage(linear_roles).subspan(6, 1)};

/// What is known of a stage's input, and what its layers ought to give.
struct StageStatistics {
  pare::InputFluctuation channels;
  std::optional<pare::SecondMoment<double>> moment;
  std::vector<pare::OutputTarget> targets;  ///< of each layer, or none
};

/// Which of them are gathered besides the channels'.
struct Wanted {
  bool moment = false;
  bool targets = false;  ///< needs the hidden states of the dense model beside those of the compressed one
};

/// Calibration sequences on their way through a model that is compressed block by block.
class CalibrationStreams {
 public:
  /// The sequences before the first block. Errors: those of embed_all.
  static pare::Result<CalibrationStreams> create(const WeightFiles& files, const Config& config,
                                                 const std::vector<Sequence>& sequences, Wanted wanted);

  /// What enters a stage of block `index`, as far as that is compressed by now, in the sizes of `resized`; `dense` is
  /// the block as it was. Layers of the stage itself must not have changed yet. The target of layers whose output is
  /// added to the hidden states holds what those lack as well. Errors: activations that are not finite, out_of_memory.
  pare::Result<StageStatistics> gather(const Config& config, std::size_t index, const Block& dense,
                                       const Config& resized, const Block& block, Stage stage, pare::Executor executor);

  /// Takes all sequences through the compressed block, whose sizes `resized` has, and the dense model's through its
  /// own.
  pare::Result<void> advance(const Config& config, const Block& dense, const Config& resized, const Block& block,
                             pare::Executor executor);

  [[nodiscard]] const std::vector<Stream>& streams() const noexcept { return streams_; }

 private:
  /// A sequence after a block, and what entered one of the block's stages on the way.
  struct Passage {
    Stream stream;
    std::vector<float> inputs;
  };
  CalibrationStreams(std::vector<Stream> streams, Wanted wanted);
  static pare::Result<void> pass(BlockRunner& runner, const Block& block, const Stream& from, LinearRole first,
                                 Passage& passage);
  pare::Result<void> add_target(LinearRole role, std::size_t sequence, pare::MatrixView<const float> weights,
                                const Passage& is, const Passage& was, pare::OutputTarget& target,
                                pare::Executor executor);

  std::vector<Stream> streams_;
  std::vector<Stream> dense_;  ///< where targets are wanted
  Wanted wanted_;
  std::vector<float> outputs_;
};

}  // namespace llama
