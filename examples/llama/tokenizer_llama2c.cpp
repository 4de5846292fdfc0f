#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/file.hpp"
#include "io/json.hpp"
#include "llama/tokenizer.hpp"
#include "llama/tokenizer_model.hpp"
#include "pare/core/bits.hpp"

namespace llama {
namespace tokens {
namespace {

using pare::Error;
using pare::ErrorCode;
using pare::Result;

// llama2.c takes these ids for granted: unknown, BOS, EOS, then a token for each byte.
constexpr std::int32_t bos_id = 1;
constexpr std::int32_t eos_id = 2;
constexpr std::size_t first_byte_id = 3;
constexpr std::size_t fixed_tokens = first_byte_id + 256;
constexpr std::uint32_t max_piece = 256;

/// Reads 32-bit little-endian words and bytes from the front of a file.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : rest_(bytes) {}

  [[nodiscard]] std::size_t left() const noexcept { return rest_.size(); }
  std::uint32_t word() noexcept {
    const auto value = pare::load_le(reinterpret_cast<const std::uint8_t*>(rest_.data()), 4);
    rest_.remove_prefix(4);
    return static_cast<std::uint32_t>(value);
  }
  std::string_view text(std::size_t size) noexcept {
    const std::string_view value = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return value;
  }

 private:
  std::string_view rest_;
};

Result<std::shared_ptr<const Model>> parse(std::string_view bytes, const std::string& name, std::size_t vocab_size) {
  const auto fault = [&](std::string_view what) {
    return Error{ErrorCode::corrupt_data, fmt::format("{}: {}", name, what)};
  };
  if (vocab_size < fixed_tokens || vocab_size > static_cast<std::size_t>(Tokenizer::max_vocabulary))
    return Error{ErrorCode::invalid_argument, fmt::format("{}: a llama2.c tokenizer has {} to {} tokens, not {}", name,
                                                          fixed_tokens, Tokenizer::max_vocabulary, vocab_size)};
  Cursor cursor(bytes);
  if (cursor.left() < 4) return fault("shorter than a llama2.c tokenizer's header");
  const std::uint32_t longest = cursor.word();
  if (longest == 0 || longest > max_piece)
    return fault(fmt::format("the longest token has {} bytes; 1 to {} are possible", longest, max_piece));

  auto model = std::make_shared<Model>();
  std::vector<float> scores;
  for (std::size_t id = 0; id < vocab_size; ++id) {
    if (cursor.left() < 8) return fault(fmt::format("ends at token {} of {}", id, vocab_size));
    scores.push_back(std::bit_cast<float>(cursor.word()));
    const std::uint32_t size = cursor.word();
    if (!std::isfinite(scores.back())) return fault(fmt::format("token {}: the score is not finite", id));
    if (size > longest) return fault(fmt::format("token {}: {} bytes, where the longest is {}", id, size, longest));
    if (size > cursor.left()) return fault(fmt::format("ends inside token {} of {}", id, vocab_size));
    model->pieces.emplace_back(cursor.text(size));
  }
  if (cursor.left() != 0)
    return fault(fmt::format("{} bytes follow the last of {} tokens: not this model's", cursor.left(), vocab_size));

  model->kinds.assign(vocab_size, TokenKind::plain);
  std::fill_n(model->kinds.begin(), first_byte_id, TokenKind::special);
  model->spelled = model->pieces;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::size_t id = first_byte_id + byte;
    if (model->pieces[id] != byte_piece(byte))
      return fault(fmt::format("token {} is {}, not {}", id, io::quote(model->pieces[id]), byte_piece(byte)));
    model->byte_ids[byte] = static_cast<std::int32_t>(id);
    model->spelled[id].assign(1, static_cast<char>(byte));
  }
  model->index();
  model->merge_by_scores(scores);

  model->normalizer = {{.from = "", .content = " "}};
  model->before = {bos_id};
  model->bos = bos_id;
  model->eos = eos_id;
  model->leading_spaces = 1;
  model->bos_begins_text = true;
  return std::shared_ptr<const Model>(std::move(model));
}

}  // namespace
}  // namespace tokens

pare::Result<Tokenizer> Tokenizer::parse_llama2c(std::string_view bytes, const std::string& name,
                                                 std::size_t vocab_size) {
  try {
    auto model = tokens::parse(bytes, name, vocab_size);
    if (!model) return std::move(model).error();
    return Tokenizer(*std::move(model));
  } catch (const std::bad_alloc&) {
    return pare::Error{pare::ErrorCode::out_of_memory, name + ": no memory for the vocabulary"};
  }
}

pare::Result<Tokenizer> Tokenizer::from_llama2c(const std::filesystem::path& path, std::size_t vocab_size) {
  const auto file = io::MappedFile::open(path);
  if (!file) return file.error();
  const auto bytes = file->bytes();
  return parse_llama2c({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string(), vocab_size);
}

}  // namespace llama
