#include <fmt/format.h>

#include <limits>
#include <set>
#include <utility>

#include "io/gguf.hpp"
#include "io/json.hpp"

namespace io {
namespace fs = std::filesystem;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

Error corrupt(std::string_view file, std::string_view what) {
  return {ErrorCode::corrupt_data, fmt::format("{}: {}", file, what)};
}

/// The integer of that key; `fallback` where there is none, and an error for what is no integer.
Result<std::uint64_t> split_value(const GgufFile& file, std::string_view key, std::uint64_t fallback) {
  const GgufValue* value = file.value(key);
  if (value == nullptr) return fallback;
  if (const auto number = as_unsigned(*value)) return *number;
  return corrupt(file.name(), fmt::format("metadata {} is {}, and not a count", key, quote(to_text(*value))));
}

std::string shard_suffix(std::uint64_t index, std::uint64_t count) {
  return fmt::format("-{:05}-of-{:05}.gguf", index + 1, count);
}

/// Checks that `file` is the shard `index` of `count`.
Result<void> check_shard(const GgufFile& file, std::uint64_t index, std::uint64_t count) {
  for (const auto& [key, expected] : {std::pair<std::string_view, std::uint64_t>{"split.no", index},
                                      std::pair<std::string_view, std::uint64_t>{"split.count", count}}) {
    const auto found = split_value(file, key, 0);
    if (!found) return found.error();
    if (*found != expected)
      return corrupt(file.name(), fmt::format("metadata {} is {} where {} is expected", key, *found, expected));
  }
  return {};
}

}  // namespace

Result<std::vector<GgufFile>> GgufFile::open_shards(const fs::path& path) {
  auto first = open(path);
  if (!first) return std::move(first).error();
  const auto count = split_value(*first, "split.count", 1);
  if (!count) return count.error();
  std::vector<GgufFile> shards;
  if (*count <= 1) {
    shards.push_back(*std::move(first));
    return shards;
  }
  const auto opened = split_value(*first, "split.no", 0);
  if (!opened) return opened.error();
  constexpr std::uint64_t max_shards = std::numeric_limits<std::uint16_t>::max();
  if (*count > max_shards || *opened >= *count)
    return corrupt(first->name(), fmt::format("metadata split.no {} and split.count {} contradict each other or the "
                                              "limit of {} shards",
                                              *opened, *count, max_shards));
  const std::string file_name = path.filename().string();
  const std::string suffix = shard_suffix(*opened, *count);
  if (!file_name.ends_with(suffix))
    return corrupt(first->name(),
                   fmt::format("is shard {} of {}, but its name does not end with {}", *opened + 1, *count, suffix));
  const std::string prefix = file_name.substr(0, file_name.size() - suffix.size());

  std::set<std::string, std::less<>> names;
  for (std::uint64_t i = 0; i < *count; ++i) {
    auto shard = open(path.parent_path() / (prefix + shard_suffix(i, *count)));
    if (!shard) return std::move(shard).error();
    if (auto right = check_shard(*shard, i, *count); !right) return std::move(right).error();
    for (const GgufTensor& tensor : shard->tensors())
      if (!names.insert(tensor.name).second)
        return corrupt(shard->name(), fmt::format("tensor {} is in another shard too", quote(tensor.name)));
    shards.push_back(*std::move(shard));
  }
  const auto total = split_value(shards.front(), "split.tensors.count", names.size());
  if (!total) return total.error();
  if (*total != names.size())
    return corrupt(shards.front().name(),
                   fmt::format("metadata split.tensors.count is {}, the shards hold {} tensors", *total, names.size()));
  return shards;
}

}  // namespace io
