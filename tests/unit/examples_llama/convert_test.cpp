// A quantized model goes from layout to layout without losing a bit, or is refused.
#include "llama/convert.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/thread_pool.hpp"
#include "llama/gguf_export.hpp"
#include "llama/model.hpp"
#include "llama/model_writer.hpp"
#include "llama/tokenizer_files.hpp"
#include "tiny_model.hpp"

namespace {
namespace fs = std::filesystem;
using llama::WeightFiles;

constexpr auto no_progress = [](std::uint64_t, std::uint64_t) {};

class Convert : public testing::Test {
 protected:
  /// The bundled model, packed by a scheme: its linear layers have 256 and more inputs.
  fs::path packed(const std::string& scheme) {
    const fs::path to = folder_ / scheme;
    const auto files = WeightFiles::open(fs::path(PARE_TEST_DIR) / "../examples/models/tiny-llama");
    EXPECT_TRUE(files) << files.error().message;
    const auto model = llama::write_model(*files, to, {.scheme = scheme}, io::Overwrite::no, threads_, no_progress);
    EXPECT_TRUE(model) << model.error().message;
    return to;
  }

  /// The model in another layout; `gguf:TYPE` too.
  pare::Result<fs::path> convert(const fs::path& from, const std::string& layout) {
    const auto files = WeightFiles::open(from);
    if (!files) return files.error();
    const fs::path to = folder_ / fmt::format("{}{}", ++count_, layout.starts_with("gguf:") ? ".gguf" : "");
    if (layout.starts_with("gguf:")) {
      const auto type = llama::gguf_type(layout.substr(5));
      if (!type) return type.error();
      const auto config = files->config();
      if (!config) return config.error();
      const auto tokenizer = llama::load_tokenizer(*files, *config, tokenizer_);
      if (!tokenizer) return tokenizer.error();
      const auto done = llama::write_gguf(*files, *tokenizer, to, {*type, llama::GgufLinears::converted},
                                          io::Overwrite::no, threads_, no_progress);
      if (!done) return done.error();
    } else {
      const auto done = llama::convert_model(*files, layout, to, io::Overwrite::no, no_progress);
      if (!done) return done.error();
    }
    return to;
  }

  /// The weights of a layer, bit by bit.
  static std::vector<float> weights(const fs::path& model, const std::string& name) {
    const auto files = WeightFiles::open(model);
    EXPECT_TRUE(files) << files.error().message;
    const auto matrix = files->read_coded(name);
    if (matrix) {
      std::vector<float> values;
      for (std::size_t r = 0; r < matrix->shape.rows; ++r)
        for (std::size_t c = 0; c < matrix->shape.cols; ++c) values.push_back(matrix->value(r, c));
      return values;
    }
    const auto tensor = files->read(name);
    EXPECT_TRUE(tensor) << tensor.error().message;
    std::vector<float> values(tensor->bytes.size() / sizeof(float));
    std::memcpy(values.data(), tensor->bytes.data(), tensor->bytes.size());
    return values;
  }

  void expect_same(const fs::path& model, const fs::path& converted, const std::string& what) {
    for (const char* name : {"model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.k_proj.weight",
                             "model.layers.2.mlp.down_proj.weight"}) {
      const auto expected = weights(model, name), found = weights(converted, name);
      ASSERT_EQ(expected.size(), found.size());
      for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(expected[i], found[i]) << what << " " << name << i;
    }
  }

  /// Goes through the layouts one after the other.
  void expect_lossless_chain(const std::string& scheme, const std::vector<std::string>& layouts) {
    const fs::path source = packed(scheme);
    fs::path from = source;
    for (const std::string& layout : layouts) {
      const auto to = convert(from, layout);
      ASSERT_TRUE(to) << layout << ": " << to.error().message;
      expect_same(source, *to, layout);
      from = *to;
    }
  }

  std::string refusal(const fs::path& from, const std::string& layout) {
    const std::size_t entries = folder_.entries();
    const auto to = convert(from, layout);
    EXPECT_FALSE(to) << layout;
    EXPECT_EQ(folder_.entries(), entries) << layout;
    return to ? std::string() : to.error().message;
  }

