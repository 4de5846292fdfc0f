#include "llama/activations.hpp"

#include <fmt/format.h>

#include <span>
#include <utility>

#include "llama/architecture.hpp"

namespace llama {
using pare::Error;
using pare::Result;

namespace {

pare::ActivationScales scales_of(Activations activations) {
  return activations == Activations::int8_row ? pare::ActivationScales::per_row : pare::ActivationScales::per_group;
}

Result<void> prepare_packed(Linear& linear, const WeightFiles& files, Activations activations,
                            pare::Executor executor) {
  const io::PackedMatrix* packed = linear.packed();
  if (packed == nullptr || !io::PreparedMatrix::takes(packed->scheme())) return {};
  auto prepared = io::PreparedMatrix::prepare(*packed, {.executor = executor}, scales_of(activations));
  if (!prepared) return std::move(prepared).error();
  for (const auto part : {packed->codes(), packed->scales(), packed->zero_points()}) files.release(part);
  linear = Linear(*std::move(prepared));
  return {};
}

}  // namespace

Result<Linear> load_prepared(const WeightFiles& files, const ExpectedTensor& expected, Activations activations,
                             pare::Executor executor) {
  const auto found = files.require(expected);
  if (!found) return found.error();
  if (!(*found)->packed) {
    const auto codes = files.read_coded(expected.name);
    auto prepared = codes ? io::PreparedMatrix::prepare(*codes, {.executor = executor}, scales_of(activations))
                          : Result<io::PreparedMatrix>(codes.error());
    if (prepared) return Linear(*std::move(prepared));
    // A layer without codes, or whose codes or their groups cannot be prepared, is read as floats.
    if (prepared.error().code != pare::ErrorCode::unsupported) return std::move(prepared).error();
  }
  auto linear = load_linear(files, expected);
  if (!linear) return linear;
  if (auto done = prepare_packed(*linear, files, activations, executor); !done) return std::move(done).error();
  return linear;
}

Result<void> prepare_head(Ends& ends, const WeightFiles& files, Activations activations, pare::Executor executor) {
  const FloatMatrix* floats = ends.head.floats();
  if (floats == nullptr) return prepare_packed(ends.head, files, activations, executor);
  const auto view = floats->view();
  const auto elements = std::as_bytes(std::span(view.data, view.rows * view.cols));
  const auto packed =
      io::PackedMatrix::quantize(prepared_head_scheme, io::DType::f32, elements, view.shape(), {.executor = executor});
  if (!packed) return Error{packed.error().code, fmt::format("{}: head: {}", files.name(), packed.error().message)};
  auto prepared = io::PreparedMatrix::prepare(*packed, {.executor = executor}, scales_of(activations));
  if (!prepared) return std::move(prepared).error();
  ends.head = Linear(*std::move(prepared));
  return {};
}

}  // namespace llama
