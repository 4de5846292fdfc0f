#include "llama/elements.hpp"

#include <cstring>

#include "pare/formats/formats.hpp"

namespace llama {
namespace {

template <class T>
void widen(std::span<const std::byte> elements, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, elements.data() + i * sizeof(T), sizeof(T));
    out[i] = static_cast<float>(value);
  }
}

template <class T>
void narrow(std::span<const float> values, std::span<std::byte> out) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const T element(values[i]);
    std::memcpy(out.data() + i * sizeof(T), &element, sizeof(T));
  }
}

}  // namespace

bool is_float_dtype(io::DType dtype) noexcept {
  return dtype == io::DType::f32 || dtype == io::DType::f16 || dtype == io::DType::bf16;
}

void to_floats(io::DType dtype, std::span<const std::byte> elements, std::span<float> out) {
  if (dtype == io::DType::f16)
    widen<pare::Half>(elements, out);
  else if (dtype == io::DType::bf16)
    widen<pare::BFloat16>(elements, out);
  else if (!out.empty())
    std::memcpy(out.data(), elements.data(), out.size_bytes());
}

void from_floats(io::DType dtype, std::span<const float> values, std::span<std::byte> out) {
  if (dtype == io::DType::f16)
    narrow<pare::Half>(values, out);
  else if (dtype == io::DType::bf16)
    narrow<pare::BFloat16>(values, out);
  else if (!values.empty())
    std::memcpy(out.data(), values.data(), values.size_bytes());
}

}  // namespace llama
