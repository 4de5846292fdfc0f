#include "io/gguf.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <set>
#include <type_traits>
#include <utility>

#include "io/json.hpp"
#include "pare/core/bits.hpp"

namespace io {
namespace fs = std::filesystem;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

constexpr std::string_view magic = "GGUF";
constexpr std::string_view alignment_key = "general.alignment";
constexpr std::size_t array_type = 9;
static_assert(std::is_same_v<std::variant_alternative_t<array_type, GgufValue>, GgufArray>);
static_assert(std::variant_size_v<GgufValue> == std::variant_size_v<GgufArray>);

Error corrupt(std::string_view file, std::string_view what) {
  return {ErrorCode::corrupt_data, fmt::format("{}: {}", file, what)};
}

/// Reads one number or text after the other. After the first fault every read gives zeros, so that callers need to
/// look for it only before they trust a value.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  /// What the next reads belong to, for the message of a fault.
  void enter(std::string place) { place_ = std::move(place); }

  [[nodiscard]] bool failed() const noexcept { return !fault_.empty(); }
  [[nodiscard]] const std::string& fault() const noexcept { return fault_; }
  [[nodiscard]] std::size_t position() const noexcept { return at_; }
  [[nodiscard]] std::size_t left() const noexcept { return bytes_.size() - at_; }

  void fail(std::string_view what) {
    if (!failed()) fault_ = place_.empty() ? std::string(what) : fmt::format("{}: {}", place_, what);
  }

  template <class T>
  T number(std::string_view field) {
    const auto bytes = take(sizeof(T), field);
    if (bytes.empty()) return T{};
    const std::uint64_t word = pare::load_le(reinterpret_cast<const std::uint8_t*>(bytes.data()), sizeof(T));
    if constexpr (std::is_same_v<T, float>)
      return std::bit_cast<float>(static_cast<std::uint32_t>(word));
    else if constexpr (std::is_same_v<T, double>)
      return std::bit_cast<double>(word);
    else
      return static_cast<T>(word);
  }

  std::string text(std::string_view field) {
    const auto length = number<std::uint64_t>(field);
    if (length > gguf_max_string) {
      fail(fmt::format("{} has {} bytes, more than the limit of {}", field, length, gguf_max_string));
      return {};
    }
    const auto bytes = take(static_cast<std::size_t>(length), field);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  /// A value of one of GgufValue's types, or a vector of them.
  template <class T>
  T value(std::string_view field) {
    if constexpr (std::is_same_v<T, std::string>) {
      return text(field);
    } else if constexpr (std::is_same_v<T, bool>) {
      const auto byte = number<std::uint8_t>(field);
      if (byte > 1) fail(fmt::format("{} is a bool of {}", field, byte));
      return byte == 1;
    } else if constexpr (std::is_same_v<T, GgufArray>) {
      const auto type = number<std::uint32_t>("the element type");
      if (type == array_type) fail("is an array of arrays");
      return alternative<GgufArray>(type, "the element type", std::make_index_sequence<std::variant_size_v<T>>());
    } else if constexpr (std::is_arithmetic_v<T>) {
      return number<T>(field);
    } else {
      return elements<typename T::value_type>();
    }
  }

  GgufValue any(std::uint32_t type) {
    return alternative<GgufValue>(type, "the type", std::make_index_sequence<std::variant_size_v<GgufValue>>());
  }

 private:
  std::span<const std::byte> take(std::size_t size, std::string_view field) {
    if (failed()) return {};
    if (size > left()) {
      fail(fmt::format("{} needs {} bytes at {}, where {} are left", field, size, at_, left()));
      return {};
    }
    at_ += size;
    return bytes_.subspan(at_ - size, size);
  }

  template <class T>
  std::vector<T> elements() {
    constexpr std::size_t least = std::is_same_v<T, std::string> ? sizeof(std::uint64_t) : sizeof(T);
    const auto count = number<std::uint64_t>("the array's length");
    if (count > gguf_max_array || count > left() / least) {
      fail(fmt::format("the array's length of {} exceeds {}", count,
                       count > gguf_max_array ? fmt::format("the limit of {}", gguf_max_array)
                                              : fmt::format("the {} bytes that are left", left())));
      return {};
    }
    std::vector<T> values;
    values.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count && !failed(); ++i) values.push_back(value<T>("an element"));
    return values;
  }

  template <class Variant, std::size_t... I>
  Variant alternative(std::uint32_t type, std::string_view field, std::index_sequence<I...>) {
    Variant result;
    if (type >= sizeof...(I)) fail(fmt::format("{} {} is unknown", field, type));
    if (!failed()) static_cast<void>(((I == type && (emplace<I>(result), true)) || ...));
    return result;
  }

