#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "io/npy.hpp"

/// Every file is either rejected, or holds as many elements as its shape says, and they convert or are refused.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = io::NpyFile::parse(std::as_bytes(std::span(data, size)), "input");
  if (!file) {
    if (!file.error().message.starts_with("input: ")) std::abort();
    return 0;
  }
  const io::TensorView& array = file->array();
  if (io::byte_count(array.dtype, array.shape) != array.bytes.size()) std::abort();
  const auto floats = file->values<float>();
  if (!floats || floats->size() != io::element_count(array.shape)) std::abort();
  const auto integers = file->values<std::int32_t>();
  if (integers && integers->size() != floats->size()) std::abort();
  return 0;
}
