#include <fmt/format.h>

#include "io/json.hpp"
#include "llama/commands.hpp"
#include "llama/compression_report.hpp"
#include "llama/weight_files.hpp"

namespace llama {
namespace {

std::size_t elements(const ListedTensor& tensor) { return io::element_count(tensor.shape).value_or(0); }

double bits_per_element(const ListedTensor& tensor) {
  const std::size_t count = elements(tensor);
  return count == 0 ? 0.0 : 8.0 * static_cast<double>(tensor.bytes) / static_cast<double>(count);
}

std::string kind(const ListedTensor& tensor) {
  return tensor.scheme.empty() ? std::string(io::name(tensor.dtype)) : tensor.scheme;
}

/// A name as it is where it is harmless to print.
std::string printable(const std::string& name) {
  const std::string quoted = io::quote(name);
  return quoted.size() == name.size() + 2 ? name : quoted;
}

}  // namespace

pare::Result<Report> run(const InspectCommand& command, const Desk& desk) {
  const auto files = WeightFiles::open(command.model);
  if (!files) return files.error();

  Report tensors = Report::array();
  std::size_t parameters = 0, bytes = 0;
  desk.say(fmt::format("{:<46} {:>15} {:<16} {:>7} {:>9}\n", "tensor", "shape", "type", "bits", "size"));
  for (const ListedTensor& tensor : files->tensors()) {
    desk.say(fmt::format("{:<46} {:>15} {:<16} {:>7.3f} {:>9}\n", printable(tensor.name), io::to_string(tensor.shape),
                         kind(tensor), bits_per_element(tensor), bytes_text(tensor.bytes)));
    parameters += elements(tensor);
    bytes += tensor.bytes;
    tensors.push_back({{"name", tensor.name},
                       {"shape", tensor.shape},
                       {"dtype", tensor.scheme.empty() ? Report(io::name(tensor.dtype)) : Report(nullptr)},
                       {"scheme", tensor.scheme.empty() ? Report(nullptr) : Report(tensor.scheme)},
                       {"bits_per_weight", bits_per_element(tensor)},
                       {"bytes", tensor.bytes}});
  }
  const io::Metadata metadata = files->metadata();
  for (const auto& [key, value] : metadata)
    desk.say(fmt::format("metadata {}: {}\n", printable(key), io::quote(value)));
  desk.say(fmt::format("{} tensors, {} parameters, {} in {} of files\n", files->tensors().size(), parameters,
                       bytes_text(bytes), bytes_text(files->file_bytes())));
  return Report{{"model", files->name()},
                {"metadata", metadata},
                {"parameters", parameters},
                {"tensor_bytes", bytes},
                {"file_bytes", files->file_bytes()},
                {"tensors", std::move(tensors)}};
}

}  // namespace llama
