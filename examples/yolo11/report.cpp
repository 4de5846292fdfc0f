#include "yolo11/report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <string_view>
#include <vector>

#include "io/json.hpp"

namespace yolo {
using nlohmann::json;

namespace {

double kib(std::uintmax_t bytes) { return static_cast<double>(bytes) / 1024.0; }

/// A name that cannot steer the terminal.
std::string printable(std::string_view name) {
  std::string quoted = io::quote(name);
  return quoted.size() == name.size() + 2 ? std::string(name) : quoted;
}

std::size_t name_width(const auto& rows) {
  std::size_t width = 5;
  for (const auto& row : rows) width = std::max(width, printable(row.name).size());
  return width;
}

json number(double value) { return std::isfinite(value) ? json(value) : json(); }

json layer_json(const io::PackedLayer& layer) {
  return {{"sqnr_db", number(layer.error.sqnr())},
          {"mse", number(layer.error.mse())},
          {"max_error", number(layer.error.max_error())},
          {"weights", layer.error.count},
          {"bits_per_weight", layer.bits_per_weight()},
          {"bytes_before", layer.bytes_before},
          {"bytes_after", layer.bytes_after}};
}

}  // namespace

std::string to_text(const QuantizeReport& report) {
  std::string text;
  const auto out = std::back_inserter(text);
  const std::size_t width = name_width(report.layers);
  const auto line = [&](const io::PackedLayer& layer, const std::string& shape) {
    fmt::format_to(out, "{:<{}}  {:<18} {:>11.3f} {:>11.1f} {:>11.1f} {:>9.2f}\n", printable(layer.name), width, shape,
                   layer.bits_per_weight(), kib(layer.bytes_before), kib(layer.bytes_after), layer.error.sqnr());
  };
  fmt::format_to(out, "{:<{}}  {:<18} {:>11} {:>11} {:>11} {:>9}\n", "layer", width, "shape", "bits/weight",
                 "KiB before", "KiB after", "SQNR dB");
  for (const io::PackedLayer& layer : report.layers) line(layer, io::to_string(layer.shape));
  const io::PackedLayer total = report.total();
  line(total, fmt::format("{} weights", total.error.count));
  fmt::format_to(out, "{} convolutions in {}, mean SQNR {:.2f} dB\n", report.layers.size(), report.scheme,
                 report.mean_sqnr());
  fmt::format_to(out, "{} tensors as they were, {} of them convolutions", report.copied, report.kept.size());
  std::vector<std::string> kept;
  kept.reserve(report.kept.size());
  for (const std::string& name : report.kept) kept.push_back(printable(name));
  fmt::format_to(out, "{}{}\n", kept.empty() ? "" : ": ", fmt::join(kept, ", "));
  fmt::format_to(out, "{}: {:.1f} KiB ({}: {:.1f} KiB)\n", report.output, kib(report.bytes_after), report.model,
                 kib(report.bytes_before));
  return text;
}

std::string to_text(const Inspection& inspection) {
  std::string text;
  const auto out = std::back_inserter(text);
  const std::size_t width = name_width(inspection.tensors);
  std::map<std::string, std::pair<std::size_t, std::size_t>> totals;  // kind -> tensors, bytes
  fmt::format_to(out, "{:<{}}  {:<16} {:<18} {:>11} {:>11}\n", "name", width, "type", "shape", "bits/weight", "bytes");
  for (const InspectedTensor& tensor : inspection.tensors) {
    const std::string& kind = tensor.scheme.empty() ? tensor.dtype : tensor.scheme;
    fmt::format_to(out, "{:<{}}  {:<16} {:<18} {:>11.3f} {:>11}\n", printable(tensor.name), width, kind,
                   io::to_string(tensor.shape), tensor.bits_per_weight(), tensor.bytes);
    auto& [count, bytes] = totals[kind];
    ++count;
    bytes += tensor.bytes;
  }
  for (const auto& [kind, total] : totals)
    fmt::format_to(out, "{}: {} tensors, {:.1f} KiB\n", kind, total.first, kib(total.second));
  for (const auto& [key, value] : inspection.metadata)
    fmt::format_to(out, "metadata {}: {}\n", printable(key), io::quote(value));
  fmt::format_to(out, "{}: {:.1f} KiB, {} tensors\n", inspection.file, kib(inspection.bytes),
                 inspection.tensors.size());
  return text;
}

json to_json(const QuantizeReport& report) {
  json layers = json::array();
  for (const io::PackedLayer& layer : report.layers) {
    json row = layer_json(layer);
    row.update({{"name", layer.name}, {"shape", layer.shape}, {"scheme", layer.scheme}});
    layers.push_back(std::move(row));
  }
  json total = layer_json(report.total());
  total.update({{"layers", report.layers.size()}, {"mean_sqnr_db", number(report.mean_sqnr())}});
  return {{"command", "quantize"},
          {"model", report.model},
          {"output", report.output},
          {"scheme", report.scheme},
          {"layers", std::move(layers)},
          {"kept_convolutions", report.kept},
          {"copied_tensors", report.copied},
          {"total", std::move(total)},
          {"file_bytes_before", report.bytes_before},
          {"file_bytes_after", report.bytes_after}};
}

json to_json(const Inspection& inspection) {
  json tensors = json::array();
  for (const InspectedTensor& tensor : inspection.tensors)
    tensors.push_back({{"name", tensor.name},
                       {"dtype", tensor.dtype.empty() ? json() : json(tensor.dtype)},
                       {"scheme", tensor.scheme.empty() ? json() : json(tensor.scheme)},
                       {"shape", tensor.shape},
                       {"bytes", tensor.bytes},
                       {"bits_per_weight", tensor.bits_per_weight()}});
  return {{"command", "inspect"},
          {"file", inspection.file},
          {"file_bytes", inspection.bytes},
          {"metadata", inspection.metadata},
          {"tensors", std::move(tensors)}};
}

}  // namespace yolo
