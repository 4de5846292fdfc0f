#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "pare/core/result.hpp"

namespace llama::tokens {

/// Reads members of JSON objects and keeps the first fault. After a fault the getters still return something harmless,
/// so that a reader checks once, at its end.
class JsonFields {
 public:
  using Json = nlohmann::json;

  /// `name` is the file that messages begin with.
  explicit JsonFields(std::string name) : name_(std::move(name)) {}

  /// Keeps "name: place: what" unless there is a fault already.
  void fail(std::string_view place, std::string_view what, pare::ErrorCode code = pare::ErrorCode::corrupt_data);
  /// The same for a valid file of a kind that is not implemented.
  void unsupported(std::string_view place, std::string_view what);

  [[nodiscard]] bool failed() const noexcept { return fault_.has_value(); }
  [[nodiscard]] const pare::Error& fault() const noexcept { return *fault_; }

  /// The member, or a JSON null if there is none or `object` is not an object.
  static const Json& member(const Json& object, const char* key) noexcept;

  /// The member; one that is missing, null or of another type is a fault unless a fallback is given for the first two.
  bool boolean(const Json& object, const char* key, std::string_view place, std::optional<bool> fallback = {});
  std::string string(const Json& object, const char* key, std::string_view place,
                     std::optional<std::string> fallback = {});
  /// An array; an empty one after a fault.
  const Json& array(const Json& object, const char* key, std::string_view place);

  /// A token id from 0 to Tokenizer::max_vocabulary - 1, or none (not yet a fault).
  static std::optional<std::int32_t> id(const Json& value) noexcept;

 private:
  std::string name_;
  std::optional<pare::Error> fault_;
};

}  // namespace llama::tokens
