#include "io/gguf_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <set>
#include <string>
#include <type_traits>
#include <utility>

#include "io/json.hpp"
#include "pare/core/bits.hpp"

namespace io {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

constexpr std::uint32_t version = 3;

Error invalid(std::string_view file, std::string_view what) {
  return {ErrorCode::invalid_argument, fmt::format("{}: {}", file, what)};
}

Error invalid(std::string_view file, std::string_view tensor, std::string_view what) {
  return invalid(file, fmt::format("tensor {}: {}", quote(tensor), what));
}

bool is_text(std::string_view text) { return is_utf8(text) && text.find('\0') == std::string_view::npos; }

/// Appends numbers and texts in the form of the file.
class Header {
 public:
  template <class T>
  void put(const T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      put(static_cast<std::uint64_t>(value.size()));
      text_ += value;
    } else if constexpr (std::is_same_v<T, float>) {
      put(std::bit_cast<std::uint32_t>(value));
    } else if constexpr (std::is_same_v<T, double>) {
      put(std::bit_cast<std::uint64_t>(value));
    } else if constexpr (std::is_same_v<T, bool>) {
      text_ += static_cast<char>(value ? 1 : 0);
    } else {
      std::uint8_t bytes[sizeof(T)];
      pare::store_le(bytes, static_cast<std::uint64_t>(value), sizeof(T));
      text_.append(reinterpret_cast<const char*>(bytes), sizeof(T));
    }
  }

  void put(const GgufArray& array) {
    put(static_cast<std::uint32_t>(array.index()));
    std::visit(
        [&](const auto& elements) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(elements)>, std::monostate>) {
            using T = typename std::decay_t<decltype(elements)>::value_type;
            put(static_cast<std::uint64_t>(elements.size()));
            for (std::size_t i = 0; i < elements.size(); ++i) put<T>(elements[i]);
          }
        },
        array);
  }

  void put(const GgufValue& value) {
    put(static_cast<std::uint32_t>(value.index()));
    std::visit([&](const auto& held) { put(held); }, value);
  }

  void append(std::string_view text) { text_ += text; }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

/// The faults that the metadata of the file would have; the alignment where there are none.
Result<std::uint32_t> check_metadata(std::span<const GgufEntry> metadata, std::string_view file) {
  std::uint32_t alignment = gguf_default_alignment;
  std::set<std::string_view> keys;
  for (const auto& [key, value] : metadata) {
    if (key.empty() || !is_text(key))
      return invalid(file, fmt::format("metadata key {} is empty or no text", quote(key)));
    if (!keys.insert(key).second) return invalid(file, fmt::format("metadata has the key {} twice", quote(key)));
    const auto* array = std::get_if<GgufArray>(&value);
    if (array != nullptr && std::holds_alternative<std::monostate>(*array))
      return invalid(file, fmt::format("metadata {} is an array without a type", quote(key)));
    if (key != "general.alignment") continue;
    const auto* given = std::get_if<std::uint32_t>(&value);
    if (given == nullptr || !std::has_single_bit(*given))
      return invalid(file, fmt::format("metadata {} is no power of two of type uint32", key));
    alignment = *given;
  }
  return alignment;
}

std::size_t padding(std::size_t size, std::size_t alignment) { return (alignment - size % alignment) % alignment; }

}  // namespace

Result<GgufWriter> GgufWriter::create(const std::filesystem::path& path, std::span<const GgufEntry> metadata,
                                      std::vector<GgufTensorInfo> tensors) {
  auto file = OutputFile::create(path);
  if (!file) return std::move(file).error();
  return create(*std::move(file), metadata, std::move(tensors));
}

Result<GgufWriter> GgufWriter::create(OutputFile file, std::span<const GgufEntry> metadata,
                                      std::vector<GgufTensorInfo> tensors) {
  GgufWriter writer(std::move(file));
  const std::string& name = writer.file_.name();
  const auto alignment = check_metadata(metadata, name);
  if (!alignment) return alignment.error();
  writer.alignment_ = *alignment;

  Header header;
  header.append("GGUF");
  header.put(version);
  header.put(static_cast<std::int64_t>(tensors.size()));
  header.put(static_cast<std::int64_t>(metadata.size()));
  for (const auto& [key, value] : metadata) {
    header.put(key);
    header.put(value);
  }
  std::set<std::string_view> names;
  std::uint64_t offset = 0;
  for (const GgufTensorInfo& tensor : tensors) {
    if (tensor.name.size() > gguf_max_name || !is_text(tensor.name))
      return invalid(name, tensor.name, fmt::format("its name is no text of at most {} bytes", gguf_max_name));
    if (!names.insert(tensor.name).second) return invalid(name, tensor.name, "its name is taken");
    if (tensor.shape.size() > gguf_max_dimensions)
      return invalid(name, tensor.name, fmt::format("has more than {} dimensions", gguf_max_dimensions));
    const auto size = byte_count(tensor.type, tensor.shape);
    if (!size)
      return invalid(name, tensor.name,
                     fmt::format("shape {} of {} is too large or ends within a block of {}", to_string(tensor.shape),
                                 info_of(tensor.type).name, info_of(tensor.type).elements));
    header.put(tensor.name);
    header.put(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent)
      header.put(static_cast<std::uint64_t>(*extent));
    header.put(static_cast<std::uint32_t>(tensor.type));
    header.put(offset);
    // Sizes are below 2^63 and alignments below 2^32, so only the sum of several can leave 64 bits.
    const std::uint64_t padded = *size + padding(*size, writer.alignment_);
    if (padded > std::numeric_limits<std::uint64_t>::max() - offset)
      return invalid(name, tensor.name, "the sizes up to here are too large");
    offset += padded;
  }
  if (auto done = writer.file_.write(header.text()); !done) return std::move(done).error();
  if (!tensors.empty())
    if (auto done = writer.pad(header.text().size()); !done) return std::move(done).error();
  writer.tensors_ = std::move(tensors);
  writer.move_to(0);
  return writer;
}

Result<void> GgufWriter::pad(std::size_t written) {
  const std::vector<std::byte> zeros(std::min<std::size_t>(alignment_, std::size_t{1} << 16));
  for (std::size_t left = padding(written, alignment_); left > 0;) {
    const std::size_t part = std::min(left, zeros.size());
    if (auto done = file_.write(std::span(zeros).first(part)); !done) return done;
    left -= part;
  }
  return {};
}

void GgufWriter::move_to(std::size_t index) noexcept {
  for (current_ = index; current_ < tensors_.size(); ++current_) {
    remaining_ = *byte_count(tensors_[current_].type, tensors_[current_].shape);
    if (remaining_ != 0) return;
  }
}

Result<void> GgufWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  if (current_ == tensors_.size()) return invalid(file_.name(), name, "is more than the file was declared to hold");
  const GgufTensorInfo& expected = tensors_[current_];
  if (name != expected.name)
    return invalid(file_.name(), name, fmt::format("its data comes before {} is complete", quote(expected.name)));
  if (bytes.size() > remaining_)
    return invalid(file_.name(), name, fmt::format("{} bytes too many", bytes.size() - remaining_));
  if (auto done = file_.write(bytes); !done) return done;
  remaining_ -= bytes.size();
  if (remaining_ != 0) return {};
  if (auto done = pad(*byte_count(expected.type, expected.shape)); !done) return done;
  move_to(current_ + 1);
  return {};
}

Result<void> GgufWriter::finish() {
  if (current_ < tensors_.size())
    return invalid(file_.name(), tensors_[current_].name, fmt::format("lacks {} bytes", remaining_));
  return file_.commit();
}

}  // namespace io
