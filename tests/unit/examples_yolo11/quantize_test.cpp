#include "yolo11/quantize.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "../examples_io/fixtures.hpp"
#include "io/checkpoint.hpp"
#include "io/packed_matrix.hpp"
#include "models.hpp"
#include "yolo11/convolutions.hpp"
#include "yolo11/inspect.hpp"
#include "yolo11/report.hpp"

namespace {
using pare::Result;

Result<yolo::QuantizeReport> run(const yolo::QuantizeRequest& request) {
  return yolo::quantize(request, pare::serial, [](std::uint64_t, std::uint64_t) {});
}

yolo::QuantizeRequest request(const fixtures::fs::path& model, const fixtures::fs::path& output, std::string scheme) {
  yolo::QuantizeRequest wanted;
  wanted.model = model;
  wanted.output = output;
  wanted.scheme = std::move(scheme);
  return wanted;
}

TEST(Quantize, PacksConvolutionsAndKeepsTheRest) {
  const fixtures::Folder folder;
  models::write(folder / "m", models::tiny());
  for (const std::string_view scheme : pare::Catalog::names) {
    SCOPED_TRACE(scheme);
    auto wanted = request(folder / "m", folder / "q", std::string(scheme));
    wanted.overwrite = io::Overwrite::yes;
    const auto report = run(wanted);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->scheme, scheme);
    EXPECT_EQ(report->kept, std::vector<std::string>{"model.23.dfl.conv.weight"});
    EXPECT_EQ(report->copied, models::tiny().size() - models::packed().size());
    EXPECT_EQ(report->bytes_before, fixtures::fs::file_size(folder / "m"));
    EXPECT_EQ(report->bytes_after, fixtures::fs::file_size(folder / "q"));
    std::set<std::string> names;
    for (const io::PackedLayer& layer : report->layers) {
      names.insert(layer.name);
      EXPECT_GT(layer.error.sqnr(), scheme.starts_with("int2") ? 1.0 : 7.0) << layer.name;
    }
    const auto packed = models::packed();
    EXPECT_EQ(names, std::set<std::string>(packed.begin(), packed.end()));

    const auto before = io::Checkpoint::open(folder / "m"), after = io::Checkpoint::open(folder / "q");
    ASSERT_TRUE(before && after);
    EXPECT_EQ(after->files()[0].metadata.at("names"), "{\"0\": \"person\"}");
    for (const io::TensorView* tensor : before->tensors()) {
      if (names.contains(tensor->name)) continue;
      const io::TensorView* copy = after->find(tensor->name);
      ASSERT_NE(copy, nullptr) << tensor->name;
      EXPECT_EQ(copy->dtype, tensor->dtype);
      EXPECT_EQ(copy->shape, tensor->shape);
      EXPECT_TRUE(std::ranges::equal(copy->bytes, tensor->bytes));
    }
    const auto entries = io::packed_entries(*after);
    ASSERT_TRUE(entries) << entries.error().message;
    ASSERT_EQ(entries->size(), packed.size());
    for (const io::PackedEntry& entry : *entries) {
      const io::TensorView& original = *before->find(entry.name);
      EXPECT_EQ(io::Extents(entry.shape.begin(), entry.shape.end()), original.shape);
      const auto stored = io::load_packed(*after, entry);
      ASSERT_TRUE(stored) << stored.error().message;
      const pare::Shape shape{original.shape[0], original.shape[1] * original.shape[2] * original.shape[3]};
      const auto expected = io::PackedMatrix::quantize(scheme, original.dtype, original.bytes, shape);
      ASSERT_TRUE(expected);
      EXPECT_TRUE(std::ranges::equal(stored->codes(), expected->codes()));
      EXPECT_TRUE(std::ranges::equal(stored->scales(), expected->scales()));
      EXPECT_TRUE(std::ranges::equal(stored->zero_points(), expected->zero_points()));
    }
  }
}

TEST(Quantize, KeepsWhatItIsAskedTo) {
  const fixtures::Folder folder;
  models::write(folder / "m", models::tiny());
  auto wanted = request(folder / "m", folder / "q", "int8");
  wanted.keep = {"model.0.", "model.23."};
  const auto report = run(wanted);
  ASSERT_TRUE(report) << report.error().message;
  ASSERT_EQ(report->layers.size(), 2u);
  EXPECT_EQ(report->kept.size(), 4u);

  wanted.overwrite = io::Overwrite::yes;
  wanted.keep = {"model.0.", "model.7"};
  const auto unknown = run(wanted);
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("--keep \"model.7\": no convolution"), std::string::npos);
  wanted.keep = {"model."};
  const auto nothing = run(wanted);
  ASSERT_FALSE(nothing);
  EXPECT_NE(nothing.error().message.find("no convolution is left to quantize"), std::string::npos);
}

