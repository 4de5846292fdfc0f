#include "io/bitsandbytes_state.hpp"

#include <fmt/format.h>

#include "io/json.hpp"

namespace io {
namespace {

constexpr pare::CodeFormat formats[] = {pare::code_format<pare::NF4>(), pare::code_format<pare::BnbFP4>()};
constexpr std::string_view format_names[] = {"nf4", "fp4"};

pare::Error fault(std::string_view what) {
  return {pare::ErrorCode::corrupt_data, fmt::format("quant_state: {}", what)};
}

pare::Result<std::size_t> size(const nlohmann::json& value, std::string_view name) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() <= ~std::size_t{0} / 64) return value.get<std::size_t>();
  return fault(fmt::format("\"{}\" is no size", name));
}

pare::Result<std::size_t> size_member(const nlohmann::json& state, const char* name) {
  const auto member = state.find(name);
  if (member == state.end()) return fault(fmt::format("\"{}\" is missing", name));
  return size(*member, name);
}

}  // namespace

pare::Result<pare::Bitsandbytes4Bit> parse_bitsandbytes_state(std::string_view json) {
  const auto state = parse_json(json, "quant_state");
  if (!state) return state.error();
  if (!state->is_object()) return fault("no JSON object");
  pare::Bitsandbytes4Bit layout;
  const auto type = state->value("quant_type", nlohmann::json());
  bool known = false;
  for (std::size_t i = 0; i < 2; ++i)
    if (type == format_names[i]) {
      layout.format = formats[i];
      known = true;
    }
  if (!known) return fault("\"quant_type\" is neither nf4 nor fp4");
  const auto blocksize = size_member(*state, "blocksize");
  if (!blocksize) return blocksize.error();
  layout.blocksize = *blocksize;
  const auto shape = state->find("shape");
  if (shape == state->end() || !shape->is_array() || shape->size() != 2) return fault("\"shape\" is no pair of sizes");
  const auto rows = size((*shape)[0], "shape"), cols = size((*shape)[1], "shape");
  if (!rows) return rows.error();
  if (!cols) return cols.error();
  layout.shape = {*rows, *cols};
  const auto offset = state->find("nested_offset");
  if (offset == state->end()) return layout;
  if (!offset->is_number()) return fault("\"nested_offset\" is no number");
  const auto nested = size_member(*state, "nested_blocksize");
  if (!nested) return nested.error();
  layout.nested = true;
  layout.nested_offset = offset->get<float>();
  layout.nested_blocksize = *nested;
  return layout;
}

std::string bitsandbytes_state(const pare::Bitsandbytes4Bit& layout, std::string_view dtype) {
  nlohmann::ordered_json state;
  state["quant_type"] = format_names[layout.format == formats[0] ? 0 : 1];
  state["blocksize"] = layout.blocksize;
  state["dtype"] = dtype;
  state["shape"] = {layout.shape.rows, layout.shape.cols};
  if (layout.nested) {
    state["nested_blocksize"] = layout.nested_blocksize;
    state["nested_dtype"] = "float32";
    state["nested_offset"] = static_cast<double>(layout.nested_offset);
  }
  return state.dump();
}

}  // namespace io
