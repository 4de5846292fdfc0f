#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "io/npy.hpp"
#include "io/safetensors.hpp"

namespace golden {

/// The folders that hold golden vectors: the repository's own subset, and the full set where it is present.
inline std::vector<std::filesystem::path> roots() {
  std::vector<std::filesystem::path> found{std::filesystem::path(PARE_TEST_DIR) / "golden"};
  const std::filesystem::path shared(PARE_SHARED_DIR);
  if (!shared.empty() && std::filesystem::exists(shared / "golden")) found.push_back(shared / "golden");
  return found;
}

/// All elements of a tensor as T, whose size must be the element's; a test failure and no elements where it is missing.
template <class T>
std::vector<T> values(const io::SafetensorsFile& file, std::string_view name) {
  const io::TensorView* tensor = file.find(name);
  EXPECT_NE(tensor, nullptr) << file.name() << " has no " << name;
  if (tensor == nullptr) return {};
  EXPECT_EQ(io::bits(tensor->dtype), sizeof(T) * 8) << name;
  std::vector<T> elements(tensor->bytes.size() / sizeof(T));
  if (!elements.empty()) std::memcpy(elements.data(), tensor->bytes.data(), tensor->bytes.size());
  return elements;
}

/// Calls test(file) for a safetensors file in each of the roots that has it.
template <class Function>
void for_each_file(const std::string& relative, Function&& test) {
  int found = 0;
  for (const auto& root : roots()) {
    if (!std::filesystem::exists(root / relative)) continue;
    auto file = io::SafetensorsFile::open(root / relative);
    ASSERT_TRUE(file) << file.error().message;
    SCOPED_TRACE(file->name());
    test(*file);
    ++found;
  }
  EXPECT_GT(found, 0) << relative;
}

/// The values of an .npy file of the repository's subset.
inline std::vector<float> npy(const std::string& relative) {
  auto file = io::NpyFile::open(roots().front() / relative);
  EXPECT_TRUE(file) << (file ? "" : file.error().message);
  if (!file) return {};
  auto values = file->values<float>();
  EXPECT_TRUE(values) << (values ? "" : values.error().message);
  return values ? *values : std::vector<float>{};
}

}  // namespace golden
