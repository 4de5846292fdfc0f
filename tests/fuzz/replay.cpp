#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string_view>
#include <system_error>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {
namespace fs = std::filesystem;
using Bytes = std::vector<std::uint8_t>;

Bytes read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Uniform in [0, count), the same with every standard library.
std::size_t below(std::mt19937_64& random, std::size_t count) { return static_cast<std::size_t>(random() % count); }

/// A place to damage: mostly in the header, where the numbers are that a reader trusts.
std::size_t place(std::mt19937_64& random, const Bytes& bytes) {
  constexpr std::size_t header = 512;
  return below(random, below(random, 4) != 0 ? std::min(bytes.size(), header) : bytes.size());
}

void mutate(std::mt19937_64& random, Bytes& bytes) {
  constexpr std::int64_t numbers[] = {0,          1,           -1,         127,       255,      65535,
                                      2147483647, -2147483648, 4294967295, INT64_MAX, INT64_MIN};
  constexpr std::string_view tokens[] = {"0", "9", "-", "1e9", "[", "]", "{", "}", "\"", ",", ":", "(", ")", "null"};
  if (bytes.empty()) bytes.push_back(0);
  const std::size_t at = place(random, bytes);
  const auto offset = static_cast<std::ptrdiff_t>(at);
  switch (below(random, 6)) {
    case 0:
      bytes[at] ^= static_cast<std::uint8_t>(1u << below(random, 8));
      break;
    case 1:
      bytes[at] = static_cast<std::uint8_t>(random());
      break;
    case 2: {
      const auto number = static_cast<std::uint64_t>(numbers[below(random, std::size(numbers))]);
      const std::size_t width = std::size_t{1} << below(random, 4);
      for (std::size_t i = 0; i < std::min(width, bytes.size() - at); ++i)
        bytes[at + i] = static_cast<std::uint8_t>(number >> (8 * i));
      break;
    }
    case 3: {
      const std::string_view token = tokens[below(random, std::size(tokens))];
      bytes.insert(bytes.begin() + offset, token.begin(), token.end());
      break;
    }
    case 4: {
      const std::size_t count = std::min(bytes.size() - at, 1 + below(random, 64));
      const Bytes piece(bytes.begin() + offset, bytes.begin() + offset + static_cast<std::ptrdiff_t>(count));
      bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(place(random, bytes)), piece.begin(), piece.end());
      break;
    }
    default:
      bytes.resize(at);
  }
}

void run(const Bytes& bytes) {
  // A block of exactly this size, so that a sanitizer sees the first byte that is read behind it.
  const Bytes exact(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

std::vector<fs::path> files_of(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

/// replay [-mutations=N] FILE-OR-FOLDER...: calls the fuzz function with every file and with N random mutations of it,
/// the same ones in every run.
int main(int argc, char** argv) {
  std::size_t mutations = 1000;
  std::size_t runs = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    constexpr std::string_view option = "-mutations=";
    if (argument.starts_with(option)) {
      const auto text = argument.substr(option.size());
      if (std::from_chars(text.data(), text.data() + text.size(), mutations).ec != std::errc()) return 2;
      continue;
    }
    for (const fs::path& path : files_of(argument)) {
      const Bytes original = read(path);
      run(original);
      std::mt19937_64 random(original.size());
      for (std::size_t n = 0; n < mutations; ++n) {
        Bytes bytes = original;
        for (std::size_t k = 0; k <= n % 4; ++k) mutate(random, bytes);
        run(bytes);
      }
      runs += 1 + mutations;
    }
  }
  std::printf("%zu runs\n", runs);
  return runs == 0 ? 2 : 0;
}
