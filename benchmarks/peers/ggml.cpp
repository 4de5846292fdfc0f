// pare beside ggml: the same work from the same buffers, on one thread, one after the other round after round; medians
// of per-thread CPU time. The last column says how many times faster pare is; below 1 it is slower.
//
//   pare_bench_ggml [MiB of float32 weights for the conversions; default 0.25]
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>
#ifdef PARE_GGML_CPU
#include <ggml-cpu.h>
#endif

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "pare/tensor/tensor.hpp"
#include "round_robin.hpp"

namespace {

using Int8Group32F16 = pare::Scheme<8, pare::Symmetric, pare::PerGroup<32>, pare::f16>;
using Int4AsymGroup32F16 = pare::Scheme<4, pare::Asymmetric, pare::PerGroup<32>, pare::f16>;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "pare_bench_ggml: %s\n", what.c_str());
  std::exit(1);
}

/// Prints cases of ggml's, each with the `ours` of pare's that follow it; `work` divided by seconds is in `unit`.
void print_beside(const char* title, const char* unit, double work, std::vector<Case> cases, std::size_t ours = 1) {
  time_round_robin(cases);
  std::printf("\n| %s | %s |", title, unit);
  for (std::size_t i = 0; i < ours; ++i) std::printf(" pare | %s | pare / ggml |", unit);
  std::printf("\n|---|---|");
  for (std::size_t i = 0; i < ours; ++i) std::printf("---|---|---|");
  for (std::size_t i = 0; i + ours < cases.size(); i += ours + 1) {
    const double theirs = work / cases[i].median();
    std::printf("\n| %s | %.1f |", cases[i].name.c_str(), theirs);
    for (std::size_t j = i + 1; j <= i + ours; ++j)
      std::printf(" %s | %.1f | %.2f |", cases[j].name.c_str(), work / cases[j].median(),
                  work / cases[j].median() / theirs);
  }
  std::printf("\n");
}

template <class S>
pare::PackedTensor<S> pack(pare::MatrixView<const float> weights) {
  auto packed = pare::quantize<S>(weights);
  if (!packed) fail(packed.error().message);
  return std::move(*packed);
}

struct Conversions {
  pare::MatrixView<const float> weights;
  std::vector<Case> quantize = {}, dequantize = {};
  std::vector<float> out = std::vector<float>(weights.rows * weights.cols);

  [[nodiscard]] std::size_t count() const { return out.size(); }

  template <class S>
  void add(ggml_type type, const char* name) {
    const auto rows = static_cast<std::int64_t>(weights.rows), cols = static_cast<std::int64_t>(weights.cols);
    const auto blocks = std::make_shared<std::vector<std::uint8_t>>(ggml_row_size(type, cols) * weights.rows);
    quantize.push_back(
        {name, [=, this] { ggml_quantize_chunk(type, weights.data, blocks->data(), 0, rows, cols, nullptr); }});
    const auto packed = std::make_shared<pare::PackedTensor<S>>(pack<S>(weights));
    const Case ours{std::string(pare::name<S>()), [=, this] {
                      if (!pare::quantize_into<S>(weights, packed->view())) fail("quantize");
                    }};
    quantize.push_back(ours);
#ifdef PARE_GGML_CPU
    quantize.push_back({std::string(name) + " of the CPU backend", [=, this] {
                          ggml_get_type_traits_cpu(type)->from_float(weights.data, blocks->data(), rows * cols);
                        }});
    quantize.push_back(ours);
#endif
    dequantize.push_back(
        {name, [=, this] { ggml_get_type_traits(type)->to_float(blocks->data(), out.data(), rows * cols); }});
    dequantize.push_back({std::string(pare::name<S>()), [=, this] {
                            const pare::MatrixView<float> view(out.data(), weights.rows, weights.cols);
                            if (!pare::dequantize<S>(packed->view(), view)) fail("dequantize");
                          }});
  }
};

