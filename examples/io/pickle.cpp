#include "io/pickle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <unordered_map>

#include "io/json.hpp"
#include "pare/core/bits.hpp"

namespace io {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

constexpr std::size_t max_values = std::size_t{1} << 22;
constexpr std::size_t max_name_bytes = std::size_t{1} << 24;
constexpr std::uint8_t highest_protocol = 5;

/// An opcode that only pushes a number or text with a length of `width` bytes before it.
struct Sized {
  std::uint8_t opcode;
  std::size_t width;
};
constexpr Sized texts[] = {{'X', 4}, {0x8c, 1}, {0x8d, 8}};
constexpr Sized byte_strings[] = {{'B', 4}, {'C', 1}, {0x8e, 8}, {0x96, 8}, {'T', 4}, {'U', 1}};
constexpr Sized long_integers[] = {{0x8a, 1}, {0x8b, 4}};

/// The opcodes of protocols 0 and 1 that later ones have replaced, and the extension registry's.
constexpr std::string_view old_opcodes = "FILSVPgpio\x82\x83\x84";

}  // namespace

/// The machine that a pickle is a program for: a stack of values, marks on it, and a memo.
class PickleMachine {
 public:
  using Ref = Pickle::Ref;

  PickleMachine(std::span<const std::byte> bytes, std::string_view name)
      : code_(reinterpret_cast<const char*>(bytes.data()), bytes.size()), name_(name) {}

  Result<Pickle> run() {
    while (error_.message.empty()) {
      start_ = at_;
      if (at_ == code_.size()) {
        fail("ends without a STOP");
        break;
      }
      const auto opcode = static_cast<std::uint8_t>(code_[at_++]);
      if (opcode == '.') {
        const Ref root = pop();
        if (!error_.message.empty()) break;
        pickle_.root_ = root;
        pickle_.size_ = at_;
        return std::move(pickle_);
      }
      step(opcode);
      if (pickle_.values_.size() > max_values)
        fail(fmt::format("has more than {} values", max_values), ErrorCode::unsupported);
    }
    return std::move(error_);
  }

 private:
  void fail(std::string_view what, ErrorCode code = ErrorCode::corrupt_data) {
    if (error_.message.empty()) error_ = {code, fmt::format("{}: pickle at byte {}: {}", name_, start_, what)};
  }

  // Reading of arguments. After a fault they give empty values; run() stops before the next opcode.
  std::string_view take(std::uint64_t size) {
    if (size > code_.size() - at_) {
      fail(fmt::format("needs {} bytes at {}, where {} are left", size, at_, code_.size() - at_));
      return {};
    }
    at_ += static_cast<std::size_t>(size);
    return code_.substr(at_ - static_cast<std::size_t>(size), static_cast<std::size_t>(size));
  }
  std::uint64_t number(std::size_t width) {
    const std::string_view bytes = take(width);
    return bytes.empty() ? 0 : pare::load_le(reinterpret_cast<const std::uint8_t*>(bytes.data()), width);
  }
  std::string line() {
    const std::size_t end = code_.find('\n', at_);
    if (end == std::string_view::npos) {
      fail("a name has no end");
      return {};
    }
    const std::string_view text = code_.substr(at_, end - at_);
    at_ = end + 1;
    if (!is_utf8(text)) fail("a name is not valid UTF-8");
    return std::string(text);
  }

  // The stack. A pop below the last mark is a fault.
  void push(Ref ref) { stack_.push_back(ref); }
  void add(Pickle::Value value) {
    push(static_cast<Ref>(pickle_.values_.size()));
    pickle_.values_.push_back(std::move(value));
  }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Ref pop() {
    if (stack_.size() <= floor()) {
      fail("takes a value off an empty stack");
      return nothing();
    }
    const Ref ref = stack_.back();
    stack_.pop_back();
    return ref;
  }
  Ref top() {
    const Ref ref = pop();
    if (error_.message.empty()) push(ref);
    return ref;
  }
  std::vector<Ref> pop_to_mark() {
    if (marks_.empty()) {
      fail("has no mark to go back to");
      return {};
    }
    const auto from = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Ref> items(from, stack_.end());
    stack_.erase(from, stack_.end());
    marks_.pop_back();
    return items;
  }
  std::vector<Ref> pop_count(std::size_t count) {
    std::vector<Ref> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    return items;
  }
  /// A None to go on with after a fault.
  Ref nothing() {
    pickle_.values_.emplace_back(Pickle::None{});
    return static_cast<Ref>(pickle_.values_.size() - 1);
  }

