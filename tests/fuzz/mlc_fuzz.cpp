#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "io/mlc_cache.hpp"

/// The input is a list and, behind a NUL byte, the content of every shard. It is either rejected, or the tensors are
/// distinct and have the sizes that their shapes say.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span input(data, size);
  const auto end = static_cast<std::size_t>(std::ranges::find(input, 0) - input.begin());
  const std::string_view list(reinterpret_cast<const char*>(data), end);
  const auto content = std::as_bytes(input.subspan(std::min(size, end + 1)));
  const auto shard = [&](const std::string&) -> pare::Result<std::span<const std::byte>> { return content; };
  const auto cache = io::MlcCache::parse(list, "input", shard);
  if (!cache) {
    if (!cache.error().message.starts_with("input: ")) std::abort();
    return 0;
  }
  for (const io::TensorView& tensor : cache->tensors()) {
    if (io::byte_count(tensor.dtype, tensor.shape) != tensor.bytes.size()) std::abort();
    if (cache->find(tensor.name) != &tensor) std::abort();
  }
  return 0;
}
