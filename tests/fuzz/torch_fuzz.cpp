#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "io/pickle.hpp"
#include "io/torch.hpp"
#include "io/torch_state.hpp"

namespace {

/// A pickle by itself: the way to it through an archive, with its checksum, is narrow.
void read_pickle(std::span<const std::byte> input) {
  const auto pickle = io::Pickle::parse(input, "input");
  if (!pickle) {
    if (!pickle.error().message.starts_with("input: ")) std::abort();
    return;
  }
  if (pickle->size() > input.size() || pickle->root() >= pickle->count()) std::abort();
  const auto tensors = io::torch_state_dict(*pickle, "input");
  if (!tensors && !tensors.error().message.starts_with("input: ")) std::abort();
  static_cast<void>(io::torch_metadata(*pickle));
}

}  // namespace

/// Every file is either rejected, or its tensors are distinct and have the sizes that their shapes say. An input that
/// is no such file is taken for the pickle inside one.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  if (!io::TorchFile::recognizes(input)) {
    read_pickle(input);
    return 0;
  }
  const auto file = io::TorchFile::parse(input, "input");
  if (!file) {
    if (!file.error().message.starts_with("input: ")) std::abort();
    return 0;
  }
  if (file->tensors().empty()) std::abort();
  unsigned sum = 0;
  for (const io::TensorView& tensor : file->tensors()) {
    if (io::byte_count(tensor.dtype, tensor.shape) != tensor.bytes.size()) std::abort();
    if (file->find(tensor.name) != &tensor) std::abort();
    for (const std::byte byte : tensor.bytes) sum += std::to_integer<unsigned>(byte);
  }
  static_cast<void>(sum);
  return 0;
}
