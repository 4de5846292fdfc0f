#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "pare/core/bits.hpp"

/// The program texts of pickles, put together from their parts: each function gives what pushes one value.
namespace pickles {

inline std::string little_endian(std::uint64_t value, std::size_t bytes) {
  std::uint8_t buffer[8];
  pare::store_le(buffer, value, bytes);
  return {reinterpret_cast<const char*>(buffer), bytes};
}

inline const std::string none = "N";
inline std::string boolean(bool value) { return value ? "\x88" : "\x89"; }
inline std::string integer(std::int64_t value) {
  return std::string("\x8a\x08") + little_endian(static_cast<std::uint64_t>(value), 8);
}
inline std::string text(std::string_view value) {
  return std::string("X") + little_endian(value.size(), 4) + std::string(value);
}
inline std::string tuple(std::initializer_list<std::string> items) {
  std::string code = "(";
  for (const std::string& item : items) code += item;
  return code + "t";
}
inline std::string counts(std::initializer_list<std::int64_t> items) {
  std::string code = "(";
  for (const std::int64_t item : items) code += integer(item);
  return code + "t";
}
inline std::string list(std::initializer_list<std::string> items) {
  std::string code = "](";
  for (const std::string& item : items) code += item;
  return code + "e";
}
using Entries = std::initializer_list<std::pair<std::string_view, std::string>>;
inline std::string dict(Entries entries) {
  std::string code = "}(";
  for (const auto& [key, value] : entries) code += text(key) + value;
  return code + "u";
}
inline std::string global(std::string_view module, std::string_view name) {
  return std::string("c").append(module) + "\n" + std::string(name) + "\n";
}
inline std::string call(const std::string& callee, const std::string& arguments) { return callee + arguments + "R"; }
/// An object of the class with this state.
inline std::string object(const std::string& type, const std::string& state) { return type + ")\x81" + state + "b"; }

/// The persistent identifier of a storage of PyTorch, and a tensor on one.
inline std::string storage(std::string_view type, std::string_view key, std::int64_t elements,
                           const std::string& more = "") {
  return std::string("(") + text("storage") + global("torch", type) + text(key) + text("cpu") + integer(elements) +
         more + "tQ";
}
inline std::string tensor(const std::string& storage, std::int64_t offset, const std::string& size,
                          const std::string& stride) {
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              tuple({storage, integer(offset), size, stride, boolean(false), dict({})}));
}

/// A module of PyTorch.
inline std::string module(Entries parameters, Entries buffers, Entries modules, Entries more = {}) {
  std::string state = std::string("}(") + text("_parameters") + dict(parameters) + text("_buffers") + dict(buffers) +
                      text("_modules") + dict(modules);
  for (const auto& [key, value] : more) state += text(key) + value;
  return object(global("some.module", "Module"), state + "u");
}

inline std::string program(const std::string& value) { return std::string("\x80\x02") + value + "."; }

}  // namespace pickles
