#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "io/safetensors.hpp"
#include "pare/formats/formats.hpp"

namespace models {

/// A network with the parts of YOLO11's names and shapes: convolutions with batch norms, a depthwise one, one with a
/// bias in the head, a transposed one, and the DFL's.
inline std::vector<io::TensorInfo> tiny() {
  using io::DType;
  std::vector<io::TensorInfo> tensors;
  const auto block = [&](const std::string& name, io::Extents shape) {
    const std::size_t out = shape[0];
    tensors.push_back({name + ".conv.weight", DType::f16, std::move(shape)});
    for (const char* part : {"weight", "bias", "running_mean", "running_var"})
      tensors.push_back({name + ".bn." + part, DType::f16, {out}});
    tensors.push_back({name + ".bn.num_batches_tracked", DType::i64, {}});
  };
  block("model.0", {16, 3, 3, 3});
  block("model.2.cv1", {32, 16, 1, 1});
  block("model.10.attn.pe", {32, 1, 3, 3});
  tensors.push_back({"model.23.cv2.0.2.weight", DType::f16, {64, 32, 1, 1}});
  tensors.push_back({"model.23.cv2.0.2.bias", DType::f16, {64}});
  tensors.push_back({"model.23.proto.upsample.weight", DType::f16, {8, 8, 2, 2}});
  tensors.push_back({"model.23.dfl.conv.weight", DType::f16, {1, 16, 1, 1}});
  return tensors;
}

/// Names of the convolutions of tiny() that are packed unless something else is asked for.
inline std::vector<std::string> packed() {
  return {"model.0.conv.weight", "model.2.cv1.conv.weight", "model.10.attn.pe.conv.weight", "model.23.cv2.0.2.weight",
          "model.23.proto.upsample.weight"};
}

/// Writes tensors with values that follow from their names and places.
inline void write(const std::filesystem::path& path, const std::vector<io::TensorInfo>& tensors,
                  const io::Metadata& metadata = {{"names", "{\"0\": \"person\"}"}}) {
  auto writer = io::SafetensorsWriter::create(path, tensors, metadata);
  ASSERT_TRUE(writer) << writer.error().message;
  for (const io::TensorInfo& tensor : writer->tensors()) {
    std::vector<std::byte> bytes(*io::byte_count(tensor.dtype, tensor.shape));
    if (tensor.dtype == io::DType::f16)
      for (std::size_t i = 0; i < bytes.size() / 2; ++i) {
        const pare::Half element(std::sin(static_cast<float>(i * tensor.name.size())));
        std::memcpy(bytes.data() + 2 * i, &element, 2);
      }
    ASSERT_TRUE(writer->write(tensor.name, bytes));
  }
  ASSERT_TRUE(writer->finish());
}

}  // namespace models
