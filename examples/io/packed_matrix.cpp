#include "io/packed_matrix.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>
#include <utility>

#include "io/json.hpp"

namespace io {
using nlohmann::json;
using pare::Error;
using pare::ErrorCode;
using pare::Result;
using pare::SchemeType;
using pare::Shape;

struct PackedMatrix::Concept {
  std::string_view scheme;
  Shape shape;
  Shape scale_grid;
  DType scale_dtype = DType::f32;
  std::span<const std::uint8_t> codes, scales, zero_points;

  Concept() = default;
  Concept(const Concept&) = delete;
  Concept& operator=(const Concept&) = delete;
  virtual ~Concept() = default;
  virtual Result<void> dequantize(pare::MatrixView<float> out, const pare::Options& options) const = 0;
  virtual Result<void> matmul(pare::MatrixView<const float> x, pare::MatrixView<float> y,
                              const pare::Options& options) const = 0;
};

namespace {

template <SchemeType S>
class Model final : public PackedMatrix::Concept {
 public:
  explicit Model(pare::PackedView<S> view) {
    const pare::PackedSizes sizes = *pare::packed_sizes<S>(view.shape);
    scheme = pare::name<S>();
    shape = view.shape;
    scale_grid = S::granularity_type::grid(view.shape);
    scale_dtype = io::scale_dtype<typename S::scale_type>();
    codes = {view.codes, sizes.codes};
    scales = {view.scales, sizes.scales};
    zero_points = {view.zero_points, sizes.zero_points};
  }
  Result<void> dequantize(pare::MatrixView<float> out, const pare::Options& options) const override {
    return pare::dequantize<S>(view(), out, options);
  }
  Result<void> matmul(pare::MatrixView<const float> x, pare::MatrixView<float> y,
                      const pare::Options& options) const override {
    return pare::matmul<S>(view(), x, y, options);
  }

