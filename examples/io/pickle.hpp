#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "pare/core/result.hpp"

namespace io {

/// A Python pickle read as data. Nothing in it is executed: a class or function is a name, and a call or an object is
/// the name with what it would be given. Values are numbered, because a pickle may share them and hold circles.
class Pickle {
 public:
  /// The number of a value.
  using Ref = std::uint32_t;

  struct None {};
  /// An integer below -2^63 or above 2^63 - 1: its bytes in two's complement, the lowest first.
  struct BigInteger {
    std::string bytes;
  };
  struct Bytes {
    std::string bytes;
  };
  struct Tuple {
    std::vector<Ref> items;
  };
  /// A list, or a set where `unique`.
  struct List {
    std::vector<Ref> items;
    bool unique = false;
  };
  /// A dict or collections.OrderedDict in the order of insertion. A key that is set twice is there twice.
  struct Dict {
    std::vector<std::pair<Ref, Ref>> items;
  };
  /// The name of a class or function.
  struct Global {
    std::string module;
    std::string name;

    [[nodiscard]] bool is(std::string_view m, std::string_view n) const noexcept { return module == m && name == n; }
  };
  /// What a call of `callee` with the tuple `arguments` would give; `state` is what it would be set up with, and
  /// `items` and `entries` are what would be appended and set.
  struct Object {
    Ref callee = 0;
    Ref arguments = 0;
    std::optional<Ref> state;
    std::vector<Ref> items;
    std::vector<std::pair<Ref, Ref>> entries;
  };
  /// An object outside the pickle, by its identifier.
  struct Persistent {
    Ref id = 0;
  };
  using Value = std::variant<None, bool, std::int64_t, double, BigInteger, std::string, Bytes, Tuple, List, Dict,
                             Global, Object, Persistent>;

  /// Reads one pickle of protocol 2 to 5 from the start of `bytes`; what follows it is left alone. `name` starts every
  /// message. Errors give the offset of the opcode: corrupt_data for what no pickler writes, unsupported for the
  /// opcodes of protocols 0 and 1, and for more values than a limit of 2^22.
  static pare::Result<Pickle> parse(std::span<const std::byte> bytes, std::string_view name);

  /// The value of the whole pickle.
  [[nodiscard]] Ref root() const noexcept { return root_; }

  /// The bytes that the pickle takes.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// The number of values; every Ref is below it.
  [[nodiscard]] Ref count() const noexcept { return static_cast<Ref>(values_.size()); }

  [[nodiscard]] const Value& operator[](Ref ref) const noexcept { return values_[ref]; }

  /// The value where it is a T, or nullptr.
  template <class T>
  [[nodiscard]] const T* get(Ref ref) const noexcept {
    return std::get_if<T>(&values_[ref]);
  }

  /// The callee of an object where that is a global, or nullptr.
  [[nodiscard]] const Global* callee(const Object& object) const noexcept { return get<Global>(object.callee); }

  /// What a dict holds under a text key, the last where there are several; nothing for other values.
  [[nodiscard]] std::optional<Ref> entry(Ref dict, std::string_view key) const noexcept;

  /// The items of a tuple, or nothing for other values.
  [[nodiscard]] std::optional<std::span<const Ref>> tuple(Ref ref) const noexcept;

 private:
  friend class PickleMachine;
  Pickle() = default;

  std::vector<Value> values_;
  Ref root_ = 0;
  std::size_t size_ = 0;
};

}  // namespace io