  fixtures::Folder folder_;
  io::ThreadPool threads_{2};
  fs::path tokenizer_ = fs::path(PARE_TEST_DIR) / "../examples/models/tiny-llama/tokenizer.json";
  int count_ = 0;
};

TEST_F(Convert, FourBitIntegers) {
  // Behind mlc zero points are 7, of which scaled ones would have to be rounded.
  expect_lossless_chain("int4-g32-f16", {"gptq", "awq-gemm", "gguf:q4_0", "gptq-v2", "marlin", "awq-gemv",
                                         "compressed-tensors:pack-quantized", "awq-gemv-fast", "gguf:q4_1", "pare",
                                         "mlc", "hqq", "onnx:matmulnbits", "onnx:linear", "openvino", "gguf:q8_0"});
}
TEST_F(Convert, ZeroPoints) {
  expect_lossless_chain("int4-asym-g32", {"onnx:matmulnbits", "compressed-tensors:pack-quantized", "pare", "hqq"});
}
TEST_F(Convert, EightBitIntegers) {
  expect_lossless_chain("int8-channel", {"compressed-tensors:int-quantized", "onnx:linear", "openvino"});
}
TEST_F(Convert, NormalFloats) {
  expect_lossless_chain("nf4-g64", {"bitsandbytes-4bit", "pare", "openvino", "float32"});
}
TEST_F(Convert, MicroscalingFloats) {
  expect_lossless_chain("e2m1-g32-e8m0",
                        {"compressed-tensors:mxfp4", "gguf:mxfp4", "openvino", "onnx:linear", "modelopt:mxfp4"});
}
TEST_F(Convert, EightBitFloats) {
  expect_lossless_chain("e4m3-channel", {"compressed-tensors:float-quantized", "modelopt:fp8"});
  expect_lossless_chain("e4m3-b128x128", {"deepseek:fp8"});
}

TEST_F(Convert, RefusesWhatALayoutCannotHold) {
  const fs::path integers = packed("int4-g32-f16");
  EXPECT_NE(refusal(integers, "bitsandbytes-4bit").find("cannot hold codes of uint4"), std::string::npos);
  EXPECT_NE(refusal(integers, "exl2").find("cannot hold the scales of group 0"), std::string::npos);
  EXPECT_NE(refusal(integers, "gguf:q4_k").find("cannot hold the scales of row 0"), std::string::npos);
  EXPECT_NE(refusal(integers, "gguf:f16").find("quantize writes it"), std::string::npos);
  EXPECT_NE(refusal(integers, "gpt").find("unknown layout \"gpt\"; there are gptq-v2, "), std::string::npos);
  EXPECT_NE(refusal(packed("int4-g32"), "gptq").find("is no float16"), std::string::npos);
  const auto floats = convert(integers, "float32");
  ASSERT_TRUE(floats) << floats.error().message;
  EXPECT_NE(refusal(*floats, "gptq").find("has no codes; quantize the model first"), std::string::npos);
}

TEST_F(Convert, CodesOfOtherToolsGiveThePackedModelsProducts) {
  const fs::path source = packed("int4-g32-f16");
  const auto logits = [](const fs::path& path) {
    const auto model = llama::Model::load(path, {.activations = llama::Activations::int8});
    EXPECT_TRUE(model) << model.error().message;
    for (const llama::Block& block : model->blocks())
      for (const llama::Linear& linear : block.linears) EXPECT_NE(linear.prepared(), nullptr);
    llama::Context context(*model, 3, pare::serial);
    const std::int32_t tokens[] = {1, 40, 7};
    const auto hidden = context.advance(tokens);
    EXPECT_TRUE(hidden) << hidden.error().message;
    const auto row = context.logits(*hidden);
    EXPECT_TRUE(row) << row.error().message;
    return std::vector<float>(row->data, row->data + row->rows * row->cols);
  };
  const std::vector<float> expected = logits(source);
  for (const char* layout : {"gptq", "mlc"}) {
    const auto other = convert(source, layout);
    ASSERT_TRUE(other) << other.error().message;
    EXPECT_EQ(logits(*other), expected) << layout;
  }
}

TEST_F(Convert, CodesAreNotQuantizedAgain) {
  const auto gptq = convert(packed("int4-g32-f16"), "gptq");
  ASSERT_TRUE(gptq) << gptq.error().message;
  const auto files = WeightFiles::open(*gptq);
  ASSERT_TRUE(files) << files.error().message;
  const auto floats = files->require_floats();
  ASSERT_FALSE(floats);
  EXPECT_NE(floats.error().message.find("is packed as gptq already"), std::string::npos) << floats.error().message;
}

TEST_F(Convert, ReadsDamagedLayersAsErrors) {
  const auto gptq = convert(packed("int4-g32-f16"), "gptq");
  ASSERT_TRUE(gptq) << gptq.error().message;
  auto config = nlohmann::json::parse(fixtures::read(*gptq / "config.json"));
  const auto error_with = [&](const char* key, const nlohmann::json& value) {
    auto changed = config;
    changed["quantization_config"][key] = value;
    fixtures::write(*gptq / "config.json", changed.dump());
    const auto files = WeightFiles::open(*gptq);
    if (!files) return files.error().message;
    const auto read_config = files->config();
    if (!read_config) return read_config.error().message;
    const auto matrix = files->read_coded("model.layers.0.mlp.up_proj.weight");
    return matrix ? std::string() : matrix.error().message;
  };
  EXPECT_EQ(error_with("desc_act", false), "");
  EXPECT_NE(error_with("quant_method", "magic").find("describes no layout that is read (quant_method \"magic\")"),
            std::string::npos);
  EXPECT_NE(error_with("bits", 8).find("up_proj"), std::string::npos);
  EXPECT_NE(error_with("group_size", 48).find("up_proj"), std::string::npos);
}

}  // namespace
