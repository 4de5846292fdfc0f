#include "llama/activations.hpp"

#include <fmt/format.h>

#include <span>
#include <string_view>
#include <utility>

#include "llama/architecture.hpp"

namespace llama {
using pare::Error;
using pare::Result;

namespace {

Result<void> prepare_packed(Linear& linear, const WeightFiles& files, pare::Executor executor) {
  const io::PackedMatrix* packed = linear.packed();
  if (packed == nullptr || !io::PreparedMatrix::takes(packed->scheme())) return {};
  auto prepared = io::PreparedMatrix::prepare(*packed, {.executor = executor});
  if (!prepared) return std::move(prepared).error();
  for (const auto part : {packed->codes(), packed->scales(), packed->zero_points()}) files.release(part);
  linear = Linear(*std::move(prepared));
  return {};
}

/// A layer whose codes or their groups cannot be prepared stays in floats.
Result<void> prepare_coded(Linear& linear, const WeightFiles& files, std::string_view name, pare::Executor executor) {
  const auto codes = files.read_coded(name);
  auto prepared =
      codes ? io::PreparedMatrix::prepare(*codes, {.executor = executor}) : Result<io::PreparedMatrix>(codes.error());
  if (!prepared && prepared.error().code == pare::ErrorCode::unsupported) return {};
  if (!prepared) return std::move(prepared).error();
  linear = Linear(*std::move(prepared));
  return {};
}

}  // namespace

Result<void> prepare(Block& block, const WeightFiles& files, const Config& config, std::size_t layer,
                     pare::Executor executor) {
  for (const LinearRole role : linear_roles) {
    Linear& linear = block[role];
    auto done = linear.floats() == nullptr
                    ? prepare_packed(linear, files, executor)
                    : prepare_coded(linear, files, expected_linear(config, layer, role).name, executor);
    if (!done) return done;
  }
  return {};
}

Result<void> prepare_head(Ends& ends, const WeightFiles& files, pare::Executor executor) {
  const FloatMatrix* floats = ends.head.floats();
  if (floats == nullptr) return prepare_packed(ends.head, files, executor);
  const auto view = floats->view();
  const auto elements = std::as_bytes(std::span(view.data, view.rows * view.cols));
  const auto packed =
      io::PackedMatrix::quantize(prepared_head_scheme, io::DType::f32, elements, view.shape(), {.executor = executor});
  if (!packed) return Error{packed.error().code, fmt::format("{}: head: {}", files.name(), packed.error().message)};
  auto prepared = io::PreparedMatrix::prepare(*packed, {.executor = executor});
  if (!prepared) return std::move(prepared).error();
  ends.head = Linear(*std::move(prepared));
  return {};
}

}  // namespace llama
