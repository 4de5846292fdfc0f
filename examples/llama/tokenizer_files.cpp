#include "llama/tokenizer_files.hpp"

#include <fmt/format.h>

#include <array>
#include <string>
#include <string_view>
#include <system_error>

namespace llama {
namespace fs = std::filesystem;
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

constexpr std::array<std::string_view, 6> copied_names = {"tokenizer.json",  "tokenizer_config.json",
                                                          "tokenizer.model", "special_tokens_map.json",
                                                          "tokenizer.bin",   "generation_config.json"};

std::string sized_name(std::size_t vocab_size) { return fmt::format("tok{}.bin", vocab_size); }

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

Result<Tokenizer> open_tokenizer(const fs::path& path, std::size_t vocab_size) {
  return path.extension() == ".bin" ? Tokenizer::from_llama2c(path, vocab_size) : Tokenizer::from_json(path);
}

}  // namespace

Result<Tokenizer> load_tokenizer(const WeightFiles& files, const Config& config, const fs::path& given) {
  if (!given.empty()) return open_tokenizer(given, config.vocab_size);
  if (const io::GgufFile* file = files.gguf()) return Tokenizer::from_gguf(*file);
  const fs::path folder = files.folder();
  const std::array candidates = {folder / "tokenizer.json", folder / "tokenizer.bin",
                                 folder / sized_name(config.vocab_size)};
  for (const fs::path& candidate : candidates)
    if (is_there(candidate)) return open_tokenizer(candidate, config.vocab_size);
  return Error{ErrorCode::io,
               fmt::format("{}: has no tokenizer.json, tokenizer.bin or {} beside it; give one with --tokenizer",
                           files.name(), sized_name(config.vocab_size))};
}

Result<void> copy_tokenizer_files(const WeightFiles& files, const Config& config, const io::OutputDirectory& folder) {
  for (const std::string_view name : copied_names)
    if (is_there(files.folder() / name))
      if (auto done = folder.copy_file(files.folder() / name); !done) return done;
  const fs::path sized = files.folder() / sized_name(config.vocab_size);
  return files.is_llama2c() && is_there(sized) ? folder.copy_file(sized) : Result<void>();
}

}  // namespace llama
