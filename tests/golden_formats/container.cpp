// Containers: GGUF, the cache of MLC, llama2.c and safetensors.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "io/file.hpp"
#include "io/gguf.hpp"
#include "io/gguf_writer.hpp"
#include "io/json.hpp"
#include "io/llama2c.hpp"
#include "io/mlc_cache.hpp"
#include "io/safetensors.hpp"
#include "pare/formats/formats.hpp"
#include "pare/layouts/gguf/gguf.hpp"
#include "runner.hpp"

namespace golden {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

std::vector<std::uint8_t> to_bytes(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return {data, data + bytes.size()};
}

template <class T>
std::vector<T> elements(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

/// The value of what opening gave, or nothing and a fault of the report.
template <class T>
std::optional<T> take(pare::Result<T> opened, std::string_view what, Report& report) {
  report.check(what, opened.has_value(), opened ? std::string_view() : opened.error().message);
  if (!opened) return std::nullopt;
  return *std::move(opened);
}

std::optional<json> read_json(const fs::path& file, Report& report) {
  const auto mapped = io::MappedFile::open(file);
  if (!mapped) {
    report.check("file", false, mapped.error().message);
    return std::nullopt;
  }
  return take(
      io::parse_json({reinterpret_cast<const char*>(mapped->bytes().data()), mapped->bytes().size()}, file.string()),
      "file", report);
}

// GGUF

/// Whether a value of the metadata is the one that the JSON file states.
template <class T>
bool same_value(const T& value, const json& expected) {
  if constexpr (std::is_same_v<T, bool>)
    return expected.is_number() ? expected.get<int>() == (value ? 1 : 0) : expected == json(value);
  else if constexpr (std::is_same_v<T, float>)
    return expected.is_number() && expected.get<float>() == value;
  else
    return expected == json(value);
}

bool same_array(const io::GgufArray& array, const json& expected) {
  return std::visit(
      [&](const auto& values) {
        if constexpr (std::is_same_v<std::decay_t<decltype(values)>, std::monostate>) {
          return false;
        } else {
          using T = typename std::decay_t<decltype(values)>::value_type;
          if (values.size() != expected.size()) return false;
          for (std::size_t i = 0; i < values.size(); ++i)
            if (!same_value<T>(values[i], expected.at(i))) return false;
          return true;
        }
      },
      array);
}

/// An entry of the JSON file: key, type, value and, for an array, the type of its elements.
bool same_entry(const io::GgufValue& value, const json& expected) {
  if (value.index() != expected.at(1).get<std::size_t>()) return false;
  if (const auto* array = std::get_if<io::GgufArray>(&value))
    return array->index() == expected.at(3).get<std::size_t>() && same_array(*array, expected.at(2));
  return std::visit(
      [&](const auto& held) {
        if constexpr (std::is_same_v<std::decay_t<decltype(held)>, io::GgufArray>)
          return false;
        else
          return same_value(held, expected.at(2));
      },
      value);
}

/// Writes all that the file holds again, and reads the result.
pare::Result<std::vector<std::uint8_t>> rewrite(const io::GgufFile& file) {
  const fs::path path = fs::temp_directory_path() / fmt::format("pare-golden-{}.gguf", ::getpid());
  const std::vector<io::GgufTensorInfo> infos(file.tensors().begin(), file.tensors().end());
  auto writer = io::GgufWriter::create(path, file.metadata(), infos);
  if (!writer) return writer.error();
  for (const io::GgufTensor& tensor : file.tensors())
    if (auto done = writer->write(tensor.name, tensor.bytes); !done) return done.error();
  if (auto done = writer->finish(); !done) return done.error();
  const auto mapped = io::MappedFile::open(path);
  fs::remove(path);
  if (!mapped) return mapped.error();
  return to_bytes(mapped->bytes());
}

void run_gguf(const fs::path& file, Report& report) {
  const auto gguf = take(io::GgufFile::open(file), "file", report);
  const auto mapped = io::MappedFile::open(file);
  if (!gguf || !mapped) return;
  const auto again = take(rewrite(*gguf), "written again", report);
  if (again) report.equal("written again", to_bytes(mapped->bytes()), *again);
}

void run_gguf_json(const fs::path& file, Report& report) {
  const auto expected = read_json(file, report);
  const fs::path path = fs::path(file).replace_extension(".gguf");
  const auto gguf = take(io::GgufFile::open(path), "file", report);
  const auto mapped = io::MappedFile::open(path);
  if (!expected || !gguf || !mapped) return;
  report.check("alignment", expected->at("alignment") == gguf->alignment(), "differs");
  report.check("data_offset", expected->at("data_offset") == gguf->data_offset(), "differs");
  const json& entries = expected->at("kv");
  const json& tensors = expected->at("tensors");
  report.check("kv", entries.size() == gguf->metadata().size(), "has another length");
  report.check("tensors", tensors.size() == gguf->tensors().size(), "has another length");
  for (std::size_t i = 0; i < std::min(entries.size(), gguf->metadata().size()); ++i) {
    const io::GgufEntry& entry = gguf->metadata()[i];
    report.check(entry.key, entries.at(i).at(0) == entry.key && same_entry(entry.value, entries.at(i)),
                 fmt::format("is {}, not {}", io::to_text(entry.value), entries.at(i).dump()));
  }
  for (std::size_t i = 0; i < std::min(tensors.size(), gguf->tensors().size()); ++i) {
    const io::GgufTensor& tensor = gguf->tensors()[i];
    const json& stated = tensors.at(i);
    const io::Extents ne(tensor.shape.rbegin(), tensor.shape.rend());
    const auto offset = static_cast<std::size_t>(tensor.bytes.data() - gguf->tensors().front().bytes.data());
    report.check(tensor.name,
                 stated.at("name") == tensor.name && stated.at("ne") == json(ne) && stated.at("offset") == offset &&
                     stated.at("type") == static_cast<std::uint32_t>(tensor.type) &&
                     stated.at("nbytes") == tensor.bytes.size(),
                 "differs from " + stated.dump());
  }
}

/// Compares the blocks of a tensor with those of the floats that they were made from: the same bytes where the type's
/// encoder is a rule, else values that are no farther off than theirs.
void compare_blocks(const io::GgufTensor& tensor, std::span<const float> original, Report& report) {
  const auto* block = pare::gguf::find_block_type(static_cast<std::uint32_t>(tensor.type));
  const std::size_t columns = tensor.shape.back();
  if (block == nullptr || original.empty()) return report.check(tensor.name, false, "has no blocks that are read");
  const std::vector<std::uint8_t> theirs = to_bytes(tensor.bytes);
  std::vector<std::uint8_t> ours(theirs.size());
  const pare::MatrixView<const float> matrix(original.data(), original.size() / columns, columns);
  if (auto done = pare::gguf::quantize(block->type, matrix, ours); !done)
    return report.check(tensor.name, false, done.error().message);
  bool by_rule = false;
  pare::gguf::detail::with_block_type(block->type,
                                      [&]<pare::gguf::BlockType T>() { by_rule = pare::gguf::encoded_by_rule<T>; });
  if (by_rule) return report.equal(tensor.name, theirs, ours);
  const auto error = [&](const std::vector<std::uint8_t>& blocks) {
    std::vector<float> values(original.size());
    if (!pare::gguf::dequantize(block->type, blocks, values)) return std::numeric_limits<double>::infinity();
    double sum = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double difference = static_cast<double>(values[i]) - static_cast<double>(original[i]);
      sum += difference * difference;
    }
    return sum;
  };
  report.check(tensor.name, error(ours) <= error(theirs), "is encoded with a larger error");
}

void run_gguf_expected(const fs::path& file, Report& report) {
  const auto expected = Vectors::open(file, report);
  const auto gguf = take(io::GgufFile::open(file.parent_path() / "sample_v3.gguf"), "file", report);
  if (!expected || !gguf) return;
  for (const io::GgufTensor& tensor : gguf->tensors()) {
    const auto source = std::ranges::find(expected->file().tensors(), tensor.shape, &io::TensorView::shape);
    if (source == expected->file().tensors().end()) continue;
    const auto floats = elements<float>(source->bytes);
    if (tensor.type == io::GgmlType::f32) {
      report.equal(tensor.name, floats, elements<float>(tensor.bytes));
    } else if (tensor.type == io::GgmlType::f16) {
      std::vector<pare::Half> halves(floats.begin(), floats.end());
      report.equal(tensor.name, halves, elements<pare::Half>(tensor.bytes));
    } else if (tensor.type == io::GgmlType::bf16) {
      std::vector<pare::BFloat16> halves(floats.begin(), floats.end());
      report.equal(tensor.name, halves, elements<pare::BFloat16>(tensor.bytes));
    } else {
      compare_blocks(tensor, floats, report);
    }
  }
}

// MLC

/// Under which names the expected file has what the cache holds.
constexpr std::pair<const char*, const char*> mlc_tensors[] = {
    {"l.q_weight", "l.q_weight"}, {"l.q_scale", "l.q_scale"}, {"norm.weight", "norm_loaded_f32"}};

void run_mlc_list(const fs::path& file, Report& report) {
  const auto cache = take(io::MlcCache::open(file), "file", report);
  const auto expected = Vectors::open(file.parent_path().parent_path() / "cache_expected.safetensors", report);
  if (!cache || !expected) return;
  report.check("tensors", cache->tensors().size() == std::size(mlc_tensors), "their number differs");
  for (const auto& [name, as] : mlc_tensors) {
    const io::TensorView* found = cache->find(name);
    const io::TensorView* wanted = expected->file().find(as);
    const bool same =
        found != nullptr && wanted != nullptr && found->dtype == wanted->dtype && found->shape == wanted->shape;
    report.check(name, same, "is missing or has another type or shape");
    if (same) report.equal(name, to_bytes(wanted->bytes), to_bytes(found->bytes));
  }
}

void run_mlc_shard(const fs::path& file, Report& report) {
  const auto mapped = io::MappedFile::open(file);
  const auto cache = take(io::MlcCache::open(file.parent_path() / io::MlcCache::file_names[0]), "list", report);
  if (!mapped || !cache) return;
  report.check("size", cache->shard_bytes() == mapped->bytes().size(), "is not that of the list");
}

/// What is stored as bfloat16: nearest even, but cut off where that would give an infinity.
void run_mlc_expected(const fs::path& file, Report& report) {
  const auto expected = Vectors::open(file, report);
  if (!expected) return;
  const auto input = expected->values<float>("norm_input_f32");
  std::vector<float> loaded;
  for (const float value : input) {
    const float nearest = static_cast<float>(static_cast<pare::BFloat16>(value));
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    bits &= 0xffff0000u;
    float cut = 0;
    std::memcpy(&cut, &bits, sizeof(bits));
    loaded.push_back(std::isinf(nearest) && std::isfinite(value) ? cut : nearest);
  }
  report.equal("norm_loaded_f32", expected->values<float>("norm_loaded_f32"), loaded);
}

// llama2.c

/// The exporter's groups of int8: the scale is the largest magnitude / 127, the code the nearest even of value / scale.
void compare_codes(const io::Llama2cTensor& tensor, const std::vector<float>& original, std::size_t group_size,
                   Report& report) {
  std::vector<float> scales;
  std::vector<std::int8_t> codes;
  std::vector<float> values;
  for (std::size_t begin = 0; begin < original.size(); begin += group_size) {
    float largest = 0;
    const std::size_t end = std::min(original.size(), begin + group_size);
    for (std::size_t i = begin; i < end; ++i) largest = std::max(largest, std::abs(original[i]));
    scales.push_back(largest / 127.0f);
    for (std::size_t i = begin; i < end; ++i) {
      const float code = largest == 0 ? 0.0f : std::nearbyint(original[i] / scales.back());
      codes.push_back(static_cast<std::int8_t>(code));
      values.push_back(static_cast<float>(codes.back()) * scales.back());
    }
  }
  report.equal(tensor.name + " scales", scales, elements<float>(tensor.scales));
  report.equal(tensor.name + " codes", codes, elements<std::int8_t>(tensor.bytes));
  report.equal(tensor.name, values, io::to_floats(tensor));
}

void compare_model(const fs::path& file, const fs::path& expected_file, Report& report) {
  const auto model = take(io::Llama2cFile::open(file), "file", report);
  const auto expected = Vectors::open(expected_file, report);
  if (!model || !expected) return;
  std::size_t found = 0;
  for (const io::TensorView& tensor : expected->file().tensors()) {
    const io::Llama2cTensor* read = model->find(tensor.name);
    const bool rotation = tensor.name.starts_with("freqs_") && model->config().version != 0;
    if (tensor.name.ends_with("attention.mask") || rotation) {
      report.check(tensor.name, read == nullptr, "is no tensor of this version");
      continue;
    }
    report.check(tensor.name, read != nullptr && read->shape == tensor.shape, "is missing or has another shape");
    if (read == nullptr || read->shape != tensor.shape) continue;
    ++found;
    const auto original = elements<float>(tensor.bytes);
    if (read->dtype == io::DType::f32)
      report.equal(tensor.name, original, io::to_floats(*read));
    else
      compare_codes(*read, original, model->config().group_size, report);
  }
  report.check("tensors", found == model->tensors().size(), "there are more than expected");
}

void run_shared(const fs::path& file, Report& report) {
  compare_model(file, file.parent_path() / "expected_shared.safetensors", report);
}

void run_unshared(const fs::path& file, Report& report) {
  compare_model(file, file.parent_path() / "expected_unshared.safetensors", report);
}

void run_expected_shared(const fs::path& file, Report& report) {
  compare_model(file.parent_path() / "v0_shared.bin", file, report);
}

void run_expected_unshared(const fs::path& file, Report& report) {
  compare_model(file.parent_path() / "v0_unshared.bin", file, report);
}

// safetensors

/// Reads the header a second way, as plain JSON, and compares all that it says.
void run_valid(const fs::path& file, Report& report) {
  const auto tensors = take(io::SafetensorsFile::open(file), "file", report);
  const auto mapped = io::MappedFile::open(file);
  if (!tensors || !mapped) return;
  const std::string_view content(reinterpret_cast<const char*>(mapped->bytes().data()), mapped->bytes().size());
  std::uint64_t length = 0;
  std::memcpy(&length, content.data(), sizeof(length));
  json header = json::parse(content.substr(8, length));
  if (const auto metadata = header.find("__metadata__"); metadata != header.end()) {
    report.check("__metadata__", metadata->get<io::Metadata>() == tensors->metadata(), "differs");
    header.erase(metadata);
  }
  report.check("tensors", header.size() == tensors->tensors().size(), "their number differs");
  for (const auto& [name, stated] : header.items()) {
    const io::TensorView* tensor = tensors->find(name);
    const bool same =
        tensor != nullptr && stated.at("dtype") == io::name(tensor->dtype) && stated.at("shape") == json(tensor->shape);
    report.check(name, same, "is missing or has another type or shape");
    if (!same) continue;
    const auto begin = stated.at("data_offsets").at(0).get<std::size_t>();
    const auto end = stated.at("data_offsets").at(1).get<std::size_t>();
    report.equal(name, to_bytes(mapped->bytes().subspan(8 + length + begin, end - begin)), to_bytes(tensor->bytes));
  }
}

/// What the message about an invalid file has to say.
struct Fault {
  std::string_view file;
  std::string_view said;
};
constexpr Fault faults[] = {{"duplicate_key", "duplicate key"},
                            {"end_before_begin", "end before they begin"},
                            {"f4_odd_bits", "ends within a byte"},
                            {"header_len_huge", "header length"},
                            {"header_len_past_eof", "header length"},
                            {"hole_between", "leave a hole"},
                            {"metadata_not_string", "__metadata__"},
                            {"missing_field", "data_offsets"},
                            {"negative_dim", "shape"},
                            {"not_json", "invalid JSON"},
                            {"not_object", "not a JSON object"},
                            {"not_utf8", "UTF-8"},
                            {"overlap", "overlap"},
                            {"shape_overflow", "too large"},
                            {"size_mismatch", "do not match shape"},
                            {"too_short", "too short"},
                            {"trailing_bytes", "trailing bytes"},
                            {"truncated_data", "exceed"},
                            {"unknown_dtype", "unknown dtype"}};

void run_invalid(const fs::path& file, Report& report) {
  const auto tensors = io::SafetensorsFile::open(file);
  report.check("file", !tensors, "is not rejected");
  if (tensors) return;
  const auto fault = std::ranges::find(faults, file.stem().string(), &Fault::file);
  const std::string& message = tensors.error().message;
  report.check("message", message.starts_with(file.string() + ": ") && message.find(fault->said) != std::string::npos,
               message);
}

constexpr Check checks[] = {{"gguf/sample_v3.gguf", run_gguf},
                            {"gguf/sample_v3.json", run_gguf_json},
                            {"gguf/sample_v3_expected.safetensors", run_gguf_expected},
                            {"mlc/cache/ndarray-cache.json", run_mlc_list},
                            {"mlc/cache/tensor-cache.json", run_mlc_list},
                            {"mlc/cache/params_shard_0.bin", run_mlc_shard},
                            {"mlc/cache_expected.safetensors", run_mlc_expected},
                            {"llama2c/v0_shared.bin", run_shared},
                            {"llama2c/v1_shared.bin", run_shared},
                            {"llama2c/v2_shared.bin", run_shared},
                            {"llama2c/expected_shared.safetensors", run_expected_shared},
                            {"llama2c/v0_unshared.bin", run_unshared},
                            {"llama2c/v1_unshared.bin", run_unshared},
                            {"llama2c/v2_unshared.bin", run_unshared},
                            {"llama2c/expected_unshared.safetensors", run_expected_unshared},
                            {"safetensors/all_dtypes.safetensors", run_valid},
                            {"safetensors/valid_edge/empty_object.safetensors", run_valid},
                            {"safetensors/valid_edge/leading_space_ok_for_serde_not_spec.safetensors", run_valid},
                            {"safetensors/valid_edge/only_metadata.safetensors", run_valid},
                            {"safetensors/valid_edge/trailing_spaces.safetensors", run_valid},
                            {"safetensors/valid_edge/unaligned_header.safetensors", run_valid},
                            {"safetensors/invalid/duplicate_key.safetensors", run_invalid},
                            {"safetensors/invalid/end_before_begin.safetensors", run_invalid},
                            {"safetensors/invalid/f4_odd_bits.safetensors", run_invalid},
                            {"safetensors/invalid/header_len_huge.safetensors", run_invalid},
                            {"safetensors/invalid/header_len_past_eof.safetensors", run_invalid},
                            {"safetensors/invalid/hole_between.safetensors", run_invalid},
                            {"safetensors/invalid/metadata_not_string.safetensors", run_invalid},
                            {"safetensors/invalid/missing_field.safetensors", run_invalid},
                            {"safetensors/invalid/negative_dim.safetensors", run_invalid},
                            {"safetensors/invalid/not_json.safetensors", run_invalid},
                            {"safetensors/invalid/not_object.safetensors", run_invalid},
                            {"safetensors/invalid/not_utf8.safetensors", run_invalid},
                            {"safetensors/invalid/overlap.safetensors", run_invalid},
                            {"safetensors/invalid/shape_overflow.safetensors", run_invalid},
                            {"safetensors/invalid/size_mismatch.safetensors", run_invalid},
                            {"safetensors/invalid/too_short.safetensors", run_invalid},
                            {"safetensors/invalid/trailing_bytes.safetensors", run_invalid},
                            {"safetensors/invalid/truncated_data.safetensors", run_invalid},
                            {"safetensors/invalid/unknown_dtype.safetensors", run_invalid}};

}  // namespace

std::span<const Check> container_checks() { return checks; }

}  // namespace golden
