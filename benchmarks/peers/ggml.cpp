#include <fmt/format.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>
#ifdef PARE_GGML_CPU
#include <ggml-cpu.h>
#endif

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pare/metrics/metrics.hpp"
#include "pare/quantize/quantize.hpp"
#include "peers.hpp"

namespace peers {
namespace {

using Int8Group32F16 = pare::Scheme<8, pare::Symmetric, pare::PerGroup<32>, pare::f16>;
using Int4AsymGroup32F16 = pare::Scheme<4, pare::Asymmetric, pare::PerGroup<32>, pare::f16>;

struct Conversions {
  pare::MatrixView<const float> weights;
  std::vector<Row> quantize = {}, dequantize = {};
  std::vector<float> out = std::vector<float>(weights.rows * weights.cols);

  [[nodiscard]] std::size_t count() const { return out.size(); }

  template <class S>
  void add(ggml_type type, const char* name, double quantize_goal = 1.0) {
    const auto rows = static_cast<std::int64_t>(weights.rows), cols = static_cast<std::int64_t>(weights.cols);
    const auto blocks = std::make_shared<std::vector<std::uint8_t>>(ggml_row_size(type, cols) * weights.rows);
    const auto packed = std::make_shared<pare::PackedTensor<S>>(value(pare::quantize<S>(weights)));
    const Case ours{std::string(pare::name<S>()),
                    [=, this] { expect(pare::quantize_into<S>(weights, packed->view())); }};
    const auto theirs = [=, this] { ggml_quantize_chunk(type, weights.data, blocks->data(), 0, rows, cols, nullptr); };
    quantize.push_back({{name, theirs}, {ours}, quantize_goal});
#ifdef PARE_GGML_CPU
    const auto of_the_backend = [=, this] {
      ggml_get_type_traits_cpu(type)->from_float(weights.data, blocks->data(), rows * cols);
    };
    quantize.push_back({{std::string(name) + " of the CPU backend", of_the_backend}, {ours}});
#endif
    const auto decode_theirs = [=, this] {
      ggml_get_type_traits(type)->to_float(blocks->data(), out.data(), rows * cols);
    };
    const auto decode_ours = [=, this] {
      expect(pare::dequantize<S>(packed->view(), pare::MatrixView<float>(out.data(), weights.rows, weights.cols)));
    };
    dequantize.push_back({{name, decode_theirs}, {{std::string(pare::name<S>()), decode_ours}}});
  }
};

/// Both programs write the same kind of blocks, whose signal to noise stands beside their names.
struct Searches {
  pare::MatrixView<const float> weights;
  std::vector<Row> table = {};

