#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint.hpp"
#include "io/quantize_file.hpp"
#include "pare/core/result.hpp"

namespace yolo {

/// Whether a tensor is the weight of a convolution, [out, in, kh, kw], or of a transposed one, [in, out, kh, kw].
bool is_convolution(const io::TensorInfo& tensor);

/// Whether a name is that of the weight which turns the head's distributions into distances (distribution focal loss):
/// the fixed numbers 0, 1, 2, ..., which gain nothing from fewer bits.
bool is_dfl(std::string_view name);

/// All tensors of a YOLO11 checkpoint; those to be packed, as [first extent, product of the others], have `scheme`.
/// Packed are the convolutions but for the DFL's and for names that start with an element of `keep`. Errors: no
/// convolution, nothing left to pack, a batch norm without its convolution, a checkpoint with packed tensors, an
/// element of `keep` that no convolution's name starts with.
pare::Result<std::vector<io::PlannedTensor>> plan(const io::Checkpoint& checkpoint, std::string_view scheme,
                                                  std::span<const std::string> keep);

}  // namespace yolo
