#pragma once

#include <string>
#include <string_view>

#include "pare/layouts/bitsandbytes.hpp"

namespace io {

/// The layout that the JSON of a `quant_state.bitsandbytes__nf4` (or `__fp4`) tensor describes; corrupt_data where a
/// member is missing or no such thing.
pare::Result<pare::Bitsandbytes4Bit> parse_bitsandbytes_state(std::string_view json);

/// The JSON of a layout; `dtype` is what the weights were before: "float16", "bfloat16" or "float32".
std::string bitsandbytes_state(const pare::Bitsandbytes4Bit& layout, std::string_view dtype);

}  // namespace io