  template <std::size_t I, class Variant>
  void emplace(Variant& result) {
    using T = std::variant_alternative_t<I, Variant>;
    if constexpr (!std::is_same_v<T, std::monostate>) result.template emplace<I>(value<T>("the value"));
  }

  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
  std::string place_;
  std::string fault_;
};

/// Why a key or name cannot be one, or nothing.
std::string_view text_fault(std::string_view text) {
  if (!is_utf8(text)) return "is not valid UTF-8";
  if (text.find('\0') != std::string_view::npos) return "holds a NUL byte";
  return {};
}

/// The number of entries or tensors, each of which takes at least `least` bytes.
std::size_t read_count(Reader& reader, std::string_view field, std::size_t least) {
  const auto count = reader.number<std::int64_t>(field);
  if (count < 0) reader.fail(fmt::format("{} is {}", field, count));
  if (!reader.failed() && static_cast<std::uint64_t>(count) > reader.left() / least)
    reader.fail(fmt::format("{} of {} exceeds what the {} bytes that follow can hold", field, count, reader.left()));
  return reader.failed() ? 0 : static_cast<std::size_t>(count);
}

GgufEntry read_entry(Reader& reader, std::size_t index) {
  reader.enter(fmt::format("metadata entry {}", index));
  GgufEntry entry;
  entry.key = reader.text("the key");
  if (reader.failed()) return entry;
  if (entry.key.empty()) reader.fail("the key is empty");
  if (const auto fault = text_fault(entry.key); !fault.empty()) reader.fail(fmt::format("the key {}", fault));
  reader.enter(fmt::format("metadata entry {} {}", index, quote(entry.key)));
  const auto type = reader.number<std::uint32_t>("the type");
  entry.value = reader.any(type);
  return entry;
}

/// A tensor's description and its place in the data.
struct Located {
  GgufTensorInfo info;
  std::uint64_t offset = 0;
};

Located read_tensor(Reader& reader, std::size_t index) {
  reader.enter(fmt::format("tensor {}", index));
  Located tensor;
  tensor.info.name = reader.text("the name");
  if (reader.failed()) return tensor;
  if (tensor.info.name.size() > gguf_max_name)
    reader.fail(fmt::format("the name has {} bytes, more than {}", tensor.info.name.size(), gguf_max_name));
  if (const auto fault = text_fault(tensor.info.name); !fault.empty()) reader.fail(fmt::format("the name {}", fault));
  reader.enter(fmt::format("tensor {} {}", index, quote(tensor.info.name)));

  const auto dimensions = reader.number<std::uint32_t>("the number of dimensions");
  if (dimensions > gguf_max_dimensions)
    reader.fail(fmt::format("has {} dimensions, more than {}", dimensions, gguf_max_dimensions));
  for (std::uint32_t i = 0; i < dimensions && !reader.failed(); ++i) {
    const auto extent = reader.number<std::int64_t>(fmt::format("ne[{}]", i));
    if (extent < 0) reader.fail(fmt::format("ne[{}] is {}", i, extent));
    tensor.info.shape.insert(tensor.info.shape.begin(), static_cast<std::size_t>(extent));
  }
  const auto number = reader.number<std::uint32_t>("the type");
  tensor.offset = reader.number<std::uint64_t>("the offset");
  if (reader.failed()) return tensor;
  const GgmlTypeInfo* type = find_ggml_type(number);
  if (type == nullptr) {
    reader.fail(fmt::format("the type {} is unknown or was removed", number));
    return tensor;
  }
  tensor.info.type = type->type;
  const std::size_t row = tensor.info.shape.empty() ? 1 : tensor.info.shape.back();
  if (row % type->elements != 0)
    reader.fail(
        fmt::format("ne[0] of {} is no multiple of the {} elements of a {} block", row, type->elements, type->name));
  else if (!byte_count(type->type, tensor.info.shape))
    reader.fail(fmt::format("shape {} is too large", to_string(tensor.info.shape)));
  return tensor;
}

/// The number after `value` that is a multiple of `alignment`, or nothing where it does not fit.
std::optional<std::uint64_t> pad(std::uint64_t value, std::uint32_t alignment) {
  if (value > std::numeric_limits<std::uint64_t>::max() - (alignment - 1)) return std::nullopt;
  return (value + alignment - 1) / alignment * alignment;
}

}  // namespace

bool GgufFile::recognizes(std::span<const std::byte> bytes) noexcept {
  return bytes.size() >= magic.size() &&
         std::string_view(reinterpret_cast<const char*>(bytes.data()), magic.size()) == magic;
}

