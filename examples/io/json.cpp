#include "io/json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

namespace io {
using nlohmann::json;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

/// Lead bytes from `lead` to the next row start sequences of `length` bytes, none where that is 0; codes below `least`
/// would be overlong.
struct Utf8Lead {
  unsigned lead;
  std::size_t length;
  std::uint32_t least;
};
constexpr Utf8Lead utf8_leads[] = {{0xf5, 0, 0},    {0xf0, 4, 0x10000}, {0xe0, 3, 0x800},
                                   {0xc2, 2, 0x80}, {0x80, 0, 0},       {0x00, 1, 0}};

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const unsigned lead = static_cast<unsigned char>(text[i]);
    const Utf8Lead& row = *std::ranges::find_if(utf8_leads, [&](const Utf8Lead& r) { return r.lead <= lead; });
    if (row.length == 0 || row.length > text.size() - i) return false;
    std::uint32_t code = row.length == 1 ? lead : lead & (0x7fu >> row.length);
    for (std::size_t k = 1; k < row.length; ++k) {
      const unsigned next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0u) != 0x80u) return false;
      code = code << 6 | (next & 0x3fu);
    }
    if (code < row.least || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff) return false;
    i += row.length;
  }
  return true;
}

std::string quote(std::string_view text) {
  constexpr std::size_t limit = 120;
  if (text.size() <= limit) return fmt::format("{:?}", text);
  std::size_t cut = limit;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0u) == 0x80u) --cut;
  return fmt::format("{:?}... ({} bytes)", text.substr(0, cut), text.size());
}

namespace {

constexpr std::size_t max_depth = 64;

/// Builds the document from parser events and stops at the first fault.
class Builder final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return stop("holds binary data"); }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    auto& members = open_.back()->get_ref<json::object_t&>();
    const auto [member, added] = members.try_emplace(name);
    if (!added) return stop("duplicate key " + quote(name));
    slot_ = &member->second;
    return true;
  }
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::detail::exception&) override {
    return stop(fmt::format("invalid JSON at byte {}, near {}", position, quote(token)));
  }

  const std::string& fault() const { return fault_; }
  json take() { return std::move(root_); }

 private:
  bool stop(std::string fault) {
    fault_ = std::move(fault);
    return false;
  }
  json* place(json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    if (open_.back()->is_object()) return &(*slot_ = std::move(value));
    auto& elements = open_.back()->get_ref<json::array_t&>();
    return &elements.emplace_back(std::move(value));
  }
  bool add(json value) {
    place(std::move(value));
    return true;
  }
  bool open(json container) {
    if (open_.size() == max_depth) return stop(fmt::format("nested deeper than {}", max_depth));
    open_.push_back(place(std::move(container)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  json root_;
  std::vector<json*> open_;  ///< the containers being filled, outermost first
  json* slot_ = nullptr;     ///< where the value of the last key goes
  std::string fault_;
};

}  // namespace

Result<json> parse_json(std::string_view text, std::string_view name) {
  const auto fault = [&](std::string_view what) {
    return Error{ErrorCode::corrupt_data, fmt::format("{}: {}", name, what)};
  };
  if (!is_utf8(text)) return fault("not valid UTF-8");
  // The parser takes a NUL for the end of the text and skips a byte order mark.
  if (text.find('\0') != std::string_view::npos) return fault("invalid JSON: holds a NUL byte");
  if (text.starts_with("\xef\xbb\xbf")) return fault("invalid JSON: starts with a byte order mark");
  try {
    Builder builder;
    if (!json::sax_parse(text, &builder)) return fault(builder.fault());
    return builder.take();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, fmt::format("{}: no memory for its JSON", name)};
  }
}

}  // namespace io
