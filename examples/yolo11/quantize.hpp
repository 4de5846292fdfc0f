#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/file.hpp"
#include "io/quantize_file.hpp"
#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace yolo {

/// What `yolo11 quantize` is asked to do.
struct QuantizeRequest {
  std::filesystem::path model;
  std::filesystem::path output;
  std::string scheme;             ///< a name of pare's catalog or an alias
  std::vector<std::string> keep;  ///< convolutions whose name starts with one of these stay as they are
  io::Overwrite overwrite = io::Overwrite::no;
};

/// What it did.
struct QuantizeReport {
  std::string model;
  std::string output;
  std::string scheme;                   ///< the full name in the catalog
  std::vector<io::PackedLayer> layers;  ///< the packed convolutions, in the order of the model's data
  std::vector<std::string> kept;        ///< the convolutions that stayed as they were
  std::size_t copied = 0;               ///< all tensors that did
  std::uintmax_t bytes_before = 0;      ///< of the model's files
  std::uintmax_t bytes_after = 0;       ///< of the output

  /// The sums over all layers.
  [[nodiscard]] io::PackedLayer total() const;
  /// The mean of the layers' SQNR in dB.
  [[nodiscard]] double mean_sqnr() const;
};

/// Packs the convolutions of a YOLO11 checkpoint and writes all its tensors and metadata to a safetensors file.
/// Errors: those of plan() and io::write_quantized, an unknown scheme, an output that exists without Overwrite::yes.
pare::Result<QuantizeReport> quantize(const QuantizeRequest& request, pare::Executor executor,
                                      io::ProgressCallback progress);

}  // namespace yolo
