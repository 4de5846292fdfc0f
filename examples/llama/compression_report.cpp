#include "llama/compression_report.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace llama {
namespace {

double bits_per_weight(const CompressedTensor& tensor) {
  return 8.0 * static_cast<double>(tensor.bytes) / static_cast<double>(tensor.weights());
}

double sparsity(const CompressedTensor& tensor) {
  return static_cast<double>(tensor.pruned) / static_cast<double>(tensor.weights());
}

std::string table_row(const CompressedTensor& tensor, std::string_view shape) {
  return fmt::format("{:<42} {:>16} {:>7.3f} {:>6.1f}% {:>9}\n", tensor.name, shape, bits_per_weight(tensor),
                     100.0 * sparsity(tensor), tensor.error.count == 0 ? "-" : decibels_text(tensor.error.sqnr()));
}

/// JSON has no infinity: what is exact has no ratio.
Report decibels_report(const pare::ErrorStatistics& error) {
  return error.count != 0 && std::isfinite(error.sqnr()) ? Report(error.sqnr()) : Report(nullptr);
}

}  // namespace

std::string bytes_text(std::size_t bytes) {
  constexpr std::array<const char*, 4> units = {"kB", "MB", "GB", "TB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1000.0;
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < units.size()) {
    value /= 1000.0;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", value, value < 9.95 ? 2 : value < 99.5 ? 1 : 0, units[unit]);
}

std::string decibels_text(double decibels) {
  return std::isinf(decibels) && decibels > 0 ? "exact" : fmt::format("{:.2f} dB", decibels);
}

std::string compression_text(const WeightFiles& files, const CompressedModel& model,
                             const std::filesystem::path& output) {
  std::string text = fmt::format("{:<42} {:>16} {:>7} {:>7} {:>9}\n", "tensor", "shape", "bits", "zeros", "SQNR");
  for (const CompressedTensor& tensor : model.tensors) text += table_row(tensor, io::to_string(tensor.shape));
  const CompressedTensor total = model.total();
  text += table_row(total, fmt::format("{} weights", total.weights()));
  text += fmt::format("{}: {} -> {}: {}{}\n", files.name(), bytes_text(files.file_bytes()), output.string(),
                      bytes_text(model.file_bytes), model.scheme.empty() ? "" : fmt::format(" ({})", model.scheme));
  return text;
}

Report compression_report(const WeightFiles& files, const CompressedModel& model, const std::filesystem::path& output) {
  Report tensors = Report::array();
  for (const CompressedTensor& tensor : model.tensors)
    tensors.push_back({{"name", tensor.name},
                       {"shape", tensor.shape},
                       {"bytes", tensor.bytes},
                       {"bits_per_weight", bits_per_weight(tensor)},
                       {"sparsity", sparsity(tensor)},
                       {"sqnr_db", decibels_report(tensor.error)},
                       {"max_error", tensor.error.max_error()}});
  const CompressedTensor total = model.total();
  return {{"input", files.name()},
          {"output", output.string()},
          {"scheme", model.scheme.empty() ? Report(nullptr) : Report(model.scheme)},
          {"input_bytes", files.file_bytes()},
          {"output_bytes", model.file_bytes},
          {"weights", total.weights()},
          {"bits_per_weight", bits_per_weight(total)},
          {"sparsity", sparsity(total)},
          {"sqnr_db", decibels_report(total.error)},
          {"tensors", std::move(tensors)}};
}

}  // namespace llama
