#include "io/quantize_file.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <vector>

#include "fixtures.hpp"
#include "io/checkpoint.hpp"
#include "io/packed_matrix.hpp"
#include "io/thread_pool.hpp"

namespace {
using io::DType;
using io::PlannedTensor;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

class QuantizeFile : public testing::Test {
 protected:
  void add(const PlannedTensor& tensor) {
    const std::size_t count = *io::element_count(tensor.shape);
    std::vector<std::byte> bytes(count * io::bits(tensor.dtype) / 8);
    const auto fill = [&]<class T>(T) {
      for (std::size_t i = 0; i < count; ++i) {
        const T element(std::sin(static_cast<float>(i * (plan_.size() + 1))));
        std::memcpy(bytes.data() + i * sizeof(T), &element, sizeof(T));
      }
    };
    if (tensor.dtype == DType::f32) fill(0.0f);
    if (tensor.dtype == DType::f16) fill(pare::Half{});
    if (tensor.dtype == DType::bf16) fill(pare::BFloat16{});
    data_[tensor.name] = std::move(bytes);
    plan_.push_back(tensor);
  }

  Result<std::vector<io::PackedLayer>> run(std::string_view name, pare::Executor executor = pare::serial) {
    const auto read = [&](const PlannedTensor& tensor) -> Result<std::span<const std::byte>> {
      if (tensor.name == unreadable_) return Error{ErrorCode::io, "cannot be read"};
      return std::span<const std::byte>(data_.at(tensor.name));
    };
    auto file = io::OutputFile::create(folder_ / name);
    if (!file) return std::move(file).error();
    return io::write_quantized(*std::move(file), plan_, {{"origin", "test"}}, {.name = "source", .read = read},
                               executor,
                               [&](std::uint64_t done, std::uint64_t total) { progress_.emplace_back(done, total); });
  }

  fixtures::Folder folder_;
  std::vector<PlannedTensor> plan_;
  std::map<std::string, std::vector<std::byte>> data_;
  std::string unreadable_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> progress_;
};

TEST_F(QuantizeFile, PacksAndCopies) {
  add({{"z", DType::f32, {12, 5, 3}}, "int8-asym-g32"});
  add({{"plain", DType::i64, {}}, ""});
  add({{"a", DType::f32, {40, 33}}, "nf4"});
  add({{"bias", DType::f32, {7}}, ""});
  add({{"empty", DType::f32, {0, 9}}, "int4"});
  const auto layers = run("out.safetensors");
  ASSERT_TRUE(layers) << layers.error().message;
  EXPECT_EQ(folder_.entries(), 1u);

  const auto checkpoint = io::Checkpoint::open(folder_ / "out.safetensors");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->files()[0].metadata.at("origin"), "test");
  for (const char* name : {"plain", "bias"}) {
    ASSERT_NE(checkpoint->find(name), nullptr);
    EXPECT_TRUE(std::ranges::equal(checkpoint->find(name)->bytes, data_[name]));
  }
  const auto entries = io::packed_entries(*checkpoint);
  ASSERT_TRUE(entries) << entries.error().message;
  ASSERT_EQ(entries->size(), 3u);
  for (const io::PackedEntry& entry : *entries) EXPECT_TRUE(io::load_packed(*checkpoint, entry));

