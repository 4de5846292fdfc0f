#include "llama/tokenizer_json.hpp"

#include <fmt/format.h>

#include "llama/tokenizer.hpp"

namespace llama::tokens {

void JsonFields::fail(std::string_view place, std::string_view what, pare::ErrorCode code) {
  if (!fault_) fault_ = pare::Error{code, fmt::format("{}: {}: {}", name_, place, what)};
}

void JsonFields::unsupported(std::string_view place, std::string_view what) {
  fail(place, what, pare::ErrorCode::unsupported);
}

const JsonFields::Json& JsonFields::member(const Json& object, const char* key) noexcept {
  static const Json null;
  const auto found = object.find(key);
  return found != object.end() ? *found : null;
}

bool JsonFields::boolean(const Json& object, const char* key, std::string_view place, std::optional<bool> fallback) {
  const Json& value = member(object, key);
  if (value.is_boolean()) return value.get<bool>();
  if (!value.is_null() || !fallback) fail(place, fmt::format("\"{}\" is not true or false", key));
  return fallback.value_or(false);
}

std::string JsonFields::string(const Json& object, const char* key, std::string_view place,
                               std::optional<std::string> fallback) {
  const Json& value = member(object, key);
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_null() || !fallback) fail(place, fmt::format("\"{}\" is not a string", key));
  return fallback.value_or("");
}

const JsonFields::Json& JsonFields::array(const Json& object, const char* key, std::string_view place) {
  static const Json empty = Json::array();
  const Json& value = member(object, key);
  if (value.is_array()) return value;
  fail(place, fmt::format("\"{}\" is not an array", key));
  return empty;
}

std::optional<std::int32_t> JsonFields::id(const Json& value) noexcept {
  if (!value.is_number_integer()) return std::nullopt;
  const auto number = value.get<std::int64_t>();
  if (number < 0 || number >= Tokenizer::max_vocabulary) return std::nullopt;
  return static_cast<std::int32_t>(number);
}

}  // namespace llama::tokens
