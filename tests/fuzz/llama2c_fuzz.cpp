#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "io/llama2c.hpp"

/// Every file is either rejected, or its tensors have the sizes that their shapes say and decode to as many floats.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = io::Llama2cFile::parse(std::as_bytes(std::span(data, size)), "input");
  if (!file) {
    if (!file.error().message.starts_with("input: ")) std::abort();
    return 0;
  }
  for (const io::Llama2cTensor& tensor : file->tensors()) {
    if (io::byte_count(tensor.dtype, tensor.shape) != tensor.bytes.size()) std::abort();
    if (file->find(tensor.name) != &tensor) std::abort();
    if (io::to_floats(tensor).size() != io::element_count(tensor.shape)) std::abort();
  }
  return 0;
}
