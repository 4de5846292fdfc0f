#include "yolo11/inspect.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "io/checkpoint.hpp"
#include "io/packed_matrix.hpp"

namespace yolo {
namespace fs = std::filesystem;
using pare::Result;

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Takes the digits off the front of `text`, without leading zeros.
std::string_view take_number(std::string_view& text) {
  const auto end = static_cast<std::size_t>(std::ranges::find_if_not(text, is_digit) - text.begin());
  std::string_view digits = text.substr(0, end);
  text.remove_prefix(end);
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
  return digits;
}

}  // namespace

double InspectedTensor::bits_per_weight() const {
  const auto count = io::element_count(shape);
  return !count || *count == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(*count);
}

bool natural_less(std::string_view a, std::string_view b) {
  const std::string_view whole_a = a, whole_b = b;
  while (!a.empty() && !b.empty()) {
    if (is_digit(a.front()) && is_digit(b.front())) {
      const std::string_view x = take_number(a), y = take_number(b);
      if (x != y) return x.size() != y.size() ? x.size() < y.size() : x < y;
    } else {
      if (a.front() != b.front()) return a.front() < b.front();
      a.remove_prefix(1);
      b.remove_prefix(1);
    }
  }
  if (a.empty() && b.empty()) return whole_a < whole_b;  // "01" and "1"
  return a.empty();
}

Result<Inspection> inspect(const fs::path& model) {
  const auto checkpoint = io::Checkpoint::open(model);
  if (!checkpoint) return checkpoint.error();
  const auto entries = io::packed_entries(*checkpoint);
  if (!entries) return entries.error();

  Inspection inspection;
  inspection.file = checkpoint->name();
  std::set<std::string> parts;
  for (const io::PackedEntry& entry : *entries) {
    const auto matrix = io::load_packed(*checkpoint, entry);
    if (!matrix) return matrix.error();
    const auto stored = io::packed_parts(entry);
    if (!stored) return stored.error();
    for (const io::TensorInfo& part : *stored) parts.insert(part.name);
    inspection.tensors.push_back(
        {.name = entry.name,
         .dtype = {},
         .scheme = std::string(matrix->scheme()),
         .shape = {entry.shape.begin(), entry.shape.end()},
         .bytes = matrix->codes().size() + matrix->scales().size() + matrix->zero_points().size()});
  }
  for (const io::TensorView* tensor : checkpoint->tensors())
    if (!parts.contains(tensor->name)) {
      const io::GgufTensor* blocks = checkpoint->find_blocks(tensor->name);
      inspection.tensors.push_back(
          {.name = tensor->name,
           .dtype = std::string(blocks != nullptr ? io::info_of(blocks->type).name : io::name(tensor->dtype)),
           .scheme = {},
           .shape = blocks != nullptr ? blocks->shape : tensor->shape,
           .bytes = tensor->bytes.size()});
    }
  std::ranges::sort(inspection.tensors, natural_less, &InspectedTensor::name);

  for (const io::CheckpointFile& file : checkpoint->files()) {
    inspection.bytes += file.bytes;
    inspection.metadata.insert(file.metadata.begin(), file.metadata.end());
  }
  inspection.metadata.erase("pare");
  return inspection;
}

}  // namespace yolo
