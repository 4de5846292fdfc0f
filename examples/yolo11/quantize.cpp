#include "yolo11/quantize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "io/checkpoint.hpp"
#include "pare/pare.hpp"
#include "yolo11/convolutions.hpp"

namespace yolo {
namespace fs = std::filesystem;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

Result<std::string> full_name(std::string_view scheme) {
  return pare::with_scheme(
      scheme, []<class S>(std::type_identity<S>) -> Result<std::string> { return std::string(pare::name<S>()); });
}

std::uintmax_t size_of(const fs::path& path) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  return error ? 0 : size;  // devices and pipes have none
}

/// The metadata of all shards; of two entries with one key, the first.
io::Metadata merged_metadata(const io::Checkpoint& checkpoint) {
  io::Metadata metadata;
  for (const io::CheckpointFile& file : checkpoint.files()) metadata.insert(file.metadata.begin(), file.metadata.end());
  return metadata;
}

}  // namespace

io::PackedLayer QuantizeReport::total() const {
  io::PackedLayer sum{.name = "total", .shape = {}, .scheme = scheme, .error = {}};
  for (const io::PackedLayer& layer : layers) {
    sum.bytes_before += layer.bytes_before;
    sum.bytes_after += layer.bytes_after;
    sum.error.merge(layer.error);
  }
  return sum;
}

double QuantizeReport::mean_sqnr() const {
  double sum = 0.0;
  for (const io::PackedLayer& layer : layers) sum += layer.error.sqnr();
  return layers.empty() ? 0.0 : sum / static_cast<double>(layers.size());
}

Result<QuantizeReport> quantize(const QuantizeRequest& request, pare::Executor executor,
                                io::ProgressCallback progress) {
  const auto scheme = full_name(request.scheme);
  if (!scheme) return scheme.error();
  std::error_code ignored;
  const fs::file_status existing = fs::status(request.output, ignored);
  if (fs::is_directory(existing))
    return Error{ErrorCode::io, fmt::format("{}: is a folder; the output is one file", request.output.string())};
  if (fs::is_regular_file(existing) && request.overwrite == io::Overwrite::no)
    return Error{ErrorCode::io, fmt::format("{}: exists already; --force replaces it", request.output.string())};

  const auto checkpoint = io::Checkpoint::open(request.model);
  if (!checkpoint) return checkpoint.error();
  const auto tensors = plan(*checkpoint, *scheme, request.keep);
  if (!tensors) return tensors.error();

  QuantizeReport report;
  report.model = checkpoint->name();
  report.output = request.output.string();
  report.scheme = *scheme;
  for (const io::PlannedTensor& tensor : *tensors) {
    if (!tensor.scheme.empty()) continue;
    ++report.copied;
    if (is_convolution(tensor)) report.kept.push_back(tensor.name);
  }
  for (const io::CheckpointFile& file : checkpoint->files()) report.bytes_before += file.bytes;

  std::span<const std::byte> last;
  const auto read = [&](const io::PlannedTensor& tensor) -> Result<std::span<const std::byte>> {
    checkpoint->release(last);
    const auto found = checkpoint->require(tensor.name);
    if (!found) return found.error();
    last = (*found)->bytes;
    return last;
  };
  auto file = io::OutputFile::create(request.output);
  if (!file) return std::move(file).error();
  auto layers = io::write_quantized(*std::move(file), *tensors, merged_metadata(*checkpoint),
                                    {.name = checkpoint->name(), .read = read}, executor, progress);
  if (!layers) return std::move(layers).error();
  report.layers = *std::move(layers);
  report.bytes_after = size_of(request.output);
  return report;
}

}  // namespace yolo