  const char* names[] = {"z", "a", "empty"};
  const char* schemes[] = {"int8-asym-g32", "nf4-g64", "int4-g128"};
  ASSERT_EQ(layers->size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    const io::PackedLayer& layer = (*layers)[i];
    EXPECT_EQ(layer.name, names[i]);
    EXPECT_EQ(layer.scheme, schemes[i]);
    EXPECT_EQ(layer.bytes_before, data_[layer.name].size());
    const std::size_t count = layer.bytes_before / sizeof(float);
    const auto matrix = io::PackedMatrix::quantize(layer.scheme, DType::f32, data_[layer.name],
                                                   {layer.shape[0], count / std::max<std::size_t>(1, layer.shape[0])});
    if (count == 0) continue;
    ASSERT_TRUE(matrix);
    EXPECT_TRUE(std::ranges::equal(checkpoint->find(layer.name + ".codes")->bytes, matrix->codes()));
    EXPECT_TRUE(std::ranges::equal(checkpoint->find(layer.name + ".scales")->bytes, matrix->scales()));
    EXPECT_EQ(layer.bytes_after, matrix->codes().size() + matrix->scales().size() + matrix->zero_points().size());
    EXPECT_DOUBLE_EQ(layer.bits_per_weight(), matrix->bits_per_weight());
    std::vector<float> values(count);
    ASSERT_TRUE(matrix->dequantize({values.data(), matrix->shape().rows, matrix->shape().cols}));
    const auto original = fixtures::floats(data_[layer.name]);
    const auto error = pare::error_statistics(std::span<const float>(original), std::span<const float>(values));
    ASSERT_TRUE(error);
    EXPECT_EQ(layer.error.count, count);
    EXPECT_NEAR(layer.error.sqnr(), error->sqnr(), 1e-9);
    EXPECT_EQ(layer.error.max_error(), error->max_error());
  }
  EXPECT_EQ((*layers)[2].error.count, 0u);
  ASSERT_FALSE(progress_.empty());
  EXPECT_EQ(progress_.back().first, progress_.back().second);
  EXPECT_TRUE(std::ranges::is_sorted(progress_));
}

TEST_F(QuantizeFile, BytesAndMeasuresDoNotDependOnTheExecutor) {
  add({{"w", DType::f16, {300, 700}}, "int4-asym-g32"});
  add({{"v", DType::bf16, {200, 128}}, "fp8"});
  io::ThreadPool pool(3);
  const auto one = run("one"), three = run("three", pool);
  ASSERT_TRUE(one && three);
  EXPECT_EQ(fixtures::read(folder_ / "one"), fixtures::read(folder_ / "three"));
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_GT((*one)[i].error.sqnr(), 15.0);
    EXPECT_EQ((*one)[i].error.sum_squared_error, (*three)[i].error.sum_squared_error);
  }
}

TEST_F(QuantizeFile, LeavesNothingBehindWhenItFails) {
  const auto fails = [&](std::string_view fault) {
    const auto layers = run("out");
    ASSERT_FALSE(layers);
    EXPECT_EQ(layers.error().message, fault);
    EXPECT_EQ(folder_.entries(), 0u);
  };
  add({{"w", DType::f32, {4, 4}}, "int8"});
  add({{"b", DType::f32, {4}}, ""});
  unreadable_ = "b";
  fails("cannot be read");
  unreadable_ = "w";
  fails("cannot be read");
  unreadable_.clear();
  data_["b"].pop_back();
  fails("source: tensor \"b\": 15 bytes do not fit shape [4]");
  data_["b"].push_back({});
  add({{"w.scales", DType::i8, {1}}, ""});
  fails("source: tensor \"w.scales\": \"w.scales\" is taken");
  plan_.pop_back();
  add({{"i", DType::i32, {2, 2}}, "int8"});
  fails("source: tensor \"i\": I32 elements cannot be quantized, only F32, F16 and BF16");
  plan_.back() = {{"i", DType::f32, {}}, "int8"};
  fails("source: tensor \"i\": a packed matrix has at least one dimension");
}

TEST_F(QuantizeFile, ReportsAFullDisk) {
  if (!fixtures::fs::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  add({{"w", DType::f32, {64, 64}}, "int8"});
  auto file = io::OutputFile::create("/dev/full");
  ASSERT_TRUE(file);
  const auto read = [&](const PlannedTensor& tensor) -> Result<std::span<const std::byte>> {
    return std::span<const std::byte>(data_.at(tensor.name));
  };
  const auto layers = io::write_quantized(*std::move(file), plan_, {}, {.name = "source", .read = read}, pare::serial,
                                          [](std::uint64_t, std::uint64_t) {});
  ASSERT_FALSE(layers);
  EXPECT_EQ(layers.error().code, ErrorCode::io);
  EXPECT_TRUE(layers.error().message.starts_with("/dev/full: ")) << layers.error().message;
}

}  // namespace
