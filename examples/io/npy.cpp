#include "io/npy.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <bit>
#include <charconv>
#include <concepts>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "io/json.hpp"
#include "pare/core/bits.hpp"
#include "pare/formats/half.hpp"

namespace io {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

static_assert(std::endian::native == std::endian::little, "arrays are read as they lie in the file");

namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::size_t header_alignment = 64;

struct NpyType {
  std::string_view code;  ///< the letter and size that follow the byte order
  DType dtype;
};
constexpr std::array<NpyType, 12> npy_types{{{"f2", DType::f16},
                                             {"f4", DType::f32},
                                             {"f8", DType::f64},
                                             {"i1", DType::i8},
                                             {"i2", DType::i16},
                                             {"i4", DType::i32},
                                             {"i8", DType::i64},
                                             {"u1", DType::u8},
                                             {"u2", DType::u16},
                                             {"u4", DType::u32},
                                             {"u8", DType::u64},
                                             {"b1", DType::boolean}}};

/// Reads the Python literals of a header from left to right.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  bool eat(std::string_view token) {
    skip_space();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  bool at_end() {
    skip_space();
    return rest_.empty();
  }
  /// A quoted string without escapes.
  std::optional<std::string_view> string() {
    skip_space();
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"')) return std::nullopt;
    const auto end = rest_.find(rest_.front(), 1);
    if (end == std::string_view::npos) return std::nullopt;
    const auto text = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return text;
  }
  std::optional<bool> boolean() {
    if (eat("True")) return true;
    if (eat("False")) return false;
    return std::nullopt;
  }
  /// A tuple of non-negative integers; those that Python 2 wrote may end in L.
  std::optional<Extents> tuple() {
    if (!eat("(")) return std::nullopt;
    Extents extents;
    bool comma = true;
    while (!eat(")")) {
      std::size_t extent = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), extent);
      if (!comma || error != std::errc()) return std::nullopt;
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      eat("L");
      extents.push_back(extent);
      comma = eat(",");
      skip_space();
    }
    if (extents.size() == 1 && !comma) return std::nullopt;
    return extents;
  }

 private:
  void skip_space() {
    while (!rest_.empty() && std::string_view(" \t\r\n").find(rest_.front()) != std::string_view::npos)
      rest_.remove_prefix(1);
  }

  std::string_view rest_;
};

struct Header {
  std::optional<std::string_view> descr;
  std::optional<bool> fortran_order;
  std::optional<Extents> shape;
};

/// The dictionary of a header, or what is wrong with it.
Result<Header> read_header(std::string_view text) {
  const auto fault = [](std::string message) { return Error{ErrorCode::corrupt_data, std::move(message)}; };
  Scanner scanner(text);
  Header header;
  if (!scanner.eat("{")) return fault("header is not a dictionary");
  bool comma = true;
  while (!scanner.eat("}")) {
    const auto key = scanner.string();
    if (!comma || !key || !scanner.eat(":")) return fault("header is not a dictionary");
    if (*key == "descr" && !header.descr) {
      if (scanner.eat("[")) return Error{ErrorCode::unsupported, "structured arrays are not supported"};
      header.descr = scanner.string();
      if (!header.descr) return fault("descr is not a string");
    } else if (*key == "fortran_order" && !header.fortran_order) {
      header.fortran_order = scanner.boolean();
      if (!header.fortran_order) return fault("fortran_order is neither True nor False");
    } else if (*key == "shape" && !header.shape) {
      header.shape = scanner.tuple();
      if (!header.shape) return fault("shape is not a tuple of non-negative integers");
    } else {
      return fault("unexpected or repeated key " + quote(*key));
    }
    comma = scanner.eat(",");
  }
  if (!scanner.at_end()) return fault("header goes on after its dictionary");
  if (!header.descr || !header.fortran_order || !header.shape)
    return fault("header lacks descr, fortran_order or shape");
  return header;
}

/// The element type of a descr such as "<f4"; byte order is free where an element is a byte.
std::optional<DType> parse_descr(std::string_view descr) {
  if (descr.empty()) return std::nullopt;
  for (const NpyType& type : npy_types) {
    const bool order_matters = bits(type.dtype) > 8;
    if (descr.substr(1) == type.code && (descr[0] == '<' || descr[0] == '=' || (!order_matters && descr[0] == '|')))
      return type.dtype;
  }
  return std::nullopt;
}

}  // namespace

Result<NpyFile> NpyFile::open(const std::filesystem::path& path) {
  auto mapped = MappedFile::open(path);
  if (!mapped) return std::move(mapped).error();
  auto file = parse(mapped->bytes(), path.string());
  if (file) file->file_ = *std::move(mapped);
  return file;
}

