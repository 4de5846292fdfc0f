#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/pickle.hpp"
#include "io/safetensors.hpp"
#include "io/tensor.hpp"
#include "pare/core/result.hpp"

namespace io {

/// Bytes of one element. PyTorch's own types have whole bytes.
constexpr std::size_t bytes_of(DType dtype) noexcept { return bits(dtype) / 8; }

/// A storage that a PyTorch pickle refers to: `elements` of the file's storage `key`, from `offset` on.
struct TorchStorage {
  std::string key;
  DType dtype = DType::u8;          ///< of the storage itself; u8 where it is untyped
  std::uint64_t file_elements = 0;  ///< of the whole storage in the file
  std::uint64_t offset = 0;
  std::uint64_t elements = 0;
};

/// A tensor of a PyTorch pickle: a strided view of a storage, everything counted in elements of `dtype`.
struct TorchTensor : TensorInfo {
  TorchStorage storage;
  std::uint64_t offset = 0;
  std::vector<std::uint64_t> strides;
};

/// The storage that the persistent identifier `id` describes. `file` starts the message of an error.
pare::Result<TorchStorage> torch_storage(const Pickle& pickle, Pickle::Ref id, std::string_view file);

/// The tensors of the model that a pickle of torch.save holds, under the names of its state_dict and in that order.
/// A checkpoint dict is searched for the model: under `ema` where that is set, then `model`, `state_dict`,
/// `model_state_dict` and `module`; of what it finds, a dict gives its tensors, and a module those that its
/// state_dict() would list. Whatever else there is is left alone, classes without a name here included. Shapes, strides
/// and offsets are checked against the storages. Errors name the tensor.
pare::Result<std::vector<TorchTensor>> torch_state_dict(const Pickle& pickle, std::string_view file);

/// What the checkpoint says about itself: the texts and numbers of its dict, and `names` and `yaml` of a module of
/// Ultralytics as JSON.
Metadata torch_metadata(const Pickle& pickle);

}  // namespace io
