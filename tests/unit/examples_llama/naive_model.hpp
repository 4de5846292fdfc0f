#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/llama2c.hpp"

namespace naive {

using Row = std::vector<double>;

/// The forward pass of llama2.c written down plainly in double, as an independent reference: all logits of a sequence.
class Model {
 public:
  explicit Model(const io::Llama2cFile& file) : file_(file), config_(file.config()) {}

  std::vector<Row> logits(const std::vector<std::int32_t>& tokens) const {
    const std::size_t head_dim = config_.head_dim(), group = config_.heads / config_.kv_heads;
    std::vector<Row> x;
    for (const std::int32_t token : tokens)
      x.push_back(row(weights("tok_embeddings.weight"), static_cast<std::size_t>(token), config_.dim));
    for (std::size_t layer = 0; layer < config_.layers; ++layer) {
      const std::string block = fmt::format("layers.{}.", layer);
      std::vector<Row> keys, values;
      for (std::size_t t = 0; t < x.size(); ++t) {
        const Row h = norm(x[t], weights(block + "attention_norm.weight"));
        const Row query = rotate(multiply(block + "attention.wq.weight", h), t);
        keys.push_back(rotate(multiply(block + "attention.wk.weight", h), t));
        values.push_back(multiply(block + "attention.wv.weight", h));
        Row attended(config_.dim, 0.0);
        for (std::size_t head = 0; head < config_.heads; ++head) {
          const std::size_t q = head * head_dim, kv = head / group * head_dim;
          Row share(t + 1, 0.0);
          double sum = 0.0;
          for (std::size_t s = 0; s <= t; ++s) {
            for (std::size_t i = 0; i < head_dim; ++i) share[s] += query[q + i] * keys[s][kv + i];
            share[s] = std::exp(share[s] / std::sqrt(static_cast<double>(head_dim)));
            sum += share[s];
          }
          for (std::size_t s = 0; s <= t; ++s)
            for (std::size_t i = 0; i < head_dim; ++i) attended[q + i] += share[s] / sum * values[s][kv + i];
        }
        add(x[t], multiply(block + "attention.wo.weight", attended));
        const Row m = norm(x[t], weights(block + "ffn_norm.weight"));
        Row gate = multiply(block + "feed_forward.w1.weight", m);
        const Row up = multiply(block + "feed_forward.w3.weight", m);
        for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
        add(x[t], multiply(block + "feed_forward.w2.weight", gate));
      }
    }
    std::vector<Row> result;
    for (const Row& hidden : x) result.push_back(multiply("output.weight", norm(hidden, weights("norm.weight"))));
    return result;
  }

 private:
  std::vector<float> weights(const std::string& name) const { return io::to_floats(*file_.find(name)); }

  static Row row(const std::vector<float>& matrix, std::size_t r, std::size_t cols) {
    const auto begin = matrix.begin() + static_cast<std::ptrdiff_t>(r * cols);
    return {begin, begin + static_cast<std::ptrdiff_t>(cols)};
  }

  static Row norm(const Row& x, const std::vector<float>& weight) {
    double squares = 0.0;
    for (const double value : x) squares += value * value;
    Row out(x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
      out[i] = weight[i] * x[i] / std::sqrt(squares / static_cast<double>(x.size()) + 1e-5);
    return out;
  }

  Row multiply(const std::string& name, const Row& x) const {
    const std::vector<float> matrix = weights(name);
    Row out(matrix.size() / x.size(), 0.0);
    for (std::size_t r = 0; r < out.size(); ++r)
      for (std::size_t c = 0; c < x.size(); ++c) out[r] += matrix[r * x.size() + c] * x[c];
    return out;
  }

  /// Neighbours turn together.
  Row rotate(Row x, std::size_t position) const {
    for (std::size_t i = 0; i < x.size(); i += 2) {
      const double exponent = static_cast<double>(i % config_.head_dim()) / static_cast<double>(config_.head_dim());
      const double angle = static_cast<double>(position) * std::pow(10000.0, -exponent);
      const double a = x[i], b = x[i + 1];
      x[i] = a * std::cos(angle) - b * std::sin(angle);
      x[i + 1] = a * std::sin(angle) + b * std::cos(angle);
    }
    return x;
  }

  static void add(Row& x, const Row& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  const io::Llama2cFile& file_;
  const io::Llama2cConfig& config_;
};

}  // namespace naive
