#include <xnnpack.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "peers.hpp"

namespace peers {
namespace {

using Int4Group32BF16 = pare::Scheme<4, pare::Symmetric, pare::PerGroup<32>, pare::bf16>;

void check(xnn_status status, const char* what) {
  if (status != xnn_status_success) fail(std::string("XNNPACK refuses ") + what);
}

struct DeleteOperator {
  void operator()(xnn_operator_t op) const { xnn_delete_operator(op); }
};
using Operator = std::unique_ptr<xnn_operator, DeleteOperator>;

/// A fully connected layer with four-bit weights, a scale for each 32, and activations that it takes to eight bits, a
/// scale for each row.
class XnnpackProduct {
 public:
  XnnpackProduct(const pare::PackedTensor<Int4Group32BF16>& weights, pare::MatrixView<const float> x)
      : codes_(x.rows * x.cols + XNN_EXTRA_BYTES),
        parameters_(x.rows + XNN_EXTRA_QUANTIZATION_PARAMS),
        y_(x.rows * weights.view().shape.rows) {
    const auto packed = weights.view();
    const std::size_t n = packed.shape.rows, k = packed.shape.cols;
    // pare's codes are in two's complement, XNNPACK's count up from 8 below zero.
    std::vector<std::uint8_t> kernel(n * k / 2);
    for (std::size_t i = 0; i < kernel.size(); ++i) kernel[i] = packed.codes[i] ^ 0x88u;
    std::vector<std::uint16_t> scales(n * k / 32);
    std::memcpy(scales.data(), packed.scales, scales.size() * sizeof(std::uint16_t));
    constexpr float infinity = std::numeric_limits<float>::infinity();
    xnn_operator_t product = nullptr, convert = nullptr;
    check(xnn_create_fully_connected_nc_qd8_f32_qb4w(k, n, k, n, 32, 8, scales.data(), kernel.data(), nullptr,
                                                     -infinity, infinity, 0, nullptr, nullptr, &product),
          "the layer");
    product_.reset(product);
    check(xnn_create_convert_nc_f32_qd8(0, &convert), "the conversion");
    convert_.reset(convert);
    check(xnn_reshape_convert_nc_f32_qd8(convert, x.rows, k, k, k, nullptr), "the conversion's shape");
    check(xnn_setup_convert_nc_f32_qd8(convert, x.data, codes_.data(), parameters_.data()), "the conversion's memory");
    check(xnn_reshape_fully_connected_nc_qd8_f32_qb4w(product, x.rows, nullptr), "the layer's shape");
    check(xnn_setup_fully_connected_nc_qd8_f32_qb4w(product, codes_.data(), y_.data(), parameters_.data()),
          "the layer's memory");
  }

  void run() const {
    check(xnn_run_operator(convert_.get(), nullptr), "to convert");
    check(xnn_run_operator(product_.get(), nullptr), "to multiply");
  }
  [[nodiscard]] const std::vector<float>& result() const { return y_; }

 private:
  std::vector<std::int8_t> codes_;
  std::vector<xnn_quantization_params> parameters_;
  std::vector<float> y_;
  Operator product_, convert_;
};

void compare_product(pare::MatrixView<const float> weights, pare::MatrixView<const float> x, double goal) {
  const auto packed = value(pare::quantize<Int4Group32BF16>(weights));
  const auto theirs = std::make_shared<XnnpackProduct>(packed, x);
  const auto prepared = std::make_shared<pare::PreparedTensor<Int4Group32BF16>>(value(pare::prepare(packed)));
  const auto y = std::make_shared<std::vector<float>>(x.rows * weights.rows);
  const auto ours = [=] {
    expect(pare::matmul(*prepared, x, pare::MatrixView<float>(y->data(), x.rows, weights.rows), {},
                        pare::ActivationScales::per_row));
  };
  theirs->run();
  ours();
  check_same_product(theirs->result(), *y, "qd8_f32_qb4w");
  print_beside("product, M = " + std::to_string(x.rows), "XNNPACK", "GFLOP/s", billions(weights, x),
               {{{"qd8_f32_qb4w", [theirs] { theirs->run(); }},
                 {{std::string(pare::name<Int4Group32BF16>()) + ", prepared", ours}},
                 goal}});
}

}  // namespace

void compare_xnnpack(const Inputs& inputs) {
  check(xnn_initialize(nullptr), "this processor");
  compare_product(inputs.weights, inputs.first_rows(1), 1.0);
  compare_product(inputs.weights, inputs.x, 1.4);
}

}  // namespace peers
