#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "io/gguf.hpp"

/// Every file is either rejected, or its tensors are distinct, aligned, lie inside the file without overlap and have
/// the sizes that their shapes say.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  const auto file = io::GgufFile::parse(input, "input");
  if (!file) {
    if (!file.error().message.starts_with("input: ")) std::abort();
    return 0;
  }
  const std::byte* next = input.data() + file->data_offset();
  for (const io::GgufTensor& tensor : file->tensors()) {
    if (io::byte_count(tensor.type, tensor.shape) != tensor.bytes.size()) std::abort();
    if (file->find(tensor.name) != &tensor) std::abort();
    if (tensor.bytes.data() < next || tensor.bytes.size() > size) std::abort();
    if (static_cast<std::size_t>(tensor.bytes.data() - input.data()) % file->alignment() != 0) std::abort();
    next = tensor.bytes.data() + tensor.bytes.size();
    if (next > input.data() + size) std::abort();
  }
  for (const io::GgufEntry& entry : file->metadata()) {
    if (file->value(entry.key) != &entry.value) std::abort();
    static_cast<void>(io::to_text(entry.value));
  }
  return 0;
}
