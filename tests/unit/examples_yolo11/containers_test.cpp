#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "io/thread_pool.hpp"
#include "yolo11/inspect.hpp"
#include "yolo11/quantize.hpp"

namespace {
namespace fs = std::filesystem;

const fs::path formats = fs::path(PARE_TEST_DIR) / "golden/formats";

TEST(YoloContainers, InspectsACheckpointOfUltralytics) {
  const auto module = yolo::inspect(formats / "torch_pt/fake_yolo11.pt");
  ASSERT_TRUE(module) << module.error().message;
  const auto twin = yolo::inspect(formats / "torch_pt/fake_yolo11_expected.safetensors");
  ASSERT_TRUE(twin) << twin.error().message;
  ASSERT_EQ(module->tensors.size(), twin->tensors.size());
  for (std::size_t i = 0; i < twin->tensors.size(); ++i) {
    EXPECT_EQ(module->tensors[i].name, twin->tensors[i].name);
    EXPECT_EQ(module->tensors[i].dtype, twin->tensors[i].dtype);
    EXPECT_EQ(module->tensors[i].shape, twin->tensors[i].shape);
    EXPECT_EQ(module->tensors[i].bytes, twin->tensors[i].bytes);
  }
  EXPECT_EQ(module->bytes, fs::file_size(formats / "torch_pt/fake_yolo11.pt"));
  EXPECT_EQ(module->metadata.at("license"), "AGPL-3.0");
}

TEST(YoloContainers, InspectsBlocksOfGguf) {
  const auto gguf = yolo::inspect(formats / "gguf/sample_v3.gguf");
  ASSERT_TRUE(gguf) << gguf.error().message;
  const auto found = std::ranges::find(gguf->tensors, "a.q4_k", &yolo::InspectedTensor::name);
  ASSERT_NE(found, gguf->tensors.end());
  EXPECT_EQ(found->dtype, "Q4_K");
  EXPECT_EQ(found->shape, (io::Extents{3, 256}));
  EXPECT_EQ(found->bits_per_weight(), 4.5);
}

TEST(YoloContainers, QuantizesACheckpointOfUltralytics) {
  const fs::path source = fs::path(PARE_SHARED_DIR) / "data/models/yolo11";
  if (!fs::exists(source)) GTEST_SKIP() << "needs the reference data: " << source;
  const fs::path folder = fs::path(testing::TempDir()) / "pare-yolo-containers";
  fs::create_directories(folder);
  io::ThreadPool pool(2);
  std::vector<yolo::QuantizeReport> reports;
  for (const char* name : {"yolo11n-seg.pt", "yolo11n-seg.safetensors"}) {
    yolo::QuantizeRequest request;
    request.model = source / name;
    request.output = folder / "out.safetensors";
    request.scheme = "int8-channel";
    request.overwrite = io::Overwrite::yes;
    const auto report = yolo::quantize(request, pool, [](std::uint64_t, std::uint64_t) {});
    ASSERT_TRUE(report) << report.error().message;
    reports.push_back(*report);
  }
  fs::remove_all(folder);
  ASSERT_EQ(reports[0].layers.size(), reports[1].layers.size());
  EXPECT_GT(reports[0].layers.size(), 0u);
  for (const io::PackedLayer& layer : reports[0].layers) {
    const auto twin = std::ranges::find(reports[1].layers, layer.name, &io::PackedLayer::name);
    ASSERT_NE(twin, reports[1].layers.end()) << layer.name;
    EXPECT_EQ(layer.error.sqnr(), twin->error.sqnr()) << layer.name;
  }
  EXPECT_EQ(reports[0].bytes_before, fs::file_size(source / "yolo11n-seg.pt"));
}

}  // namespace