Result<NpyFile> NpyFile::parse(std::span<const std::byte> bytes, std::string_view name) {
  const auto fault = [&](std::string_view what, ErrorCode code = ErrorCode::corrupt_data) {
    return Error{code, fmt::format("{}: {}", name, what)};
  };
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::size_t version_at = magic.size();
  const std::size_t length_at = version_at + 2;
  if (!text.starts_with(magic) || bytes.size() < length_at) return fault("not an .npy file");
  const auto version = std::to_integer<unsigned>(bytes[version_at]);
  if (version < 1 || version > 3) return fault(fmt::format("unknown .npy version {}", version), ErrorCode::unsupported);
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  const std::size_t header_at = length_at + length_bytes;
  if (bytes.size() < header_at) return fault("too short for an .npy header");
  const auto length = static_cast<std::size_t>(
      pare::load_le(reinterpret_cast<const std::uint8_t*>(bytes.data()) + length_at, length_bytes));
  if (length > bytes.size() - header_at)
    return fault(fmt::format("header length {} exceeds the {} bytes that follow", length, bytes.size() - header_at));

  auto header = read_header(text.substr(header_at, length));
  if (!header) return fault(header.error().message, header.error().code);
  const auto dtype = parse_descr(*header->descr);
  if (!dtype) return fault("element type " + quote(*header->descr) + " is not supported", ErrorCode::unsupported);
  if (*header->fortran_order && header->shape->size() > 1)
    return fault("column-major arrays are not supported", ErrorCode::unsupported);
  const auto size = byte_count(*dtype, *header->shape);
  if (!size) return fault(fmt::format("shape {} is too large", to_string(*header->shape)));
  const auto data = bytes.subspan(header_at + length);
  if (data.size() != *size)
    return fault(fmt::format("shape {} of {} needs {} bytes, the file has {}", to_string(*header->shape),
                             io::name(*dtype), *size, data.size()));
  NpyFile file;
  file.array_ = {{std::string(name), *dtype, *std::move(header->shape)}, data};
  return file;
}

namespace {

/// Stores `value` as a T and returns true, unless it is an integer outside T or a float where T is an integer.
template <class T, class S>
bool convert(S value, T& out) {
  if constexpr (std::integral<T> && !std::integral<S>) {
    return false;
  } else {
    if constexpr (std::integral<T>)
      if (!std::in_range<T>(value)) return false;
    out = static_cast<T>(value);
    return true;
  }
}

/// Converts all elements, which the file holds as S; `read` turns an S into a number.
template <class T, class S, class Read = std::identity>
Result<std::vector<T>> convert_all(const TensorView& array, Read read = {}) {
  std::vector<T> values(array.bytes.size() / sizeof(S));
  for (std::size_t i = 0; i < values.size(); ++i) {
    S stored;
    std::memcpy(&stored, array.bytes.data() + i * sizeof(S), sizeof(S));
    if (!convert(read(stored), values[i]))
      return Error{ErrorCode::invalid_argument,
                   fmt::format("{}: element {} is {}, which does not fit", array.name, i, read(stored))};
  }
  return values;
}

}  // namespace

template <class T>
Result<std::vector<T>> NpyFile::values() const {
  switch (array_.dtype) {
    case DType::boolean:
    case DType::u8:
      return convert_all<T, std::uint8_t>(array_);
    case DType::i8:
      return convert_all<T, std::int8_t>(array_);
    case DType::i16:
      return convert_all<T, std::int16_t>(array_);
    case DType::u16:
      return convert_all<T, std::uint16_t>(array_);
    case DType::f16:
      return convert_all<T, pare::Half>(array_, [](pare::Half half) { return static_cast<float>(half); });
    case DType::i32:
      return convert_all<T, std::int32_t>(array_);
    case DType::u32:
      return convert_all<T, std::uint32_t>(array_);
    case DType::f32:
      return convert_all<T, float>(array_);
    case DType::f64:
      return convert_all<T, double>(array_);
    case DType::i64:
      return convert_all<T, std::int64_t>(array_);
    case DType::u64:
      return convert_all<T, std::uint64_t>(array_);
    default:
      return Error{ErrorCode::unsupported, array_.name + ": element type is not supported"};
  }
}

template Result<std::vector<float>> NpyFile::values() const;
template Result<std::vector<double>> NpyFile::values() const;
template Result<std::vector<std::int32_t>> NpyFile::values() const;
template Result<std::vector<std::int64_t>> NpyFile::values() const;
template Result<std::vector<std::uint32_t>> NpyFile::values() const;
template Result<std::vector<std::uint8_t>> NpyFile::values() const;

namespace {

Result<void> write_array(const std::filesystem::path& path, std::string_view descr, std::span<const std::byte> bytes,
                         std::size_t count, std::span<const std::size_t> shape) {
  if (element_count(shape) != count)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}: {} values do not fill shape {}", path.string(), count, to_string(shape))};
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", descr,
                                   fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  const std::size_t before = magic.size() + 4;
  const std::size_t total = pare::ceil_div(before + header.size() + 1, header_alignment) * header_alignment;
  header.append(total - before - header.size() - 1, ' ').push_back('\n');
  if (header.size() > 0xffff)
    return Error{ErrorCode::unsupported, path.string() + ": too many dimensions for .npy version 1"};
  std::string start(magic);
  start += {'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};

  auto file = OutputFile::create(path);
  if (!file) return std::move(file).error();
  if (auto done = file->write(start + header); !done) return done;
  if (auto done = file->write(bytes); !done) return done;
  return file->commit();
}

}  // namespace

Result<void> write_npy(const std::filesystem::path& path, std::span<const float> values,
                       std::span<const std::size_t> shape) {
  return write_array(path, "<f4", std::as_bytes(values), values.size(), shape);
}

Result<void> write_npy(const std::filesystem::path& path, std::span<const std::int32_t> values,
                       std::span<const std::size_t> shape) {
  return write_array(path, "<i4", std::as_bytes(values), values.size(), shape);
}

Result<void> write_npy(const std::filesystem::path& path, std::span<const std::uint8_t> values,
                       std::span<const std::size_t> shape) {
  return write_array(path, "|u1", std::as_bytes(values), values.size(), shape);
}

}  // namespace io
