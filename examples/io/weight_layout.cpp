#include "io/weight_layout.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <initializer_list>
#include <utility>

#include "io/bitsandbytes_state.hpp"

namespace io {
using nlohmann::json;
using nlohmann::ordered_json;
using pare::CodedMatrix;
using pare::Error;
using pare::ErrorCode;
using pare::Part;
using pare::PartType;
using pare::PartView;
using pare::Result;
using pare::Shape;
using Parts = std::span<const PartView>;

namespace {

constexpr std::array<std::pair<DType, PartType>, 12> part_types{{{DType::u8, PartType::uint8},
                                                                 {DType::i8, PartType::int8},
                                                                 {DType::i16, PartType::int16},
                                                                 {DType::u16, PartType::uint16},
                                                                 {DType::i32, PartType::int32},
                                                                 {DType::u32, PartType::uint32},
                                                                 {DType::i64, PartType::int64},
                                                                 {DType::f16, PartType::float16},
                                                                 {DType::bf16, PartType::bfloat16},
                                                                 {DType::f32, PartType::float32},
                                                                 {DType::f8_e4m3, PartType::float8_e4m3},
                                                                 {DType::f8_e8m0, PartType::float8_e8m0}}};

/// "group" or "channel" with its size, as compressed-tensors describes weights.
ordered_json compressed(std::string_view format, int bits, std::string_view type, const LayerSettings& s) {
  ordered_json weights{{"num_bits", bits},
                       {"type", type},
                       {"strategy", s.group_size != 0 ? "group" : "channel"},
                       {"symmetric", s.symmetric},
                       {"dynamic", false}};
  weights["group_size"] = s.group_size != 0 ? ordered_json(s.group_size) : ordered_json();
  return {{"quant_method", "compressed-tensors"},
          {"format", format},
          {"quantization_status", "compressed"},
          {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", std::move(weights)}}}}},
          {"ignore", {"lm_head"}}};
}

ordered_json gptq_config(std::string_view checkpoint_format, const LayerSettings& s) {
  return {{"quant_method", "gptq"},
          {"bits", s.bits},
          {"group_size", s.group_size != 0 ? ordered_json(s.group_size) : ordered_json(-1)},
          {"desc_act", false},
          {"sym", s.symmetric},
          {"checkpoint_format", checkpoint_format}};
}

ordered_json awq_config(std::string_view version, const LayerSettings& s) {
  return {{"quant_method", "awq"},
          {"bits", 4},
          {"group_size", s.group_size != 0 ? ordered_json(s.group_size) : ordered_json(-1)},
          {"zero_point", true},
          {"version", version}};
}

/// A description in words of pare's own, for layouts that come without a config.json.
ordered_json own_config(std::string_view name, const LayerSettings& s) {
  return {{"quant_method", name},
          {"codes", s.format.name},
          {"bits", s.bits},
          {"group_size", s.group_size},
          {"sym", s.symmetric}};
}

// How each layout is set up for a layer.
std::size_t whole_row_group(const LayerSettings& s) { return s.group_size != 0 ? s.group_size : s.shape.cols; }
pare::AutoGptq gptq(const LayerSettings& s) { return {.bits = s.bits, .group_size = whole_row_group(s)}; }
pare::AutoGptq gptq_v2(const LayerSettings& s) {
  return {.bits = s.bits, .group_size = whole_row_group(s), .zeros = pare::GptqZeros::as_stored};
}
pare::Marlin marlin(const LayerSettings& s) { return {.group_size = s.group_size}; }
pare::AwqGemm awq_gemm(const LayerSettings& s) { return {.group_size = whole_row_group(s)}; }
pare::AwqGemv awq_gemv(const LayerSettings& s) { return {.group_size = whole_row_group(s)}; }
pare::AwqGemvFast awq_gemv_fast(const LayerSettings& s) { return {.group_size = whole_row_group(s)}; }
pare::PackQuantized pack_quantized(const LayerSettings& s) {
  return {.bits = s.bits, .group_size = whole_row_group(s), .symmetric = s.symmetric};
}
pare::IntQuantized int_quantized(const LayerSettings& s) { return {.symmetric = s.symmetric}; }
pare::FloatQuantized float_quantized(const LayerSettings&) { return {}; }
pare::CompressedNvfp4 compressed_nvfp4(const LayerSettings&) { return {}; }
pare::CompressedMxfp4 compressed_mxfp4(const LayerSettings&) { return {}; }
pare::ModeloptFp8 modelopt_fp8(const LayerSettings&) { return {}; }
pare::ModeloptNvfp4 modelopt_nvfp4(const LayerSettings&) { return {}; }
pare::ModeloptMxfp4 modelopt_mxfp4(const LayerSettings&) { return {}; }
pare::ModeloptInt4 modelopt_int4(const LayerSettings& s) { return {.group_size = s.group_size}; }
pare::DeepseekFp8 deepseek_fp8(const LayerSettings& s) {
  return {.block = s.block.rows != 0 ? s.block : Shape{128, 128}};
}
pare::BitsandbytesInt8 bitsandbytes_int8(const LayerSettings&) { return {}; }
pare::Hqq hqq(const LayerSettings& s) {
  return {.bits = s.bits, .axis = s.axis, .group_size = whole_row_group(s), .shape = s.shape};
}
pare::Exl2 exl2(const LayerSettings& s) { return {.outputs = s.shape.rows}; }
pare::Mlc mlc(const LayerSettings& s) {
  return {.bits = s.bits, .group_size = whole_row_group(s), .columns = s.shape.cols};
}
pare::QServePerChannel qserve_per_channel(const LayerSettings&) { return {}; }
pare::QServePerGroup qserve_per_group(const LayerSettings& s) {
  return {.group_size = s.block.cols != 0 ? s.block.cols : s.group_size};
}
pare::MatMulNBits matmulnbits(const LayerSettings& s) {
  return {.bits = s.bits, .block_size = s.group_size, .columns = s.shape.cols, .zero_points = !s.symmetric};
}

pare::StoredFormat stored(const LayerSettings& s) {
  if (!s.format.integer) return {s.format};
  return s.symmetric ? pare::stored_int(s.bits) : pare::stored_uint(s.bits);
}
pare::OnnxLinear onnx_linear(const LayerSettings& s) {
  return {.elements = stored(s),
          .shape = s.shape,
          .axis = s.group_size != 0 ? 1 : 0,
          .block_size = s.group_size,
          .zero_points = !s.symmetric};
}
pare::OpenVino openvino(const LayerSettings& s) {
  return {.elements = stored(s), .shape = s.shape, .group_size = s.group_size, .zero_points = !s.symmetric};
}

template <auto Make>
Result<CodedMatrix> read_as(Parts parts, const LayerSettings& settings) {
  return Make(settings).read(parts);
}
template <auto Make>
Result<std::vector<Part>> write_as(const CodedMatrix& matrix, const LayerSettings& settings) {
  return Make(settings).write(matrix);
}

constexpr std::string_view state_part = "weight.quant_state.bitsandbytes__";

Result<CodedMatrix> read_bitsandbytes(Parts parts, const LayerSettings&) {
  for (const PartView& part : parts) {
    if (!part.name.starts_with(state_part)) continue;
    const auto layout = parse_bitsandbytes_state({reinterpret_cast<const char*>(part.bytes.data()), part.bytes.size()});
    if (!layout) return layout.error();
    auto matrix = layout->read(parts);
    if (matrix && matrix->shape != layout->shape)
      return Error{ErrorCode::unsupported,
                   "blocks of absmax go on from row to row: only the flattened matrix has them"};
    return matrix;
  }
  return Error{ErrorCode::corrupt_data, fmt::format("{}nf4 is missing", state_part)};
}

Result<std::vector<Part>> write_bitsandbytes(const CodedMatrix& matrix, const LayerSettings& settings) {
  const pare::Bitsandbytes4Bit layout{
      .shape = matrix.shape, .format = matrix.format, .blocksize = whole_row_group(settings)};
  if (!(matrix.format == pare::code_format<pare::NF4>()) && !(matrix.format == pare::code_format<pare::BnbFP4>()))
    return Error{ErrorCode::unsupported,
                 fmt::format("pare: bitsandbytes-4bit cannot hold codes of {}", matrix.format.name)};
  auto parts = layout.write(matrix);
  if (!parts) return parts;
  const std::string state = bitsandbytes_state(layout, "float32");
  const bool nf4 = matrix.format == pare::code_format<pare::NF4>();
  auto part = pare::make_part(fmt::format("{}{}", state_part, nf4 ? "nf4" : "fp4"), PartType::uint8, {state.size()});
  if (!part) return part.error();
  std::copy(state.begin(), state.end(), part->bytes().begin());
  parts->push_back(*std::move(part));
  return parts;
}

/// Additive codebooks are no codes of single weights.
Result<CodedMatrix> read_aqlm(Parts, const LayerSettings&) {
  return Error{ErrorCode::unsupported, "aqlm's codes stand for vectors of weights, which only float32 holds"};
}
Result<std::vector<Part>> write_aqlm(const CodedMatrix&, const LayerSettings&) {
  return Error{ErrorCode::unsupported, "aqlm's codebooks have to be searched for; only its own files have them"};
}

LayerSettings settings_of(const CodedMatrix& matrix) {
  LayerSettings s{.shape = matrix.shape, .format = matrix.format, .bits = matrix.format.bits, .block = matrix.block};
  s.group_size = matrix.block.cols < matrix.shape.cols ? matrix.block.cols : 0;
  const auto middle = static_cast<float>(1 << (s.bits - 1));
  const bool shifted = matrix.format.integer && matrix.shift_kind == pare::ShiftKind::zero_point;
  const auto* shifts = reinterpret_cast<const float*>(matrix.shifts_memory.data());
  s.symmetric = shifted && std::all_of(shifts, shifts + matrix.grid.rows * matrix.grid.cols,
                                       [&](float shift) { return shift == middle; });
  return s;
}

/// The first member of one of these names, however deep; null where there is none.
const json* find(const json& object, std::initializer_list<const char*> names) {
  if (!object.is_structured()) return nullptr;
  if (object.is_object())
    for (const char* name : names)
      if (const auto member = object.find(name); member != object.end() && !member->is_null()) return &*member;
  for (const json& member : object)
    if (const json* found = find(member, names)) return found;
  return nullptr;
}

std::string text(const json* value) { return value != nullptr && value->is_string() ? value->get<std::string>() : ""; }

/// What a quantization_config says of every layer, whatever the tool calls it.
LayerSettings settings_of(const json& config) {
  LayerSettings s;
  const auto number = [&](std::initializer_list<const char*> names, std::size_t otherwise) {
    const json* value = find(config, names);
    return value != nullptr && value->is_number_unsigned() && *value <= 1u << 20 ? value->get<std::size_t>()
                                                                                 : otherwise;
  };
  s.bits = static_cast<int>(number({"bits", "nbits", "num_bits", "w_bit"}, 4));
  s.group_size = number({"group_size", "q_group_size", "block_size"}, 0);
  s.axis = static_cast<int>(number({"axis"}, 1));
  if (const json* symmetric = find(config, {"sym", "symmetric"})) s.symmetric = *symmetric == true;
  s.format = pare::unsigned_format(s.bits);
  for (const pare::CodeFormat& format : {pare::code_format<pare::NF4>(), pare::code_format<pare::E2M1>(),
                                         pare::code_format<pare::E4M3>(), pare::code_format<pare::E5M2>()})
    if (text(find(config, {"codes"})) == format.name) s.format = format;
  if (const json* block = find(config, {"weight_block_size", "block_structure"});
      block != nullptr && block->is_array() && block->size() == 2 && (*block)[0].is_number_unsigned() &&
      (*block)[1].is_number_unsigned())
    s.block = {(*block)[0].get<std::size_t>(), (*block)[1].get<std::size_t>()};
  return s;
}

}  // namespace

/// One layout. Of the rows with one quant_method that is taken whose `dialect` some member `key` has; a row without
/// stands for the rest.
struct WeightLayout::Row {
  std::string_view name;
  std::string_view method;
  const char* key;
  std::string_view dialect;
  std::string_view marker;
  Result<CodedMatrix> (*read)(Parts parts, const LayerSettings& settings);
  Result<std::vector<Part>> (*write)(const CodedMatrix& matrix, const LayerSettings& settings);
  ordered_json (*describe)(const LayerSettings& settings);
};

const std::vector<WeightLayout::Row>& WeightLayout::rows() {
  using S = const LayerSettings&;
  static const std::vector<Row> rows = {
      {"gptq-v2", "gptq", "checkpoint_format", "gptq_v2", "qweight", read_as<gptq_v2>, write_as<gptq_v2>,
       [](S s) { return gptq_config("gptq_v2", s); }},
      {"marlin", "gptq", "checkpoint_format", "marlin", "B", read_as<marlin>, write_as<marlin>,
       [](S s) { return gptq_config("marlin", s); }},
      {"gptq", "gptq", nullptr, "", "qweight", read_as<gptq>, write_as<gptq>,
       [](S s) { return gptq_config("gptq", s); }},
      {"awq-gemv-fast", "awq", "version", "gemv_fast", "qweight", read_as<awq_gemv_fast>, write_as<awq_gemv_fast>,
       [](S s) { return awq_config("gemv_fast", s); }},
      {"awq-gemv", "awq", "version", "gemv", "qweight", read_as<awq_gemv>, write_as<awq_gemv>,
       [](S s) { return awq_config("gemv", s); }},
      {"awq-gemm", "awq", nullptr, "", "qweight", read_as<awq_gemm>, write_as<awq_gemm>,
       [](S s) { return awq_config("gemm", s); }},
      {"compressed-tensors:pack-quantized", "compressed-tensors", "format", "pack-quantized", "weight_packed",
       read_as<pack_quantized>, write_as<pack_quantized>,
       [](S s) { return compressed("pack-quantized", s.bits, "int", s); }},
      {"compressed-tensors:int-quantized", "compressed-tensors", "format", "int-quantized", "weight_scale",
       read_as<int_quantized>, write_as<int_quantized>, [](S s) { return compressed("int-quantized", 8, "int", s); }},
      {"compressed-tensors:float-quantized", "compressed-tensors", "format", "float-quantized", "weight_scale",
       read_as<float_quantized>, write_as<float_quantized>,
       [](S s) { return compressed("float-quantized", 8, "float", s); }},
      {"compressed-tensors:nvfp4", "compressed-tensors", "format", "nvfp4-pack-quantized", "weight_packed",
       read_as<compressed_nvfp4>, write_as<compressed_nvfp4>,
       [](S s) { return compressed("nvfp4-pack-quantized", 4, "float", s); }},
      {"compressed-tensors:mxfp4", "compressed-tensors", "format", "mxfp4-pack-quantized", "weight_packed",
       read_as<compressed_mxfp4>, write_as<compressed_mxfp4>,
       [](S s) { return compressed("mxfp4-pack-quantized", 4, "float", s); }},
      {"modelopt:fp8", "modelopt", "quant_algo", "FP8", "weight_scale", read_as<modelopt_fp8>, write_as<modelopt_fp8>,
       [](S) { return ordered_json{{"quant_method", "modelopt"}, {"quant_algo", "FP8"}}; }},
      {"modelopt:nvfp4", "modelopt", "quant_algo", "NVFP4", "weight_scale", read_as<modelopt_nvfp4>,
       write_as<modelopt_nvfp4>,
       [](S) { return ordered_json{{"quant_method", "modelopt"}, {"quant_algo", "NVFP4"}, {"group_size", 16}}; }},
      {"modelopt:mxfp4", "modelopt", "quant_algo", "MXFP4", "weight_scale", read_as<modelopt_mxfp4>,
       write_as<modelopt_mxfp4>,
       [](S) { return ordered_json{{"quant_method", "modelopt"}, {"quant_algo", "MXFP4"}, {"group_size", 32}}; }},
      {"modelopt:int4-awq", "modelopt", "quant_algo", "W4A16_AWQ", "weight_scale", read_as<modelopt_int4>,
       write_as<modelopt_int4>,
       [](S s) {
         return ordered_json{{"quant_method", "modelopt"}, {"quant_algo", "W4A16_AWQ"}, {"group_size", s.group_size}};
       }},
      {"deepseek:fp8", "fp8", nullptr, "", "weight_scale_inv", read_as<deepseek_fp8>, write_as<deepseek_fp8>,
       [](S s) {
         return ordered_json{{"quant_method", "fp8"},
                             {"fmt", "e4m3"},
                             {"weight_block_size", {s.block.rows, s.block.cols}},
                             {"activation_scheme", "dynamic"}};
       }},
      {"bitsandbytes-int8", "bitsandbytes", "load_in_8bit", "true", "SCB", read_as<bitsandbytes_int8>,
       write_as<bitsandbytes_int8>,
       [](S) {
         return ordered_json{{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}, {"load_in_4bit", false}};
       }},
      {"bitsandbytes-4bit", "bitsandbytes", nullptr, "", "weight.absmax", read_bitsandbytes, write_bitsandbytes,
       [](S s) {
         return ordered_json{{"quant_method", "bitsandbytes"},
                             {"load_in_8bit", false},
                             {"load_in_4bit", true},
                             {"bnb_4bit_quant_type", s.format == pare::code_format<pare::NF4>() ? "nf4" : "fp4"},
                             {"bnb_4bit_use_double_quant", false},
                             {"bnb_4bit_compute_dtype", "float32"},
                             {"bnb_4bit_quant_storage", "uint8"}};
       }},
      {"hqq", "hqq", nullptr, "", "W_q", read_as<hqq>, write_as<hqq>,
       [](S s) {
         const ordered_json weights{{"nbits", s.bits}, {"group_size", whole_row_group(s)}, {"axis", 1}};
         return ordered_json{{"quant_method", "hqq"}, {"quant_config", {{"weight_quant_params", weights}}}};
       }},
      {"exl2", "exl2", nullptr, "", "q_weight", read_as<exl2>, write_as<exl2>,
       [](S s) { return ordered_json{{"quant_method", "exl2"}, {"bits", s.bits}}; }},
      {"aqlm", "aqlm", nullptr, "", "codebooks", read_aqlm, write_aqlm, [](S s) { return own_config("aqlm", s); }},
      {"mlc", "mlc", nullptr, "", "q_weight", read_as<mlc>, write_as<mlc>, [](S s) { return own_config("mlc", s); }},
      {"qserve:per-channel", "qserve:per-channel", nullptr, "", "qweight", read_as<qserve_per_channel>,
       write_as<qserve_per_channel>, [](S s) { return own_config("qserve:per-channel", s); }},
      {"qserve:per-group", "qserve:per-group", nullptr, "", "qweight", read_as<qserve_per_group>,
       write_as<qserve_per_group>,
       [](S s) {
         // Rows of one group are said to be so: they are no rows without groups.
         ordered_json config = own_config("qserve:per-group", s);
         config["group_size"] = s.block.cols;
         return config;
       }},
      {"onnx:matmulnbits", "onnx:matmulnbits", nullptr, "", "B", read_as<matmulnbits>, write_as<matmulnbits>,
       [](S s) { return own_config("onnx:matmulnbits", s); }},
      {"onnx:linear", "onnx:linear", nullptr, "", "x_scale", read_as<onnx_linear>, write_as<onnx_linear>,
       [](S s) { return own_config("onnx:linear", s); }},
      {"openvino", "openvino", nullptr, "", "scale", read_as<openvino>, write_as<openvino>,
       [](S s) { return own_config("openvino", s); }},
  };
  return rows;
}

DType dtype(PartType type) noexcept {
  return std::ranges::find(part_types, type, &std::pair<DType, PartType>::second)->first;
}

std::optional<PartType> part_type(DType dtype) noexcept {
  const auto found = std::ranges::find(part_types, dtype, &std::pair<DType, PartType>::first);
  return found == part_types.end() ? std::nullopt : std::optional(found->second);
}

Result<WeightLayout> WeightLayout::named(std::string_view name) {
  for (const Row& row : rows())
    if (row.name == name) return WeightLayout(row);
  return Error{ErrorCode::invalid_argument,
               fmt::format("unknown layout \"{}\"; there are {}", name, fmt::join(names(), ", "))};
}

Result<WeightLayout> WeightLayout::described(const json& config) {
  const std::string method = config.is_object() ? text(find(config, {"quant_method"})) : std::string();
  for (const Row& row : rows()) {
    if (row.method != method) continue;
    if (row.key != nullptr) {
      const json* dialect = find(config, {row.key});
      if (dialect == nullptr || (dialect->is_string() ? dialect->get<std::string>() : dialect->dump()) != row.dialect)
        continue;
    }
    WeightLayout layout(row);
    layout.settings_ = settings_of(config);
    if (layout.settings_.bits < 1 || layout.settings_.bits > 8)
      return Error{ErrorCode::unsupported,
                   fmt::format("the quantization_config says {} bits; 1 to 8 are read", layout.settings_.bits)};
    return layout;
  }
  return Error{ErrorCode::unsupported,
               fmt::format("the quantization_config describes no layout that is read (quant_method \"{}\")", method)};
}

std::vector<std::string_view> WeightLayout::names() {
  std::vector<std::string_view> list;
  for (const Row& row : rows()) list.push_back(row.name);
  return list;
}

std::string_view WeightLayout::name() const noexcept { return row_->name; }
std::string_view WeightLayout::marker() const noexcept { return row_->marker; }

Result<CodedMatrix> WeightLayout::read(Parts parts, Shape shape) const {
  LayerSettings settings = settings_;
  settings.shape = shape;
  auto matrix = row_->read(parts, settings);
  if (matrix && matrix->shape != shape)
    return Error{ErrorCode::corrupt_data, fmt::format("{} x {} weights where there should be {} x {}",
                                                      matrix->shape.rows, matrix->shape.cols, shape.rows, shape.cols)};
  return matrix;
}

Result<std::vector<float>> WeightLayout::read_values(Parts parts, Shape shape) const {
  const auto values = [&](const auto& matrix) {
    std::vector<float> list;
    list.reserve(shape.rows * shape.cols);
    for (std::size_t r = 0; r < shape.rows; ++r)
      for (std::size_t c = 0; c < shape.cols; ++c) list.push_back(matrix.value(r, c));
    return list;
  };
  if (row_->read == read_aqlm) {
    const auto matrix = pare::Aqlm().read(parts);
    if (!matrix) return matrix.error();
    if (matrix->shape != shape) return Error{ErrorCode::corrupt_data, "the codes are those of another shape"};
    return values(*matrix);
  }
  const auto matrix = read(parts, shape);
  if (!matrix) return matrix.error();
  return values(*matrix);
}

Result<std::vector<Part>> WeightLayout::write(const CodedMatrix& matrix) const {
  return row_->write(matrix, settings_of(matrix));
}

Result<std::vector<Part>> WeightLayout::write(const pare::AdditiveMatrix& matrix) const {
  if (row_->write == write_aqlm) return pare::Aqlm().write(matrix);
  return Error{ErrorCode::unsupported, fmt::format("{} has no codebooks; aqlm and float32 have", name())};
}

ordered_json WeightLayout::describe(const CodedMatrix& matrix) const { return row_->describe(settings_of(matrix)); }

ordered_json WeightLayout::describe(const pare::AdditiveMatrix& matrix) const {
  return {{"quant_method", "aqlm"},
          {"in_group_size", matrix.group.cols},
          {"out_group_size", matrix.group.rows},
          {"num_codebooks", matrix.codebooks},
          {"nbits_per_codebook", std::bit_width(matrix.vectors) - 1},
          {"linear_weights_not_to_quantize", {"lm_head.weight"}}};
}

}  // namespace io