/// One product y = x * W^T in ggml: weights of a type, in the CPU backend's own layout on request.
class GgmlProduct {
 public:
  GgmlProduct(ggml_backend_t backend, ggml_backend_buffer_type_t weight_memory, ggml_type type,
              pare::MatrixView<const float> weights, pare::MatrixView<const float> x)
      : backend_(backend) {
    const auto k = static_cast<std::int64_t>(weights.cols), n = static_cast<std::int64_t>(weights.rows);
    const ggml_init_params parameters{8 * ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true};
    weight_context_ = ggml_init(parameters);
    context_ = ggml_init(parameters);
    ggml_tensor* w = ggml_new_tensor_2d(weight_context_, type, k, n);
    ggml_tensor* input = ggml_new_tensor_2d(context_, GGML_TYPE_F32, k, static_cast<std::int64_t>(x.rows));
    y_ = ggml_mul_mat(context_, w, input);
    graph_ = ggml_new_graph(context_);
    ggml_build_forward_expand(graph_, y_);
    weight_buffer_ = ggml_backend_alloc_ctx_tensors_from_buft(weight_context_, weight_memory);
    buffer_ = ggml_backend_alloc_ctx_tensors(context_, backend);
    if (weight_buffer_ == nullptr || buffer_ == nullptr) fail("ggml has no memory");
    std::vector<std::uint8_t> blocks(ggml_nbytes(w));
    if (type == GGML_TYPE_F32)
      std::memcpy(blocks.data(), weights.data, blocks.size());
    else
      ggml_quantize_chunk(type, weights.data, blocks.data(), 0, n, k, nullptr);
    ggml_backend_tensor_set(w, blocks.data(), 0, blocks.size());
    ggml_backend_tensor_set(input, x.data, 0, ggml_nbytes(input));
  }
  ~GgmlProduct() {
    ggml_backend_buffer_free(buffer_);
    ggml_backend_buffer_free(weight_buffer_);
    ggml_free(context_);
    ggml_free(weight_context_);
  }
  GgmlProduct(const GgmlProduct&) = delete;
  GgmlProduct& operator=(const GgmlProduct&) = delete;

  void run() const {
    if (ggml_backend_graph_compute(backend_, graph_) != GGML_STATUS_SUCCESS) fail("ggml refuses the graph");
  }
  [[nodiscard]] std::vector<float> result() const {
    std::vector<float> y(ggml_nbytes(y_) / sizeof(float));
    ggml_backend_tensor_get(y_, y.data(), 0, ggml_nbytes(y_));
    return y;
  }

 private:
  ggml_backend_t backend_;
  ggml_context *weight_context_ = nullptr, *context_ = nullptr;
  ggml_tensor* y_ = nullptr;
  ggml_cgraph* graph_ = nullptr;
  ggml_backend_buffer_t weight_buffer_ = nullptr, buffer_ = nullptr;
};

/// The CPU backend on one thread, and the memory in which it keeps weights in a layout of its own; null if there is
/// none.
struct GgmlCpu {
  ggml_backend_t backend = nullptr;
  ggml_backend_buffer_type_t plain = nullptr, repacked = nullptr;

  GgmlCpu() {
    ggml_backend_load_all();
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (device == nullptr) fail("ggml has no CPU backend");
    backend = ggml_backend_dev_init(device, nullptr);
    plain = ggml_backend_dev_buffer_type(device);
    ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(device);
    const auto set_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(
        ggml_backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads"));
    if (set_threads == nullptr) fail("the number of ggml's threads cannot be set");
    set_threads(backend, 1);
    const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(registry, "ggml_backend_dev_get_extra_bufts"));
    if (extra == nullptr) return;
    for (auto* memory = extra(device); memory != nullptr && *memory != nullptr; ++memory)
      if (std::string_view(ggml_backend_buft_name(*memory)) == "CPU_REPACK") repacked = *memory;
  }
  ~GgmlCpu() { ggml_backend_free(backend); }
  GgmlCpu(const GgmlCpu&) = delete;
  GgmlCpu& operator=(const GgmlCpu&) = delete;
};

struct Products {
  const GgmlCpu& cpu;
  pare::MatrixView<const float> weights, x;
  std::vector<Case> cases = {};

