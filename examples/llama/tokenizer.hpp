#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pare/core/result.hpp"

namespace io {
class GgufFile;
}

namespace llama {

namespace tokens {
struct Model;
}

/// Text to token ids and back, for the vocabularies that LLaMA models ship with: Hugging Face's tokenizer.json (byte
/// pair encoding over characters with byte fallback, or over bytes) and llama2.c's tokenizer .bin. Immutable; a copy
/// shares the vocabulary, and threads may use one object at once.
class Tokenizer {
 public:
  /// Largest vocabulary that is accepted; every id is below it.
  static constexpr std::int32_t max_vocabulary = 1 << 20;

  /// Reads a tokenizer.json, or the one in a folder, and the tokenizer_config.json beside it where there is one: its
  /// bos_token and eos_token name those ids, its add_bos_token and add_eos_token overrule what tokenizer.json adds.
  /// Errors name the file, the place in it and the fault; a kind of tokenizer that is not implemented is `unsupported`.
  static pare::Result<Tokenizer> from_json(const std::filesystem::path& path);

  /// The same from memory: `text` is the tokenizer.json that errors call `name`, `config` the other file or empty.
  static pare::Result<Tokenizer> parse_json(std::string_view text, const std::string& name,
                                            std::string_view config = {});

  /// Reads a llama2.c tokenizer for a model of exactly `vocab_size` tokens (the file does not say how many it holds).
  static pare::Result<Tokenizer> from_llama2c(const std::filesystem::path& path, std::size_t vocab_size);

  /// The same from memory.
  static pare::Result<Tokenizer> parse_llama2c(std::string_view bytes, const std::string& name, std::size_t vocab_size);

  /// Reads the vocabulary of a GGUF file whose tokenizer.ggml.model is "llama" (SentencePiece's byte pair encoding).
  /// Errors name the file, the key and the fault; other kinds are `unsupported`.
  static pare::Result<Tokenizer> from_gguf(const io::GgufFile& file);

  /// The ids of `text`, with what the model expects around it (BOS, EOS) if `add_special`. Each maximal subpart of an
  /// ill-formed UTF-8 sequence counts as one U+FFFD. A character outside the vocabulary becomes its bytes where the
  /// vocabulary has all of them, else the unknown token, else (a vocabulary without one) nothing. Takes O(n log n).
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view text, bool add_special = true) const;

  /// The text of `ids`, always well-formed UTF-8: bytes that do not form a character become U+FFFD, one for each
  /// maximal subpart. Ids outside the vocabulary have no text. `skip_special` leaves out special tokens such as BOS.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids, bool skip_special = true) const;

  [[nodiscard]] std::optional<std::int32_t> bos() const noexcept;
  [[nodiscard]] std::optional<std::int32_t> eos() const noexcept;

  /// The highest id plus one.
  [[nodiscard]] std::size_t size() const noexcept;

  /// What the files say, for programs that write it in another form.
  [[nodiscard]] const tokens::Model& model() const noexcept { return *model_; }

 private:
  friend class TokenStream;
  explicit Tokenizer(std::shared_ptr<const tokens::Model> model) : model_(std::move(model)) {}

  std::shared_ptr<const tokens::Model> model_;
};

/// Decodes ids one after another, for printing while a model generates. What next() and finish() return, joined, is
/// what Tokenizer::decode() gives for all ids at once.
class TokenStream {
 public:
  explicit TokenStream(const Tokenizer& tokenizer, bool skip_special = true);

  /// The text that `id` completes. The bytes of an unfinished character wait for the tokens that finish it.
  std::string next(std::int32_t id);

  /// U+FFFD if a character is unfinished, else nothing; afterwards the stream is at the start of a new text.
  std::string finish();

 private:
  std::shared_ptr<const tokens::Model> model_;
  std::string pending_;
  std::size_t spaces_to_strip_;
  bool skip_special_;
  bool at_start_ = true;
};

}  // namespace llama