TEST(Quantize, TotalsAreTheSumsOfTheLayers) {
  const fixtures::Folder folder;
  models::write(folder / "m", models::tiny());
  const auto report = run(request(folder / "m", folder / "q", "int4-g32"));
  ASSERT_TRUE(report);
  const io::PackedLayer total = report->total();
  EXPECT_EQ(total.error.count, 16u * 27 + 32 * 16 + 32 * 9 + 64 * 32 + 8 * 32);
  EXPECT_EQ(total.bytes_before, 2 * total.error.count);
  double noise = 0.0, signal = 0.0, decibels = 0.0;
  std::size_t bytes = 0;
  for (const io::PackedLayer& layer : report->layers) {
    noise += layer.error.sum_squared_error;
    signal += layer.error.sum_squared_reference;
    decibels += layer.error.sqnr();
    bytes += layer.bytes_after;
  }
  EXPECT_NEAR(total.error.sqnr(), 10 * std::log10(signal / noise), 1e-9);
  EXPECT_NEAR(report->mean_sqnr(), decibels / 5, 1e-9);
  EXPECT_EQ(total.bytes_after, bytes);
  EXPECT_EQ(bytes, 16u * (14 + 4) + 32 * (8 + 4) + 32 * (5 + 4) + 64 * (16 + 4) + 8 * (16 + 4));

  const auto json = yolo::to_json(*report);
  EXPECT_EQ(json["layers"].size(), 5u);
  EXPECT_EQ(json["total"]["bytes_after"], bytes);
  EXPECT_EQ(json["scheme"], "int4-g32");
  const std::string text = yolo::to_text(*report);
  for (const std::string& name : models::packed()) EXPECT_NE(text.find(name), std::string::npos);
}

/// The SQNR of round-to-nearest on the weights as they are stored. The integers' are those of a separate computation in
/// double; that one gives the reference table's 39.16, 14.73 and 18.54 dB when it folds the batch norms in and leaves
/// the transposed convolution out, as the table does. The others are the table's, hence the wider bound.
TEST(Quantize, DamagesARealModelAsMuchAsExpected) {
  const auto model = fixtures::shared("data/models/yolo11/yolo11n-seg.safetensors");
  SKIP_WITHOUT(model);
  struct Case {
    const char* scheme;
    double decibels;
    double tolerance;
  };
  const Case cases[] = {{"int8-channel", 38.852, 0.002},
                        {"int4-channel", 14.220, 0.002},
                        {"int4-g32", 18.690, 0.002},
                        {"nf4", 19.33, 0.6},
                        {"mxfp4", 17.85, 0.6}};
  const fixtures::Folder folder;
  for (const auto& [scheme, decibels, tolerance] : cases) {
    const auto report = run(request(model, folder / scheme, scheme));
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->layers.size(), 100u);
    EXPECT_EQ(report->total().error.count, 2859872u);
    EXPECT_NEAR(report->total().error.sqnr(), decibels, tolerance) << scheme;
  }
}

TEST(Inspect, ListsPackedAndPlainTensors) {
  const fixtures::Folder folder;
  models::write(folder / "m", models::tiny());
  ASSERT_TRUE(run(request(folder / "m", folder / "q", "int4-asym-g32")));
  const auto before = yolo::inspect(folder / "m"), after = yolo::inspect(folder / "q");
  ASSERT_TRUE(before) << before.error().message;
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(before->tensors.size(), models::tiny().size());
  EXPECT_EQ(after->tensors.size(), models::tiny().size());
  EXPECT_FALSE(after->metadata.contains("pare"));
  EXPECT_TRUE(after->metadata.contains("names"));
  std::size_t packed = 0;
  for (std::size_t i = 0; i < after->tensors.size(); ++i) {
    const yolo::InspectedTensor &a = before->tensors[i], &b = after->tensors[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.shape, b.shape);
    if (b.scheme.empty()) {
      EXPECT_EQ(a.dtype, b.dtype);
      EXPECT_EQ(a.bytes, b.bytes);
    } else {
      ++packed;
      EXPECT_EQ(b.scheme, "int4-asym-g32");
      EXPECT_LT(b.bytes, a.bytes);
    }
  }
  EXPECT_EQ(packed, models::packed().size());
  EXPECT_EQ(yolo::to_json(*after)["tensors"].size(), after->tensors.size());
  EXPECT_NE(yolo::to_text(*after).find("int4-asym-g32: 5 tensors"), std::string::npos);
}

TEST(Inspect, NamesThatSteerATerminalAreQuoted) {
  const fixtures::Folder folder;
  models::write(folder / "m", {{"a\x1b[2Jb\nc", io::DType::f32, {1}}}, {{"k\x1b", "v\n"}});
  const auto inspection = yolo::inspect(folder / "m");
  ASSERT_TRUE(inspection);
  const std::string text = yolo::to_text(*inspection);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("[2Jb\\nc"), std::string::npos);
}

TEST(Inspect, SortsNumbersByValue) {
  const std::vector<std::string> sorted{"model",   "model.",    "model.0.a", "model.0.b", "model.01",
                                        "model.2", "model.2.1", "model.10",  "model.10a", "model.99999999999999999999",
                                        "model.a"};
  for (std::size_t i = 0; i < sorted.size(); ++i)
    for (std::size_t j = 0; j < sorted.size(); ++j)
      EXPECT_EQ(yolo::natural_less(sorted[i], sorted[j]), i < j) << sorted[i] << " " << sorted[j];
}

TEST(Convolutions, AreTensorsOfFourDimensionsCalledWeight) {
  EXPECT_TRUE(yolo::is_convolution({"model.0.conv.weight", io::DType::f16, {1, 1, 1, 1}}));
  EXPECT_FALSE(yolo::is_convolution({"model.0.conv.weight", io::DType::f16, {1, 1, 1}}));
  EXPECT_FALSE(yolo::is_convolution({"model.0.conv.bias", io::DType::f16, {1, 1, 1, 1}}));
  EXPECT_TRUE(yolo::is_dfl("model.23.dfl.conv.weight"));
  EXPECT_FALSE(yolo::is_dfl("model.23.conv.weight"));
}

}  // namespace