 private:
  pare::PackedView<S> view() const { return {shape, codes.data(), scales.data(), zero_points.data()}; }
};

std::span<const std::uint8_t> as_codes(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

}  // namespace

Result<PackedMatrix> PackedMatrix::over(std::string_view scheme, Shape shape, std::span<const std::byte> codes,
                                        std::span<const std::byte> scales, std::span<const std::byte> zero_points) {
  return pare::with_scheme(scheme, [&]<class S>(std::type_identity<S>) -> Result<PackedMatrix> {
    const auto view = pare::PackedView<S>::over(shape, as_codes(codes), as_codes(scales), as_codes(zero_points));
    if (!view) return view.error();
    return PackedMatrix(std::make_shared<Model<S>>(*view));
  });
}

std::string_view PackedMatrix::scheme() const { return self_->scheme; }
Shape PackedMatrix::shape() const { return self_->shape; }
std::span<const std::byte> PackedMatrix::codes() const { return std::as_bytes(self_->codes); }
std::span<const std::byte> PackedMatrix::scales() const { return std::as_bytes(self_->scales); }
std::span<const std::byte> PackedMatrix::zero_points() const { return std::as_bytes(self_->zero_points); }
DType PackedMatrix::scale_dtype() const { return self_->scale_dtype; }
Shape PackedMatrix::scale_grid() const { return self_->scale_grid; }

double PackedMatrix::bits_per_weight() const {
  const double weights = static_cast<double>(self_->shape.rows) * static_cast<double>(self_->shape.cols);
  const std::size_t bytes = self_->codes.size() + self_->scales.size() + self_->zero_points.size();
  return weights == 0.0 ? 0.0 : 8.0 * static_cast<double>(bytes) / weights;
}

Result<void> PackedMatrix::dequantize(pare::MatrixView<float> out, const pare::Options& options) const {
  return self_->dequantize(out, options);
}

Result<void> PackedMatrix::matmul(pare::MatrixView<const float> x, pare::MatrixView<float> y,
                                  const pare::Options& options) const {
  return self_->matmul(x, y, options);
}

namespace {

constexpr std::string_view metadata_key = "pare";
constexpr std::uint64_t metadata_version = 1;

Error in_tensor(std::string_view file, std::string_view tensor, const Error& error) {
  return {error.code, fmt::format("{}: tensor {}: {}", file, quote(tensor), error.message)};
}

/// The rows and columns that a tensor is packed as.
Result<Shape> matrix_shape(std::span<const std::uint64_t> extents) {
  if (extents.empty()) return Error{ErrorCode::corrupt_data, "a packed matrix has at least one dimension"};
  const auto columns = element_count(extents.subspan(1));
  std::size_t count = 0;
  if (!columns || !pare::checked_multiply(extents.front(), *columns, count))
    return Error{ErrorCode::corrupt_data, fmt::format("shape {} is too large", to_string(extents))};
  return Shape{extents.front(), *columns};
}

/// One member of the object "tensors".
Result<PackedEntry> read_entry(const std::string& name, const json& object) {
  const auto fault = [](std::string what) { return Error{ErrorCode::corrupt_data, std::move(what)}; };
  if (!object.is_object()) return fault("its description is not an object");
  const auto scheme = object.find("scheme");
  if (scheme == object.end() || !scheme->is_string()) return fault("its scheme is not a string");
  const auto shape = object.find("shape");
  if (shape == object.end() || !shape->is_array()) return fault("its shape is not a list");
  PackedEntry entry{name, scheme->get<std::string>(), {}};
  for (const json& extent : *shape) {
    if (!extent.is_number_unsigned()) return fault("its shape is not a list of non-negative integers");
    entry.shape.push_back(extent.get<std::uint64_t>());
  }
  if (auto parts = packed_parts(entry); !parts) return fault(std::move(parts).error().message);
  entry.scheme = pare::resolve_alias(entry.scheme);
  return entry;
}

/// Appends the entries that one file's metadata describe.
Result<void> read_entries(std::string_view text, std::string_view file, std::vector<PackedEntry>& entries) {
  const std::string place = fmt::format("{}: metadata \"{}\"", file, metadata_key);
  const auto fault = [&](std::string_view what, ErrorCode code = ErrorCode::corrupt_data) {
    return Error{code, fmt::format("{}: {}", place, what)};
  };
  const Result<json> document = parse_json(text, place);
  if (!document) return document.error();
  if (!document->is_object()) return fault("is not an object");
  const auto version = document->find("version");
  if (version == document->end() || !version->is_number_unsigned()) return fault("has no version");
  if (version->get<std::uint64_t>() != metadata_version)
    return fault(fmt::format("version {} is not {}, the one this program reads", version->get<std::uint64_t>(),
                             metadata_version),
                 ErrorCode::unsupported);
  const auto tensors = document->find("tensors");
  if (tensors == document->end() || !tensors->is_object()) return fault("has no object \"tensors\"");
  for (const auto& [name, object] : tensors->items()) {
    Result<PackedEntry> entry = read_entry(name, object);
    if (!entry) return in_tensor(place, name, entry.error());
    entries.push_back(*std::move(entry));
  }
  return {};
}

}  // namespace

Result<std::vector<PackedEntry>> packed_entries(const Checkpoint& checkpoint) {
  std::vector<PackedEntry> entries;
  std::set<std::string_view> names;
  for (const CheckpointFile& file : checkpoint.files()) {
    const auto metadata = file.metadata.find(metadata_key);
    if (metadata == file.metadata.end()) continue;
    std::vector<PackedEntry> found;
    if (Result<void> read = read_entries(metadata->second, file.name, found); !read) return std::move(read).error();
    std::ranges::move(found, std::back_inserter(entries));
  }
  for (const PackedEntry& entry : entries) {
    const auto fault = [&](std::string what) {
      return in_tensor(checkpoint.name(), entry.name, {ErrorCode::corrupt_data, std::move(what)});
    };
    if (!names.insert(entry.name).second) return fault("is described as packed by two shards");
    if (checkpoint.find(entry.name) != nullptr) return fault("is there both packed and not packed");
  }
  return entries;
}

Result<PackedMatrix> load_packed(const Checkpoint& checkpoint, const PackedEntry& entry) {
  const Result<std::vector<TensorInfo>> parts = packed_parts(entry);
  if (!parts) return in_tensor(checkpoint.name(), entry.name, parts.error());
  std::array<std::span<const std::byte>, 3> bytes;
  for (std::size_t i = 0; i < parts->size(); ++i) {
    const TensorInfo& part = (*parts)[i];
    const Result<const TensorView*> found = checkpoint.require(part.name);
    if (!found) return found.error();
    const TensorView& stored = **found;
    if (stored.dtype != part.dtype || stored.shape != part.shape)
      return in_tensor(
          checkpoint.name(), part.name,
          {ErrorCode::corrupt_data,
           fmt::format("is {} {} where {} of shape {} needs {} {}", name(stored.dtype), to_string(stored.shape),
                       entry.scheme, to_string(entry.shape), name(part.dtype), to_string(part.shape))});
    bytes[i] = stored.bytes;
  }
  const Shape shape = *matrix_shape(entry.shape);
  auto matrix = PackedMatrix::over(entry.scheme, shape, bytes[0], bytes[1], bytes[2]);
  if (!matrix) return in_tensor(checkpoint.name(), entry.name, matrix.error());
  return matrix;
}

Result<std::vector<TensorInfo>> packed_parts(const PackedEntry& entry) {
  const Result<Shape> shape = matrix_shape(entry.shape);
  if (!shape) return shape.error();
  return pare::with_scheme(entry.scheme, [&]<class S>(std::type_identity<S>) -> Result<std::vector<TensorInfo>> {
    const Result<pare::PackedSizes> sizes = pare::packed_sizes<S>(*shape);
    if (!sizes) return sizes.error();
    const Shape grid = S::granularity_type::grid(*shape);
    std::vector<TensorInfo> parts{
        {entry.name + ".codes", DType::u8, {shape->rows, sizes->row_codes}},
        {entry.name + ".scales", io::scale_dtype<typename S::scale_type>(), {grid.rows, grid.cols}}};
    if (S::has_zero_point) parts.push_back({entry.name + ".zero_points", DType::u8, {grid.rows, grid.cols}});
    return parts;
  });
}

std::string packed_metadata(std::span<const PackedEntry> entries) {
  json tensors = json::object();
  for (const PackedEntry& entry : entries)
    tensors[entry.name] = {{"scheme", pare::resolve_alias(entry.scheme)}, {"shape", entry.shape}};
  const json document = {{"version", metadata_version}, {"tensors", std::move(tensors)}};
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace io
