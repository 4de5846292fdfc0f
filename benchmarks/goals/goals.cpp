// How near the kernels are to what this machine does at best: a row for each goal, all from one run. Everything takes
// its turn round after round; medians of the thread's processor time.
//
//   pare_bench_goals
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "checked.hpp"
#include "goals/limits.hpp"
#include "io/thread_pool.hpp"
#include "pare/tensor/tensor.hpp"
#include "round_robin.hpp"

namespace {

using pare::MatrixView;
namespace catalog = pare::catalog;

constexpr std::size_t columns = 4096;

/// Kernels beside a limit: what each does, in the same unit, and the share of the limit that is the goal.
class Goals {
 public:
  Goals(std::string title, std::string unit, double goal, double (*clock)() = thread_seconds)
      : title_(std::move(title)), unit_(std::move(unit)), goal_(goal), clock_(clock) {}

  /// A case that does `work` units in a run. The first one is the limit, the others are the kernels.
  void add(std::string_view name, double work, std::function<void()> run) {
    cases_.push_back({std::string(name), std::move(run)});
    works_.push_back(work);
  }

  /// Times everything and prints a row for each kernel.
  void print() {
    time_round_robin(cases_, clock_);
    const auto rate = [&](std::size_t i) { return works_[i] / cases_[i].median(); };
    const double limit = rate(0);
    for (std::size_t i = 1; i < cases_.size(); ++i)
      std::printf("| %s | %s | %.1f %s | %s, %.1f | %.2f | %.2f | %s |\n", title_.c_str(), cases_[i].name.c_str(),
                  rate(i), unit_.c_str(), cases_[0].name.c_str(), limit, rate(i) / limit, goal_,
                  rate(i) >= goal_ * limit ? "met" : "missed");
    std::fflush(stdout);
  }

 private:
  std::string title_, unit_;
  double goal_;
  double (*clock_)();
  std::vector<Case> cases_;
  std::vector<double> works_;
};

/// Matrices to read and to write, which outlive the cases.
struct Matrices {
  MatrixView<const float> from;
  MatrixView<float> to;