  void add(ggml_type type, pare::gguf::BlockType block_type, const char* name, double goal = 1.0) {
    const auto rows = static_cast<std::int64_t>(weights.rows), cols = static_cast<std::int64_t>(weights.cols);
    const auto blocks = std::make_shared<std::vector<std::uint8_t>>(ggml_row_size(type, cols) * weights.rows);
    const auto theirs = [=, this] { ggml_quantize_chunk(type, weights.data, blocks->data(), 0, rows, cols, nullptr); };
    const auto ours = [=, this] { expect(pare::gguf::quantize_fast(block_type, weights, *blocks)); };
    const auto with_signal = [&](const std::string& what, const auto& quantize) {
      quantize();
      std::vector<float> out(weights.rows * weights.cols);
      expect(pare::gguf::dequantize(block_type, *blocks, out));
      const pare::MatrixView<const float> decoded(out.data(), weights.rows, weights.cols);
      return fmt::format("{}, {:.2f} dB", what, value(pare::sqnr(weights, decoded)));
    };
    table.push_back({{with_signal(name, theirs), theirs}, {{with_signal("quantize_fast", ours), ours}}, goal});
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

  /// The best backend for this processor, or that of a file.
  explicit GgmlCpu(const char* file) {
    if (file == nullptr)
      ggml_backend_load_all();
    else if (ggml_backend_load(file) == nullptr)
      fail(std::string("ggml cannot load ") + file);
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
  /// Whether the repacked memory has a layout for a type, which depends on the processor; it does not bear others.
  [[nodiscard]] bool repacks(ggml_type type) const {
    if (repacked == nullptr) return false;
    ggml_context* context = ggml_init({2 * ggml_tensor_overhead(), nullptr, true});
    const ggml_tensor* tensor = ggml_new_tensor_2d(context, type, 256, 16);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors_from_buft(context, repacked);
    const bool has_layout = buffer != nullptr && tensor->extra != nullptr;
    ggml_backend_buffer_free(buffer);
    ggml_free(context);
    return has_layout;
  }
  GgmlCpu(const GgmlCpu&) = delete;
  GgmlCpu& operator=(const GgmlCpu&) = delete;
};

struct Products {
  const GgmlCpu& cpu;
  pare::MatrixView<const float> weights, x;
  std::vector<Row> table = {};

  template <class S>
  void add(ggml_type type, ggml_backend_buffer_type_t memory, const char* name, double goal = 1.0) {
    const auto theirs = std::make_shared<GgmlProduct>(cpu.backend, memory, type, weights, x);
    const auto packed = std::make_shared<pare::PackedTensor<S>>(value(pare::quantize<S>(weights)));
    const auto y = std::make_shared<std::vector<float>>(x.rows * weights.rows);
    const auto ours = [=, this] {
      const pare::MatrixView<float> view(y->data(), x.rows, weights.rows);
      expect(pare::matmul<S>(packed->view(), x, view));
    };
    const auto prepared = std::make_shared<pare::PreparedTensor<S>>(value(pare::prepare(*packed)));
    const auto ours_prepared = [=, this] {
      const pare::MatrixView<float> view(y->data(), x.rows, weights.rows);
      expect(pare::matmul(*prepared, x, view));
    };
    theirs->run();
    ours();
    check_same_product(theirs->result(), *y, name);
    ours_prepared();
    check_same_product(theirs->result(), *y, name);
    table.push_back({{name, [theirs] { theirs->run(); }},
                     {{std::string(pare::name<S>()), ours}, {"prepared", ours_prepared}},
                     goal});
  }
};

/// Products with ggml's own blocks, which pare prepares as they are.
struct BlockProducts {
  const GgmlCpu& cpu;
  pare::MatrixView<const float> weights, x;
  std::vector<Row> table = {};

  void add(ggml_type type, pare::gguf::BlockType block_type, ggml_backend_buffer_type_t memory, const char* name) {
    const auto rows = static_cast<std::int64_t>(weights.rows), cols = static_cast<std::int64_t>(weights.cols);
    std::vector<std::uint8_t> blocks(ggml_row_size(type, cols) * weights.rows);
    ggml_quantize_chunk(type, weights.data, blocks.data(), 0, rows, cols, nullptr);
    const std::size_t shape[] = {weights.rows, blocks.size() / weights.rows};
    const pare::PartView part{"weight", pare::PartType::uint8, shape, blocks};
    const auto prepared = std::make_shared<pare::PreparedMatrix>(
        value(pare::prepare(value(pare::gguf::Blocks{block_type}.read({&part, 1})))));
    const auto theirs = std::make_shared<GgmlProduct>(cpu.backend, memory, type, weights, x);
    const auto y = std::make_shared<std::vector<float>>(x.rows * weights.rows);
    const auto ours = [=, this] {
      expect(pare::matmul(*prepared, x, pare::MatrixView<float>(y->data(), x.rows, weights.rows)));
    };
    theirs->run();
    ours();
    check_same_product(theirs->result(), *y, name);
    table.push_back({{name, [theirs] { theirs->run(); }}, {{"the same blocks, prepared", ours}}});
  }
};

void compare_block_products(const GgmlCpu& cpu, pare::MatrixView<const float> weights,
                            pare::MatrixView<const float> x) {
  BlockProducts products{cpu, weights, x};
  products.add(GGML_TYPE_Q4_K, pare::gguf::BlockType::q4_k, cpu.plain, "q4_K");
  if (cpu.repacked != nullptr) products.add(GGML_TYPE_Q4_K, pare::gguf::BlockType::q4_k, cpu.repacked, "q4_K repacked");
  products.add(GGML_TYPE_Q5_K, pare::gguf::BlockType::q5_k, cpu.plain, "q5_K");
  // Groups of 16 columns.
  products.add(GGML_TYPE_Q6_K, pare::gguf::BlockType::q6_k, cpu.plain, "q6_K");
  products.add(GGML_TYPE_Q3_K, pare::gguf::BlockType::q3_k, cpu.plain, "q3_K");
  products.add(GGML_TYPE_Q2_K, pare::gguf::BlockType::q2_k, cpu.plain, "q2_K");
  if (cpu.repacks(GGML_TYPE_Q2_K))
    products.add(GGML_TYPE_Q2_K, pare::gguf::BlockType::q2_k, cpu.repacked, "q2_K repacked");
  print_beside("product of blocks, M = " + std::to_string(x.rows), "ggml", "GFLOP/s", billions(weights, x),
               products.table);
}

void compare_products(const GgmlCpu& cpu, pare::MatrixView<const float> weights, pare::MatrixView<const float> x,
                      double repacked_goal) {
  Products products{cpu, weights, x};
  products.add<pare::catalog::Int4Group32F16>(GGML_TYPE_Q4_0, cpu.plain, "q4_0");
  if (cpu.repacked != nullptr)
    products.add<pare::catalog::Int4Group32F16>(GGML_TYPE_Q4_0, cpu.repacked, "q4_0 repacked", repacked_goal);
  products.add<Int4AsymGroup32F16>(GGML_TYPE_Q4_1, cpu.plain, "q4_1");
  products.add<Int8Group32F16>(GGML_TYPE_Q8_0, cpu.plain, "q8_0");
  products.add<pare::catalog::MXFP4>(GGML_TYPE_MXFP4, cpu.plain, "mxfp4");
  products.add<pare::catalog::Int4Group32>(GGML_TYPE_F32, cpu.plain, "f32");
  products.add<pare::catalog::Int8Group32>(GGML_TYPE_F32, cpu.plain, "f32");
  print_beside("product, M = " + std::to_string(x.rows), "ggml", "GFLOP/s", billions(weights, x), products.table);
}

}  // namespace

void compare_ggml(const Inputs& inputs) {
  const GgmlCpu cpu(inputs.avx2);
  Conversions conversions{inputs.converted()};
  conversions.add<pare::catalog::Int4Group32F16>(GGML_TYPE_Q4_0, "q4_0", inputs.goal(30.0));
  conversions.add<Int4AsymGroup32F16>(GGML_TYPE_Q4_1, "q4_1");
  conversions.add<Int8Group32F16>(GGML_TYPE_Q8_0, "q8_0");
  conversions.add<pare::catalog::MXFP4>(GGML_TYPE_MXFP4, "mxfp4", inputs.goal(60.0));
  const double gigabytes = 1e-9 * static_cast<double>(conversions.count() * sizeof(float));
  print_beside("quantize", "ggml", "GB/s", gigabytes, conversions.quantize);
  print_beside("dequantize", "ggml", "GB/s", gigabytes, conversions.dequantize);
  Searches searches{inputs.converted()};
  searches.add(GGML_TYPE_Q2_K, pare::gguf::BlockType::q2_k, "q2_K");
  searches.add(GGML_TYPE_Q3_K, pare::gguf::BlockType::q3_k, "q3_K");
  searches.add(GGML_TYPE_Q4_K, pare::gguf::BlockType::q4_k, "q4_K", inputs.goal(10.0));
  searches.add(GGML_TYPE_Q5_K, pare::gguf::BlockType::q5_k, "q5_K");
  searches.add(GGML_TYPE_Q6_K, pare::gguf::BlockType::q6_k, "q6_K");
  print_beside("quantize by search", "ggml", "GB/s", gigabytes, searches.table);
  compare_products(cpu, inputs.weights, inputs.first_rows(1), 1.0);
  compare_products(cpu, inputs.weights, inputs.x, inputs.goal(3.0));
  compare_block_products(cpu, inputs.weights, inputs.first_rows(1));
  compare_block_products(cpu, inputs.weights, inputs.x);
}

}  // namespace peers