  void memorize(std::uint64_t index) {
    const Ref ref = top();
    memo_[index] = ref;
  }
  void recall(std::uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) return fail(fmt::format("the memo has no entry {}", index));
    push(found->second);
  }

  void push_integer(std::string_view bytes) {
    if (bytes.size() > sizeof(std::uint64_t)) return add(Pickle::BigInteger{std::string(bytes)});
    std::uint64_t word =
        bytes.empty() ? 0 : pare::load_le(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    if (!bytes.empty() && bytes.size() < sizeof(word) && (static_cast<unsigned char>(bytes.back()) & 0x80u) != 0)
      word |= ~std::uint64_t{0} << (8 * bytes.size());
    add(static_cast<std::int64_t>(word));
  }

  void append(std::vector<Ref> items) {
    const Ref target = top();
    if (!error_.message.empty()) return;
    Pickle::Value& value = pickle_.values_[target];
    std::vector<Ref>* list = nullptr;
    if (auto* plain = std::get_if<Pickle::List>(&value)) list = &plain->items;
    if (auto* object = std::get_if<Pickle::Object>(&value)) list = &object->items;
    if (list == nullptr) return fail("appends to what is no list");
    list->insert(list->end(), items.begin(), items.end());
  }
  void set(const std::vector<Ref>& items) {
    const Ref target = top();
    if (items.size() % 2 != 0) fail("sets a key without a value");
    if (!error_.message.empty()) return;
    Pickle::Value& value = pickle_.values_[target];
    std::vector<std::pair<Ref, Ref>>* entries = nullptr;
    if (auto* dict = std::get_if<Pickle::Dict>(&value)) entries = &dict->items;
    if (auto* object = std::get_if<Pickle::Object>(&value)) entries = &object->entries;
    if (entries == nullptr) return fail("sets a key of what is no dict");
    for (std::size_t i = 0; i < items.size(); i += 2) entries->emplace_back(items[i], items[i + 1]);
  }
  void make_dict(const std::vector<Ref>& items) {
    add(Pickle::Dict{});
    set(items);
  }

  /// The result of a call, as an object; an OrderedDict without entries becomes a dict.
  void call(Ref callee, Ref arguments) {
    const auto given = pickle_.tuple(arguments);
    if (!given) return fail("the arguments of a call are no tuple");
    const auto* global = pickle_.get<Pickle::Global>(callee);
    if (global != nullptr && given->empty() && global->is("collections", "OrderedDict")) return add(Pickle::Dict{});
    Pickle::Object object;
    object.callee = callee;
    object.arguments = arguments;
    add(std::move(object));
  }
  void build() {
    const Ref state = pop();
    const Ref target = top();
    if (!error_.message.empty()) return;
    if (auto* object = std::get_if<Pickle::Object>(&pickle_.values_[target])) object->state = state;
    // A dict with attributes, such as a state_dict with its _metadata, stays the dict that it is.
    else if (!std::holds_alternative<Pickle::Dict>(pickle_.values_[target]))
      fail("sets the state of what is no object");
  }
  void push_global() {
    const Ref name = pop();
    const Ref module = pop();
    const auto* m = pickle_.get<std::string>(module);
    const auto* n = pickle_.get<std::string>(name);
    if (m == nullptr || n == nullptr) return fail("the name of a global is no text");
    // A short opcode copies the names, so a small file could ask for much memory.
    name_bytes_ += m->size() + n->size();
    if (name_bytes_ > max_name_bytes)
      return fail(fmt::format("its globals have more than {} bytes of names", max_name_bytes), ErrorCode::unsupported);
    add(Pickle::Global{*m, *n});
  }

  bool push_sized(std::uint8_t opcode) {
    const auto row = [opcode](const auto& table) { return std::ranges::find(table, opcode, &Sized::opcode); };
    if (const auto text = row(texts); text != std::end(texts)) {
      add(std::string(take(number(text->width))));
    } else if (const auto bytes = row(byte_strings); bytes != std::end(byte_strings)) {
      add(Pickle::Bytes{std::string(take(number(bytes->width)))});
    } else if (const auto integer = row(long_integers); integer != std::end(long_integers)) {
      push_integer(take(number(integer->width)));
    } else {
      return false;
    }
    return true;
  }

  void step(std::uint8_t opcode) {
    switch (opcode) {
      case 0x80: {  // PROTO
        const auto protocol = number(1);
        if (protocol > highest_protocol) fail(fmt::format("protocol {} is unknown", protocol), ErrorCode::unsupported);
        return;
      }
      case 0x95:  // FRAME
        if (const auto length = number(8); length > code_.size() - at_)
          fail(fmt::format("a frame of {} bytes exceeds the {} that are left", length, code_.size() - at_));
        return;
      case '(':  // MARK
        return marks_.push_back(stack_.size());
      case '0':  // POP takes a mark too, if that is what lies on top
        if (!marks_.empty() && marks_.back() == stack_.size()) return marks_.pop_back();
        return static_cast<void>(pop());
      case '1':  // POP_MARK
        return static_cast<void>(pop_to_mark());
      case '2':  // DUP
        return push(top());
      case 'N':
        return add(Pickle::None{});
      case 0x88:  // NEWTRUE
        return add(true);
      case 0x89:  // NEWFALSE
        return add(false);
      case 'J':  // BININT
        return add(std::int64_t{static_cast<std::int32_t>(static_cast<std::uint32_t>(number(4)))});
      case 'K':  // BININT1
        return add(static_cast<std::int64_t>(number(1)));
      case 'M':  // BININT2
        return add(static_cast<std::int64_t>(number(2)));
      case 'G': {  // BINFLOAT, the one big-endian number
        std::uint64_t word = 0;
        for (const char byte : take(8)) word = word << 8 | static_cast<unsigned char>(byte);
        return add(std::bit_cast<double>(word));
      }
      case ')':
        return add(Pickle::Tuple{});
      case 't':
        return add(Pickle::Tuple{pop_to_mark()});
      case 0x85:
      case 0x86:
      case 0x87:  // TUPLE1 to TUPLE3
        return add(Pickle::Tuple{pop_count(opcode - 0x84u)});
      case ']':
        return add(Pickle::List{});
      case 'l':
        return add(Pickle::List{pop_to_mark()});
      case 'a':
        return append(pop_count(1));
      case 'e':
        return append(pop_to_mark());
      case '}':
        return add(Pickle::Dict{});
      case 'd':
        return make_dict(pop_to_mark());
      case 's':
        return set(pop_count(2));
      case 'u':
        return set(pop_to_mark());
      case 0x8f:  // EMPTY_SET
        return add(Pickle::List{{}, true});
      case 0x90:  // ADDITEMS
        return append(pop_to_mark());
      case 0x91:  // FROZENSET
        return add(Pickle::List{pop_to_mark(), true});
      case 'q':  // BINPUT
        return memorize(number(1));
      case 'r':  // LONG_BINPUT
        return memorize(number(4));
      case 0x94:  // MEMOIZE
        return memorize(memo_.size());
      case 'h':  // BINGET
        return recall(number(1));
      case 'j':  // LONG_BINGET
        return recall(number(4));
      case 'c': {  // GLOBAL
        std::string module = line();
        std::string name = line();
        return add(Pickle::Global{std::move(module), std::move(name)});
      }
      case 0x93:  // STACK_GLOBAL
        return push_global();
      case 'R':     // REDUCE
      case 0x81: {  // NEWOBJ
        const auto called = pop_count(2);
        return call(called[0], called[1]);
      }
      case 0x92: {  // NEWOBJ_EX; keyword arguments say nothing about weights
        const auto called = pop_count(3);
        return call(called[0], called[1]);
      }
      case 'b':
        return build();
      case 'Q':  // BINPERSID
        return add(Pickle::Persistent{pop()});
      default:
        break;
    }
    if (push_sized(opcode)) return;
    if (old_opcodes.find(static_cast<char>(opcode)) != std::string_view::npos)
      return fail(fmt::format("the opcode 0x{:02x} of an old protocol is not supported", opcode),
                  ErrorCode::unsupported);
    fail(fmt::format("0x{:02x} is no opcode", opcode));
  }

  std::string_view code_;
  std::string_view name_;
  std::size_t at_ = 0;
  std::size_t start_ = 0;  ///< of the current opcode
  Pickle pickle_;
  std::vector<Ref> stack_;
  std::vector<std::size_t> marks_;  ///< heights of the stack
  std::unordered_map<std::uint64_t, Ref> memo_;
  std::size_t name_bytes_ = 0;
  Error error_;
};

Result<Pickle> Pickle::parse(std::span<const std::byte> bytes, std::string_view name) {
  return PickleMachine(bytes, name).run();
}

std::optional<Pickle::Ref> Pickle::entry(Ref dict, std::string_view key) const noexcept {
  std::optional<Ref> found;
  if (const auto* entries = get<Dict>(dict))
    for (const auto& [k, v] : entries->items)
      if (const auto* text = get<std::string>(k); text != nullptr && *text == key) found = v;
  return found;
}

std::optional<std::span<const Pickle::Ref>> Pickle::tuple(Ref ref) const noexcept {
  const auto* found = get<Tuple>(ref);
  if (found == nullptr) return std::nullopt;
  return std::span<const Ref>(found->items);
}

}  // namespace io
