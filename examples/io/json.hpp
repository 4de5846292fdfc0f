#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "pare/core/result.hpp"

namespace io {

/// Whether `text` is well-formed UTF-8: no overlong forms, surrogates or values above U+10FFFF.
bool is_utf8(std::string_view text) noexcept;

/// `text` in double quotes for a message: control characters and broken UTF-8 escaped, long texts shortened.
std::string quote(std::string_view text);

/// Parses one JSON document as strictly as a hostile file asks for: UTF-8, no duplicate key in an object, nesting of
/// at most 64, nothing after it but white space. The message starts with `name` and gives the place.
pare::Result<nlohmann::json> parse_json(std::string_view text, std::string_view name);

}  // namespace io
