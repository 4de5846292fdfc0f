#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <dnnl.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "peers.hpp"

namespace peers {
namespace {

using pare::catalog::Int8Channel;

/// y = x * W^T of eight-bit integers, the activations quantized with one scale for all in every run, in oneDNN's own
/// order of the weights.
class OnednnProduct {
 public:
  OnednnProduct(const pare::PackedTensor<Int8Channel>& weights, pare::MatrixView<const float> x)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_), y_(x.rows * weights.view().shape.rows) {
    using Memory = dnnl::memory;
    const auto packed = weights.view();
    const auto m = static_cast<Memory::dim>(x.rows), n = static_cast<Memory::dim>(packed.shape.rows),
               k = static_cast<Memory::dim>(packed.shape.cols);
    float largest = 0.0f;
    for (std::size_t i = 0; i < x.rows * x.cols; ++i) largest = std::max(largest, std::abs(x.data[i]));
    scale_x_ = largest / 127.0f;
    scales_w_.resize(packed.shape.rows);
    for (std::size_t r = 0; r < scales_w_.size(); ++r) scales_w_[r] = packed.scale(r);

    dnnl::primitive_attr to_codes;
    to_codes.set_scales_mask(DNNL_ARG_DST, 0);
    const Memory::desc floats({m, k}, Memory::data_type::f32, Memory::format_tag::ab);
    const Memory::desc codes({m, k}, Memory::data_type::s8, Memory::format_tag::ab);
    quantize_ = dnnl::reorder(dnnl::reorder::primitive_desc(engine_, floats, engine_, codes, to_codes));

    dnnl::primitive_attr scaled;
    scaled.set_scales_mask(DNNL_ARG_SRC, 0);
    scaled.set_scales_mask(DNNL_ARG_WEIGHTS, 1 << 1);
    const Memory::desc any({k, n}, Memory::data_type::s8, Memory::format_tag::any);
    const Memory::desc out({m, n}, Memory::data_type::f32, Memory::format_tag::ab);
    const dnnl::matmul::primitive_desc description(engine_, codes, any, out, scaled);
    product_ = dnnl::matmul(description);

    x_ = Memory(floats, engine_, const_cast<float*>(x.data));
    codes_ = Memory(codes, engine_);
    w_ = Memory(description.weights_desc(), engine_);
    out_ = Memory(out, engine_, y_.data());
    const Memory::desc rows({k, n}, Memory::data_type::s8, Memory::format_tag::ba);
    Memory plain(rows, engine_, const_cast<std::uint8_t*>(packed.codes));
    dnnl::reorder(plain, w_).execute(stream_, plain, w_);
    stream_.wait();
    const auto vector_of = [&](std::vector<float>& v) {
      const auto size = static_cast<Memory::dim>(v.size());
      return Memory({{size}, Memory::data_type::f32, Memory::format_tag::a}, engine_, v.data());
    };
    scale_of_x_.push_back(scale_x_);
    memory_scale_x_ = vector_of(scale_of_x_);
    memory_scale_w_ = vector_of(scales_w_);
  }
  OnednnProduct(const OnednnProduct&) = delete;
  OnednnProduct& operator=(const OnednnProduct&) = delete;

  void run() {
    quantize_.execute(
        stream_, {{DNNL_ARG_FROM, x_}, {DNNL_ARG_TO, codes_}, {DNNL_ARG_ATTR_SCALES | DNNL_ARG_DST, memory_scale_x_}});
    product_.execute(stream_, {{DNNL_ARG_SRC, codes_},
                               {DNNL_ARG_WEIGHTS, w_},
                               {DNNL_ARG_DST, out_},
                               {DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC, memory_scale_x_},
                               {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, memory_scale_w_}});
    stream_.wait();
  }
  [[nodiscard]] const std::vector<float>& result() const { return y_; }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::reorder quantize_;
  dnnl::matmul product_;
  dnnl::memory x_, codes_, w_, out_, memory_scale_x_, memory_scale_w_;
  float scale_x_ = 0.0f;
  std::vector<float> scale_of_x_, scales_w_, y_;
};

void compare_product(pare::MatrixView<const float> weights, pare::MatrixView<const float> x, double goal) {
  const auto packed = value(pare::quantize<Int8Channel>(weights));
  const auto theirs = std::make_shared<OnednnProduct>(packed, x);
  const auto prepared = std::make_shared<pare::PreparedTensor<Int8Channel>>(value(pare::prepare(packed)));
  const auto y = std::make_shared<std::vector<float>>(x.rows * weights.rows);
  const auto ours = [=] {
    expect(pare::matmul(*prepared, x, pare::MatrixView<float>(y->data(), x.rows, weights.rows), {},
                        pare::ActivationScales::per_row));
  };
  theirs->run();
  ours();
  check_same_product(theirs->result(), *y, "s8 x s8");
  print_beside("product, M = " + std::to_string(x.rows), "oneDNN", "GFLOP/s", billions(weights, x),
               {{{"s8 x s8", [theirs] { theirs->run(); }},
                 {{std::string(pare::name<Int8Channel>()) + ", prepared", ours}},
                 goal}});
}

}  // namespace

void compare_onednn(const Inputs& inputs) {
  omp_set_num_threads(1);
  if (inputs.avx2 != nullptr && dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2) != dnnl::status::success)
    fail("oneDNN cannot be kept to AVX2");
  compare_product(inputs.weights, inputs.first_rows(1), inputs.goal(0.95));
  compare_product(inputs.weights, inputs.x, inputs.goal(0.95));
}

}  // namespace peers