  [[nodiscard]] std::size_t bytes() const { return from.rows * from.cols * sizeof(float); }
  [[nodiscard]] double gigabytes() const { return 1e-9 * static_cast<double>(bytes()); }
};

template <class S>
void add_quantize(Goals& goals, const Matrices& m, const pare::Options& options = {}) {
  const auto packed = std::make_shared<pare::PackedTensor<S>>(value(pare::quantize<S>(m.from)));
  goals.add(pare::name<S>(), m.gigabytes(), [=] { expect(pare::quantize_into<S>(m.from, packed->view(), options)); });
}

/// Elements of two bytes count as such.
template <class S, class T = float>
void add_dequantize(Goals& goals, const Matrices& m, const pare::Options& options = {}) {
  const auto packed = std::make_shared<pare::PackedTensor<S>>(value(pare::quantize<S>(m.from)));
  const MatrixView<T> out(reinterpret_cast<T*>(m.to.data), m.to.rows, m.to.cols);
  goals.add(pare::name<S>(), m.gigabytes() * sizeof(T) / sizeof(float),
            [=] { expect(pare::dequantize<S>(packed->view(), out, options)); });
}

/// NVFP4 under a known scale of the tensor, and read twice.
void add_nvfp4(Goals& quantize, Goals& dequantize, const Matrices& m) {
  constexpr auto dialect = pare::Nvfp4Dialect::modelopt;
  const auto packed = std::make_shared<pare::Nvfp4Tensor<dialect>>(value(pare::quantize_nvfp4<dialect>(m.from)));
  quantize.add("nvfp4, calibrated", m.gigabytes(),
               [=] { expect(pare::quantize_nvfp4_into<dialect>(m.from, packed->view())); });
  quantize.add("nvfp4", m.gigabytes(), [=] { static_cast<void>(value(pare::quantize_nvfp4<dialect>(m.from))); });
  dequantize.add("nvfp4", m.gigabytes(), [=] { expect(pare::dequantize(*packed, m.to)); });
}

/// The formats whose conversions have goals.
using Converted =
    pare::SchemeList<catalog::Int4Group32, catalog::Int4Group128, catalog::Int4Group32F16, catalog::Int8Group32,
                     catalog::NF4Group64, catalog::MXFP4, catalog::MXFP8, catalog::FP8Tensor>;

/// One of each kind, for elements of two bytes.
using ConvertedToHalves =
    pare::SchemeList<catalog::Int4Group32, catalog::Int8Group32, catalog::NF4Group64, catalog::MXFP4, catalog::MXFP8>;

void conversions(const Matrices& cache, const Matrices& memory) {
  const auto copy = [=] { std::memcpy(cache.to.data, cache.from.data, cache.bytes()); };
  const auto load = [=] { limits::load({reinterpret_cast<const std::byte*>(memory.from.data), memory.bytes()}); };
  const auto store = [=] {
    limits::store_non_temporal({reinterpret_cast<std::byte*>(memory.to.data), memory.bytes()});
  };
  Goals groups[] = {{"quantize, in cache", "GB/s", 0.8},           {"quantize, from memory", "GB/s", 0.8},
                    {"dequantize, in cache", "GB/s", 1.3},         {"dequantize, to memory", "GB/s", 0.95},
                    {"dequantize to bf16, in cache", "GB/s", 1.3}, {"dequantize to bf16, to memory", "GB/s", 0.95},
                    {"dequantize to f16, in cache", "GB/s", 1.3},  {"dequantize to f16, to memory", "GB/s", 0.95}};
  groups[0].add("memcpy", cache.gigabytes(), copy);
  groups[1].add("loads", memory.gigabytes(), load);
  for (const std::size_t in_cache : {2u, 4u, 6u}) {
    groups[in_cache].add("memcpy", cache.gigabytes(), copy);
    groups[in_cache + 1].add("non-temporal stores", memory.gigabytes(), store);
  }
  Converted::for_each([&]<class S>(std::type_identity<S>) {
    add_quantize<S>(groups[0], cache);
    add_quantize<S>(groups[1], memory);
    add_dequantize<S>(groups[2], cache);
    add_dequantize<S>(groups[3], memory);
  });
  add_nvfp4(groups[0], groups[2], cache);
  add_nvfp4(groups[1], groups[3], memory);
  ConvertedToHalves::for_each([&]<class S>(std::type_identity<S>) {
    add_dequantize<S, pare::BFloat16>(groups[4], cache);
    add_dequantize<S, pare::BFloat16>(groups[5], memory);
    add_dequantize<S, pare::Half>(groups[6], cache);
    add_dequantize<S, pare::Half>(groups[7], memory);
  });
  for (Goals& group : groups) group.print();
}

/// Prepared weights of `rows` rows, `x` and where their product goes.
template <class S>
std::function<void()> product(std::size_t rows, MatrixView<const float> weights, MatrixView<const float> x,
                              const pare::Options& options = {},
                              pare::ActivationScales scales = pare::ActivationScales::per_group) {
  // The same rows again and again, so that what comes from memory need not be there as floats.
  auto packed = value(pare::PackedTensor<S>::allocate({rows, columns}));
  const pare::PackedSpan<S> all = packed.view();
  for (std::size_t r = 0; r < rows; r += weights.rows) {
    const pare::Shape shape{std::min(weights.rows, rows - r), columns};
    const pare::PackedSpan<S> part{shape, all.row_codes(r), all.stored_scale(all.first_block(r))};
    expect(pare::quantize_into<S>(MatrixView<const float>(weights.data, shape.rows, columns), part));
  }
  const auto prepared = std::make_shared<pare::PreparedTensor<S>>(value(pare::prepare(packed)));
  const auto y = std::make_shared<std::vector<float>>(x.rows * rows);
  return [=] { expect(pare::matmul(*prepared, x, MatrixView<float>(y->data(), x.rows, rows), options, scales)); };
}

/// The schemes of the products of many rows.
using Many = pare::SchemeList<catalog::Int4Group32, catalog::Int4Group128, catalog::Int8Group32, catalog::Int8Channel>;

/// What a scheme is called where rows of activations have one scale, as those of the peers that reach most.
std::string with_rows(std::string_view scheme) { return std::string(scheme) + ", a scale for each row"; }

double billions(std::size_t m, std::size_t n) { return 2e-9 * static_cast<double>(m * n * columns); }

void products(MatrixView<const float> weights, MatrixView<const float> x) {
  const MatrixView<const float> row(x.data, 1, columns);
  if (limits::has_vnni()) {
    Goals many("product of 128 rows", "GFLOP/s", 0.85);
    many.add("VNNI alone", 1e-9 * limits::multiply_bytes_vnni(), [] { limits::multiply_bytes_vnni(); });
    Many::for_each([&]<class S>(std::type_identity<S>) {
      many.add(pare::name<S>(), billions(x.rows, columns), product<S>(columns, weights, x));
      many.add(with_rows(pare::name<S>()), billions(x.rows, columns),
               product<S>(columns, weights, x, {}, pare::ActivationScales::per_row));
    });
    many.print();
  }
  using Int4 = catalog::Int4Group32F16;
  constexpr std::size_t rows = 65536;
  const std::size_t bytes = value(pare::packed_sizes<Int4>({rows, columns})).total();
  const std::vector<std::byte> packed(bytes);
  Goals memory("product of one row, weights from memory", "GB/s of weights", 0.95);
  const double gigabytes = 1e-9 * static_cast<double>(bytes);
  memory.add("loads", gigabytes, [&] { limits::load(packed); });
  memory.add(pare::name<Int4>(), gigabytes, product<Int4>(rows, weights, row));
  memory.print();

  if (limits::has_vnni()) {
    Goals cache("product of one row, weights in cache", "GFLOP/s", 0.51);  // 500 of 978 where the goals were set
    cache.add("VNNI alone", 1e-9 * limits::multiply_bytes_vnni(), [] { limits::multiply_bytes_vnni(); });
    cache.add(pare::name<Int4>(), billions(1, 256), product<Int4>(256, weights, row));
    cache.add(with_rows(pare::name<Int4>()), billions(1, 256),
              product<Int4>(256, weights, row, {}, pare::ActivationScales::per_row));
    cache.print();
  }
}

/// Two threads beside one, by the time that passes.
void threads(const Matrices& m, MatrixView<const float> x) {
  using S = catalog::Int4Group32;
  io::ThreadPool pool(2);
  if (pool.threads() != 2) return;
  const pare::Options both{.executor = pool};
  Goals quantize("quantize on two threads", "GB/s", 1.9, wall_seconds);
  Goals dequantize("dequantize on two threads", "GB/s", 1.9, wall_seconds);
  Goals multiply("product of 128 rows on two threads", "GFLOP/s", 1.9, wall_seconds);
  const auto packed = std::make_shared<pare::PackedTensor<S>>(value(pare::quantize<S>(m.from)));
  quantize.add("one thread", m.gigabytes(), [=] { expect(pare::quantize_into<S>(m.from, packed->view())); });
  dequantize.add("one thread", m.gigabytes(), [=] { expect(pare::dequantize<S>(packed->view(), m.to)); });
  constexpr std::size_t outputs = 1024;
  multiply.add("one thread", billions(x.rows, outputs), product<S>(outputs, m.from, x));
  add_quantize<S>(quantize, m, both);
  add_dequantize<S>(dequantize, m, both);
  multiply.add(pare::name<S>(), billions(x.rows, outputs), product<S>(outputs, m.from, x, both));
  for (Goals* goals : {&quantize, &dequantize, &multiply}) goals->print();

  // How much the second thread of this machine is worth at all.
  constexpr std::size_t times = 16;
  const double operations = 1e-9 * times * limits::multiply_bytes_vnni();
  Goals machine("two threads of the machine", "GFLOP/s", 1.9, wall_seconds);
  machine.add("one thread", operations, [] {
    for (std::size_t i = 0; i < times; ++i) limits::multiply_bytes_vnni();
  });
  machine.add("VNNI alone", operations, [&] { pool(times, [](std::size_t) { limits::multiply_bytes_vnni(); }); });
  if (limits::has_vnni()) machine.print();
}

}  // namespace

