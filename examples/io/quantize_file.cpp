#include "io/quantize_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "io/json.hpp"
#include "io/packed_matrix.hpp"
#include "pare/pare.hpp"

namespace io {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

double PackedLayer::bits_per_weight() const noexcept {
  return error.count == 0 ? 0.0 : 8.0 * static_cast<double>(bytes_after) / static_cast<double>(error.count);
}

namespace {

/// Which part of which planned tensor a tensor of the output is. `part` counts as packed_parts does; a copy has part 0.
struct Origin {
  std::size_t planned = 0;
  std::size_t part = 0;
};

/// The file's tensors, and where each comes from.
struct Layout {
  std::vector<TensorInfo> tensors;
  std::map<std::string, Origin, std::less<>> origins;
  std::vector<PackedEntry> entries;
  std::uint64_t work = 0;  ///< bytes of input, counted once for each part
};

Error in_tensor(std::string_view source, std::string_view tensor, const Error& error) {
  return {error.code, fmt::format("{}: tensor {}: {}", source, quote(tensor), error.message)};
}

PackedEntry entry_of(const PlannedTensor& tensor) {
  return {tensor.name, tensor.scheme, {tensor.shape.begin(), tensor.shape.end()}};
}

Result<Layout> lay_out(std::span<const PlannedTensor> plan, std::string_view source) {
  Layout layout;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const PlannedTensor& tensor = plan[i];
    std::vector<TensorInfo> parts{tensor};
    if (!tensor.scheme.empty()) {
      auto packed = packed_parts(entry_of(tensor));
      if (!packed) return in_tensor(source, tensor.name, packed.error());
      parts = *std::move(packed);
      layout.entries.push_back(entry_of(tensor));
    }
    const auto bytes = byte_count(tensor.dtype, tensor.shape);
    if (!bytes) return in_tensor(source, tensor.name, {ErrorCode::invalid_argument, "is too large"});
    for (std::size_t part = 0; part < parts.size(); ++part) {
      if (!layout.origins.emplace(parts[part].name, Origin{i, part}).second)
        return in_tensor(source, tensor.name,
                         {ErrorCode::invalid_argument, fmt::format("{} is taken", quote(parts[part].name))});
      layout.work += *bytes;
      layout.tensors.push_back(std::move(parts[part]));
    }
  }
  return layout;
}

/// The error sums of `values` against elements of type T. The partial sums depend on the count alone.
template <pare::Element T>
pare::ErrorStatistics compare(std::span<const std::byte> elements, std::span<const float> values,
                              pare::Executor executor) {
  std::array<pare::ErrorStatistics, 64> partial{};
  const std::size_t each = pare::ceil_div(values.size(), partial.size());
  executor(partial.size(), [&](std::size_t part) {
    pare::ErrorStatistics sums;
    const std::size_t begin = std::min(values.size(), part * each);
    for (std::size_t i = begin; i < std::min(values.size(), begin + each); ++i) {
      T element;
      std::memcpy(&element, elements.data() + i * sizeof(T), sizeof(T));
      sums.add(static_cast<float>(element), values[i]);
    }
    partial[part] = sums;
  });
  pare::ErrorStatistics total;
  for (const pare::ErrorStatistics& sums : partial) total.merge(sums);
  return total;
}

Result<pare::ErrorStatistics> packing_error(const PackedMatrix& packed, DType dtype,
                                            std::span<const std::byte> elements, const pare::Options& options) {
  const auto [rows, cols] = packed.shape();
  auto buffer = pare::Buffer::allocate(rows * cols * sizeof(float));
  if (!buffer) return std::move(buffer).error();
  auto* values = reinterpret_cast<float*>(buffer->data());
  if (auto done = packed.dequantize(pare::MatrixView<float>(values, rows, cols), options); !done)
    return std::move(done).error();
  const auto compared = dtype == DType::f32   ? compare<float>
                        : dtype == DType::f16 ? compare<pare::Half>
                                              : compare<pare::BFloat16>;
  return compared(elements, {values, rows * cols}, options.executor);
}

/// A packed tensor as it was last made, for the next of its parts.
struct Current {
  std::size_t planned = 0;
  PackedMatrix matrix;
};

}  // namespace

Result<std::vector<PackedLayer>> write_quantized(OutputFile file, std::span<const PlannedTensor> plan,
                                                 Metadata metadata, const TensorSource& source, pare::Executor executor,
                                                 ProgressCallback progress) {
  Result<Layout> layout = lay_out(plan, source.name);
  if (!layout) return std::move(layout).error();
  if (!layout->entries.empty()) metadata["pare"] = packed_metadata(layout->entries);
  auto writer = SafetensorsWriter::create(std::move(file), std::move(layout->tensors), metadata);
  if (!writer) return std::move(writer).error();

  const pare::Options options{.executor = executor};
  std::map<std::size_t, PackedLayer> layers;
  std::optional<Current> current;
  std::uint64_t done = 0;
  for (const TensorInfo& output : writer->tensors()) {
    const Origin origin = layout->origins.at(output.name);
    const PlannedTensor& tensor = plan[origin.planned];
    const bool packed = !tensor.scheme.empty();
    std::span<const std::byte> bytes;
    if (!packed || !current || current->planned != origin.planned) {
      current.reset();
      const auto elements = source.read(tensor);
      if (!elements) return elements.error();
      if (elements->size() != *byte_count(tensor.dtype, tensor.shape))
        return in_tensor(source.name, tensor.name,
                         {ErrorCode::invalid_argument,
                          fmt::format("{} bytes do not fit shape {}", elements->size(), to_string(tensor.shape))});
      bytes = *elements;
    }
    if (packed && !current) {
      const std::size_t rows = tensor.shape.front();
      const pare::Shape shape{rows, *element_count(std::span(tensor.shape).subspan(1))};
      auto matrix = PackedMatrix::quantize(tensor.scheme, tensor.dtype, bytes, shape, options);
      if (!matrix) return in_tensor(source.name, tensor.name, matrix.error());
      if (!layers.contains(origin.planned)) {
        auto error = packing_error(*matrix, tensor.dtype, bytes, options);
        if (!error) return in_tensor(source.name, tensor.name, error.error());
        layers.emplace(
            origin.planned,
            PackedLayer{tensor.name, tensor.shape, std::string(matrix->scheme()), bytes.size(),
                        matrix->codes().size() + matrix->scales().size() + matrix->zero_points().size(), *error});
      }
      current.emplace(Current{origin.planned, *std::move(matrix)});
    }
    if (packed) {
      const std::array parts{current->matrix.codes(), current->matrix.scales(), current->matrix.zero_points()};
      bytes = parts[origin.part];
    }
    if (auto written = writer->write(output.name, bytes); !written) return std::move(written).error();
    done += *byte_count(tensor.dtype, tensor.shape);
    progress(done, layout->work);
  }
  if (auto finished = writer->finish(); !finished) return std::move(finished).error();

  std::vector<PackedLayer> report;
  report.reserve(layers.size());
  for (auto& [planned, layer] : layers) report.push_back(std::move(layer));
  return report;
}

}  // namespace io