Result<GgufFile> GgufFile::open(const fs::path& path) {
  auto mapped = MappedFile::open(path);
  if (!mapped) return std::move(mapped).error();
  auto file = parse(mapped->bytes(), path.string());
  if (file) file->file_ = *std::move(mapped);
  return file;
}

Result<GgufFile> GgufFile::parse(std::span<const std::byte> bytes, std::string_view name) {
  const auto unsupported = [&](std::string_view what) {
    return Error{ErrorCode::unsupported, fmt::format("{}: {}", name, what)};
  };
  if (!recognizes(bytes)) return corrupt(name, fmt::format("is no GGUF file: it does not start with {}", magic));

  Reader reader(bytes);
  reader.number<std::uint32_t>("the magic number");
  GgufFile file;
  file.name_ = name;
  file.version_ = reader.number<std::uint32_t>("the version");
  if (!reader.failed() && file.version_ != 0 && (file.version_ & 0xffffu) == 0)
    return unsupported("is a big-endian GGUF file, which is not supported");
  if (!reader.failed() && (file.version_ < 2 || file.version_ > 3))
    return unsupported(fmt::format("GGUF version {} is not supported; 2 and 3 are", file.version_));

  constexpr std::size_t least_tensor = 8 + 4 + 4 + 8;
  constexpr std::size_t least_entry = 8 + 4 + 1;
  const std::size_t tensor_count = read_count(reader, "the number of tensors", least_tensor);
  const std::size_t entry_count = read_count(reader, "the number of metadata entries", least_entry);

  for (std::size_t i = 0; i < entry_count && !reader.failed(); ++i) file.metadata_.push_back(read_entry(reader, i));
  if (reader.failed()) return corrupt(name, reader.fault());
  std::set<std::string_view> keys;
  for (const GgufEntry& entry : file.metadata_)
    if (!keys.insert(entry.key).second)
      return corrupt(name, fmt::format("metadata has the key {} twice", quote(entry.key)));
  if (const GgufValue* given = file.value(alignment_key)) {
    const auto* alignment = std::get_if<std::uint32_t>(given);
    if (alignment == nullptr || !std::has_single_bit(*alignment))
      return corrupt(name, fmt::format("metadata {} is {} of type {}, and not a power of two of type 4", alignment_key,
                                       to_text(*given), given->index()));
    file.alignment_ = *alignment;
  }

  std::vector<Located> located;
  std::set<std::string_view> names;
  located.reserve(tensor_count);
  std::uint64_t expected = 0;
  for (std::size_t i = 0; i < tensor_count; ++i) {
    const Located& tensor = located.emplace_back(read_tensor(reader, i));
    if (reader.failed()) return corrupt(name, reader.fault());
    const auto fault = [&](std::string_view what) {
      return corrupt(name, fmt::format("tensor {} {}: {}", i, quote(tensor.info.name), what));
    };
    if (!names.insert(tensor.info.name).second) return fault("its name is taken");
    if (tensor.offset != expected)
      return fault(fmt::format("the offset is {} where {} is the next one", tensor.offset, expected));
    const auto padded = pad(*byte_count(tensor.info.type, tensor.info.shape), file.alignment_);
    if (!padded || *padded > std::numeric_limits<std::uint64_t>::max() - expected)
      return fault("the sizes up to here are too large");
    expected += *padded;
  }
  if (reader.failed()) return corrupt(name, reader.fault());

  file.data_offset_ = reader.position();
  if (tensor_count > 0)
    file.data_offset_ = static_cast<std::size_t>(pad(reader.position(), file.alignment_).value_or(bytes.size()));
  const auto data = bytes.subspan(std::min(file.data_offset_, bytes.size()));
  for (std::size_t i = 0; i < located.size(); ++i) {
    Located& tensor = located[i];
    const std::size_t size = *byte_count(tensor.info.type, tensor.info.shape);
    // A tensor without bytes needs a place in the file, too.
    if (file.data_offset_ > bytes.size() || tensor.offset > data.size() || size > data.size() - tensor.offset)
      return corrupt(name,
                     fmt::format("tensor {} {}: {} bytes at the offset {} exceed the {} bytes of data in the file", i,
                                 quote(tensor.info.name), size, tensor.offset, data.size()));
    file.tensors_.push_back({std::move(tensor.info), data.subspan(static_cast<std::size_t>(tensor.offset), size)});
  }
  file.by_name_ = NameIndex(file.tensors_);
  return file;
}

const GgufValue* GgufFile::value(std::string_view key) const noexcept {
  const auto found = std::ranges::find(metadata_, key, &GgufEntry::key);
  return found == metadata_.end() ? nullptr : &found->value;
}

}  // namespace io
