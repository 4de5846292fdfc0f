#include "yolo11/convolutions.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "io/json.hpp"
#include "io/packed_matrix.hpp"

namespace yolo {
using pare::Error;
using pare::ErrorCode;
using pare::Result;

namespace {

/// A YOLO11 block Conv is a convolution `conv` followed by a batch norm `bn`.
Result<void> check_blocks(const io::Checkpoint& checkpoint) {
  constexpr std::string_view norm = ".bn.weight";
  for (const io::TensorView* tensor : checkpoint.tensors()) {
    if (!tensor->name.ends_with(norm)) continue;
    const std::string convolution = tensor->name.substr(0, tensor->name.size() - norm.size()) + ".conv.weight";
    if (checkpoint.find(convolution) == nullptr)
      return Error{ErrorCode::corrupt_data, fmt::format("{}: has no tensor {}, to which {} belongs", checkpoint.name(),
                                                        io::quote(convolution), io::quote(tensor->name))};
  }
  return {};
}

}  // namespace

bool is_convolution(const io::TensorInfo& tensor) {
  return tensor.shape.size() == 4 && tensor.name.ends_with(".weight");
}

bool is_dfl(std::string_view name) { return name.ends_with(".dfl.conv.weight"); }

Result<std::vector<io::PlannedTensor>> plan(const io::Checkpoint& checkpoint, std::string_view scheme,
                                            std::span<const std::string> keep) {
  const auto fault = [&](std::string_view what, ErrorCode code = ErrorCode::corrupt_data) {
    return Error{code, fmt::format("{}: {}", checkpoint.name(), what)};
  };
  const auto packed = io::packed_entries(checkpoint);
  if (!packed) return packed.error();
  if (!packed->empty()) return fault("is quantized already", ErrorCode::unsupported);
  if (auto complete = check_blocks(checkpoint); !complete) return std::move(complete).error();

  std::vector<bool> matched(keep.size());
  std::vector<io::PlannedTensor> tensors;
  std::size_t convolutions = 0, chosen = 0;
  for (const io::TensorView* tensor : checkpoint.tensors()) {
    io::PlannedTensor& planned = tensors.emplace_back(io::PlannedTensor{*tensor, {}});
    if (!is_convolution(*tensor)) continue;
    ++convolutions;
    bool kept = is_dfl(tensor->name);
    for (std::size_t i = 0; i < keep.size(); ++i) {
      if (!tensor->name.starts_with(keep[i])) continue;
      matched[i] = true;
      kept = true;
    }
    if (kept) continue;
    ++chosen;
    planned.scheme = scheme;
  }
  if (convolutions == 0)
    return fault("is no YOLO11 model: it has no convolution, a tensor *.weight of four dimensions");
  const auto unmatched = std::ranges::find(matched, false);
  if (unmatched != matched.end())
    return Error{
        ErrorCode::invalid_argument,
        fmt::format("--keep {}: no convolution of {} has a name that starts so",
                    io::quote(keep[static_cast<std::size_t>(unmatched - matched.begin())]), checkpoint.name())};
  if (chosen == 0) return fault("no convolution is left to quantize", ErrorCode::invalid_argument);
  return tensors;
}

}  // namespace yolo
