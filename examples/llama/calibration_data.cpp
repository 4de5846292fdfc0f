#include "llama/calibration_data.hpp"

#include <algorithm>

#include "llama/tokenizer_files.hpp"

namespace llama {
using pare::Result;

Result<std::vector<Sequence>> read_calibration(const CalibrationData& data, const std::filesystem::path& tokenizer_file,
                                               const WeightFiles& files, const Config& config) {
  std::vector<Sequence> sequences;
  if (!data.ids.empty()) {
    auto rows = read_id_file(data.ids);
    if (!rows) return rows;
    sequences = *std::move(rows);
  } else {
    const auto tokenizer = load_tokenizer(files, config, tokenizer_file);
    if (!tokenizer) return tokenizer.error();
    auto documents = read_text_file(data.text, *tokenizer);
    if (!documents) return documents;
    sequences = *std::move(documents);
  }

  std::vector<Sequence> pieces;
  std::size_t room = data.tokens;
  for (const Sequence& sequence : sequences)
    for (std::size_t begin = 0; begin < sequence.size() && room > 0; begin += config.context) {
      const std::size_t count = std::min({config.context, sequence.size() - begin, room});
      const auto first = sequence.begin() + static_cast<std::ptrdiff_t>(begin);
      pieces.emplace_back(first, first + static_cast<std::ptrdiff_t>(count));
      room -= count;
    }
  return pieces;
}

}  // namespace llama