int main() {
  constexpr std::size_t in_cache = 16, in_memory = 16384, in_both_caches = 256, batch = 128;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  constexpr std::size_t bytes = in_memory * columns * sizeof(float);
  // Whole lines, which non-temporal stores need, and as tensors stand in files and in pare's own memory.
  pare::Buffer from = value(pare::Buffer::allocate(bytes)), to = value(pare::Buffer::allocate(bytes));
  auto* const weights = reinterpret_cast<float*>(from.data());
  auto* const out = reinterpret_cast<float*>(to.data());
  std::vector<float> x(batch * columns);
  for (float& v : x) v = normal(random);
  for (std::size_t i = 0; i < in_memory * columns; ++i) weights[i] = x[i * 7919 % x.size()];
  std::memset(out, 0, bytes);
  const auto matrices = [&](std::size_t rows) { return Matrices{{weights, rows, columns}, {out, rows, columns}}; };
  const MatrixView<const float> inputs(x.data(), batch, columns);

  std::printf("| work | scheme | pare | limit, the same unit | ratio | goal | |\n|---|---|---|---|---|---|---|\n");
  conversions(matrices(in_cache), matrices(in_memory));
  products(matrices(in_cache * 16).from, inputs);
  threads(matrices(in_both_caches), inputs);
  return 0;
}
