#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "io/safetensors.hpp"

/// Every file is either rejected, or its tensors are distinct, lie one after the other inside the file and have the
/// sizes that their shapes say.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  const auto file = io::SafetensorsFile::parse(input, "input");
  if (!file) {
    if (!file.error().message.starts_with("input: ")) std::abort();
    return 0;
  }
  std::size_t total = 0;
  for (const io::TensorView& tensor : file->tensors()) {
    if (io::byte_count(tensor.dtype, tensor.shape) != tensor.bytes.size()) std::abort();
    if (file->find(tensor.name) != &tensor) std::abort();
    total += tensor.bytes.size();
    if (total > size) std::abort();
  }
  if (!file->tensors().empty()) {
    const auto last = file->tensors().back().bytes;
    if (last.data() + last.size() != input.data() + size) std::abort();
    if (file->tensors().front().bytes.data() != input.data() + size - total) std::abort();
  }
  return 0;
}