  template <class S>
  void add(ggml_type type, ggml_backend_buffer_type_t memory, const char* name) {
    const auto theirs = std::make_shared<GgmlProduct>(cpu.backend, memory, type, weights, x);
    const auto packed = std::make_shared<pare::PackedTensor<S>>(pack<S>(weights));
    const auto y = std::make_shared<std::vector<float>>(x.rows * weights.rows);
    const auto ours = [=, this] {
      const pare::MatrixView<float> view(y->data(), x.rows, weights.rows);
      if (!pare::matmul<S>(packed->view(), x, view)) fail("matmul");
    };
    auto weights_once = pare::prepare(*packed);
    if (!weights_once) fail(weights_once.error().message);
    const auto prepared = std::make_shared<pare::PreparedTensor<S>>(*std::move(weights_once));
    const auto ours_prepared = [=, this] {
      const pare::MatrixView<float> view(y->data(), x.rows, weights.rows);
      if (!pare::matmul(*prepared, x, view)) fail("matmul of prepared weights");
    };
    theirs->run();
    ours();
    check(theirs->result(), *y, name);
    ours_prepared();
    check(theirs->result(), *y, name);
    cases.push_back({name, [theirs] { theirs->run(); }});
    cases.push_back({std::string(pare::name<S>()), ours});
    cases.push_back({"prepared", ours_prepared});
  }

  /// Both compute the same product, but for the rounding of weights and of activations.
  static void check(const std::vector<float>& a, const std::vector<float>& b, const char* name) {
    double error = 0.0, norm = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      error += static_cast<double>(a[i] - b[i]) * static_cast<double>(a[i] - b[i]);
      norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
    if (a.size() != b.size() || !(error < 0.05 * norm)) fail(std::string(name) + " and pare give different products");
  }
};

void compare_products(const GgmlCpu& cpu, pare::MatrixView<const float> weights, pare::MatrixView<const float> x) {
  Products products{cpu, weights, x};
  products.add<pare::catalog::Int4Group32F16>(GGML_TYPE_Q4_0, cpu.plain, "q4_0");
  if (cpu.repacked != nullptr)
    products.add<pare::catalog::Int4Group32F16>(GGML_TYPE_Q4_0, cpu.repacked, "q4_0 repacked");
  products.add<Int4AsymGroup32F16>(GGML_TYPE_Q4_1, cpu.plain, "q4_1");
  products.add<Int8Group32F16>(GGML_TYPE_Q8_0, cpu.plain, "q8_0");
  products.add<pare::catalog::MXFP4>(GGML_TYPE_MXFP4, cpu.plain, "mxfp4");
  products.add<pare::catalog::Int4Group32>(GGML_TYPE_F32, cpu.plain, "f32");
  products.add<pare::catalog::Int8Group32>(GGML_TYPE_F32, cpu.plain, "f32");
  const std::string title = "product, M = " + std::to_string(x.rows);
  const double flops = 2.0 * static_cast<double>(x.rows) * static_cast<double>(weights.rows * weights.cols);
  print_beside(title.c_str(), "GFLOP/s", flops * 1e-9, std::move(products.cases), 2);
}

}  // namespace

int main(int argc, char** argv) {
  constexpr std::size_t k = 4096, n = 4096;
  const double mebibytes = argc > 1 ? std::atof(argv[1]) : 0.25;
  const double wanted_rows = mebibytes * 1048576.0 / (sizeof(float) * k);
  if (argc > 2 || !(wanted_rows >= 1.0 && wanted_rows < 1e6))
    fail("usage: pare_bench_ggml [MiB of float32 weights, 0.02 to 15000]");
  const auto rows = static_cast<std::size_t>(wanted_rows);

  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> weights(std::max(rows, n) * k), x(120 * k);
  for (float& v : x) v = normal(random);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = x[i * 7919 % x.size()];

  const GgmlCpu cpu;
  Conversions conversions{pare::MatrixView<const float>(weights.data(), rows, k)};
  conversions.add<pare::catalog::Int4Group32F16>(GGML_TYPE_Q4_0, "q4_0");
  conversions.add<Int4AsymGroup32F16>(GGML_TYPE_Q4_1, "q4_1");
  conversions.add<Int8Group32F16>(GGML_TYPE_Q8_0, "q8_0");
  conversions.add<pare::catalog::MXFP4>(GGML_TYPE_MXFP4, "mxfp4");
  const double bytes = static_cast<double>(conversions.count() * sizeof(float));
  print_beside("quantize", "GB/s", bytes * 1e-9, std::move(conversions.quantize));
  print_beside("dequantize", "GB/s", bytes * 1e-9, std::move(conversions.dequantize));

  const pare::MatrixView<const float> matrix(weights.data(), n, k);
  compare_products(cpu, matrix, pare::MatrixView<const float>(x.data(), 1, k));
  compare_products(cpu, matrix, pare::MatrixView<const float>(x.data(), 120, k));
  return 0;
}
