#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "../examples_io/fixtures.hpp"
#include "io/safetensors.hpp"
#include "llama/architecture.hpp"
#include "llama/config.hpp"
#include "pare/formats/formats.hpp"

namespace tiny {
namespace fs = std::filesystem;

/// A LLaMA with grouped queries, small enough to be made in each test. Its vocabulary is that of tokenizer().
inline llama::Config config() {
  return {.vocab_size = 259,
          .hidden_size = 64,
          .intermediate_size = 96,
          .layers = 2,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 16,
          .context = 64,
          .norm_epsilon = 1e-5,
          .tied = true,
          .rope = {},
          .end_tokens = {2}};
}

/// What the configuration needs, with a tied head.
inline std::vector<io::TensorInfo> tensors(io::DType dtype = io::DType::f32) {
  const llama::Config c = config();
  std::vector<llama::ExpectedTensor> expected = {llama::expected_vocabulary(c, llama::embedding_name),
                                                 {std::string(llama::final_norm_name), {c.hidden_size}}};
  for (std::size_t layer = 0; layer < c.layers; ++layer) {
    expected.push_back(llama::expected_attention_norm(c, layer));
    expected.push_back(llama::expected_mlp_norm(c, layer));
    for (const llama::LinearRole role : llama::linear_roles) expected.push_back(llama::expected_linear(c, layer, role));
  }
  std::vector<io::TensorInfo> infos;
  for (const llama::ExpectedTensor& tensor : expected) infos.push_back({tensor.name, dtype, tensor.shape});
  return infos;
}

/// Value i of a tensor: the same on every platform, about as large as trained weights; norms are near 1.
inline float value(const io::TensorInfo& tensor, std::size_t i) {
  std::uint32_t h = 2166136261u;
  for (const char c : tensor.name) h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
  h = (h ^ static_cast<std::uint32_t>(i)) * 2654435761u;
  h = (h ^ (h >> 15)) * 2246822519u;
  h ^= h >> 13;
  const float uniform = static_cast<float>(h >> 8) * 0x1p-24f - 0.5f;
  return tensor.shape.size() == 1 ? 1.0f + 0.2f * uniform : 0.5f * uniform;
}

inline std::vector<std::byte> elements(const io::TensorInfo& tensor) {
  std::vector<std::byte> bytes(*io::byte_count(tensor.dtype, tensor.shape));
  const std::size_t size = io::bits(tensor.dtype) / 8;
  for (std::size_t i = 0; i < bytes.size() / size; ++i) {
    const float single = value(tensor, i);
    const pare::Half half(single);
    const pare::BFloat16 brain(single);
    const void* source = tensor.dtype == io::DType::f16    ? static_cast<const void*>(&half)
                         : tensor.dtype == io::DType::bf16 ? static_cast<const void*>(&brain)
                                                           : static_cast<const void*>(&single);
    if (size <= 4) std::memcpy(bytes.data() + i * size, source, size);
  }
  return bytes;
}

inline void write_weights(const fs::path& path, const std::vector<io::TensorInfo>& infos) {
  auto writer = io::SafetensorsWriter::create(path, infos, {{"format", "pt"}});
  ASSERT_TRUE(writer) << writer.error().message;
  for (const io::TensorInfo& tensor : writer->tensors()) ASSERT_TRUE(writer->write(tensor.name, elements(tensor)));
  ASSERT_TRUE(writer->finish());
}

/// A llama2.c tokenizer of <unk>, <s>, </s> and the 256 bytes.
inline std::string tokenizer() {
  std::string file;
  const auto add = [&](const void* p, std::size_t n) { file.append(static_cast<const char*>(p), n); };
  const std::uint32_t longest = 7;
  add(&longest, sizeof longest);
  std::vector<std::string> words = {"<unk>", "\n<s>\n", "\n</s>\n"};
  for (unsigned byte = 0; byte < 256; ++byte) words.push_back(fmt::format("<0x{:02X}>", byte));
  for (const std::string& word : words) {
    const float score = 0.0f;
    const auto length = static_cast<std::uint32_t>(word.size());
    add(&score, sizeof score);
    add(&length, sizeof length);
    file += word;
  }
  return file;
}

/// A folder with config.json, model.safetensors and tokenizer.bin.
inline void write_model(const fs::path& folder, io::DType dtype = io::DType::f32) {
  fs::create_directories(folder);
  fixtures::write(folder / "config.json", llama::to_json(config()));
  fixtures::write(folder / "tokenizer.bin", tokenizer());
  write_weights(folder / "model.safetensors", tensors(dtype));
}

}  // namespace tiny
