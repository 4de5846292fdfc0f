#include <fmt/format.h>

#include <Eigen/Core>
#include <stdexcept>

#include "pare/formats/formats.hpp"
#include "runner.hpp"

namespace golden {
namespace {

template <class T>
void append(std::span<const std::byte> bytes, std::vector<double>& numbers) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  for (const T value : values) numbers.push_back(static_cast<double>(value));
}

using Doubles = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Doubles doubles(std::span<const float> values, std::size_t rows, std::size_t cols) {
  Doubles result(rows, cols);
  for (std::size_t i = 0; i < rows * cols; ++i) result.data()[i] = static_cast<double>(values[i]);
  return result;
}

}  // namespace

Tensors Tensors::open(const std::filesystem::path& path) {
  auto file = io::SafetensorsFile::open(path);
  if (!file) throw std::runtime_error(file.error().message);
  return Tensors(std::move(*file));
}

std::vector<std::size_t> Tensors::shape(std::string_view name) const {
  const io::TensorView* tensor = file_.find(name);
  if (tensor == nullptr) throw std::runtime_error(fmt::format("{} is missing", name));
  return {tensor->shape.begin(), tensor->shape.end()};
}

std::vector<double> Tensors::numbers(std::string_view name) const {
  const io::TensorView* tensor = file_.find(name);
  if (tensor == nullptr) throw std::runtime_error(fmt::format("{} is missing", name));
  std::vector<double> result;
  switch (tensor->dtype) {
    case io::DType::f32:
      append<float>(tensor->bytes, result);
      break;
    case io::DType::f64:
      append<double>(tensor->bytes, result);
      break;
    case io::DType::u8:
      append<std::uint8_t>(tensor->bytes, result);
      break;
    case io::DType::i8:
      append<std::int8_t>(tensor->bytes, result);
      break;
    case io::DType::i16:
      append<std::int16_t>(tensor->bytes, result);
      break;
    case io::DType::i32:
      append<std::int32_t>(tensor->bytes, result);
      break;
    case io::DType::i64:
      append<std::int64_t>(tensor->bytes, result);
      break;
    default:
      throw std::runtime_error(fmt::format("{} is of type {}", name, io::name(tensor->dtype)));
  }
  return result;
}

Problem Problem::open(const std::filesystem::path& path) {
  const Tensors tensors = Tensors::open(path);
  Problem problem;
  problem.weight_shape = tensors.shape("W");
  problem.input_shape = tensors.shape("X");
  problem.inputs = tensors.values<float>("X");
  problem.weight.values = tensors.values<float>("W");
  const auto& metadata = tensors.file().metadata();
  problem.convolution = metadata.contains("kind") && metadata.at("kind") == "conv";
  const std::vector<std::size_t>& w = problem.weight_shape;
  const std::vector<std::size_t>& x = problem.input_shape;
  if (w.size() != (problem.convolution ? 4u : 2u) || x.size() != w.size() + (problem.convolution ? 0 : 1))
    throw std::runtime_error("the problem's W and X are neither a linear layer's nor a convolution's");
  const std::size_t cols = problem.weight.values.size() / w[0];
  problem.weight.shape = {w[0], cols};
  if (!problem.convolution) {
    for (std::size_t s = 0; s < x[0]; ++s) {
      const auto begin = problem.inputs.begin() + static_cast<std::ptrdiff_t>(s * x[1] * cols);
      problem.samples.push_back({{begin, begin + static_cast<std::ptrdiff_t>(x[1] * cols)}, {x[1], cols}});
    }
    return problem;
  }
  const auto number = [&](const char* key, std::size_t otherwise) {
    return metadata.contains(key) ? std::stoul(metadata.at(key)) : otherwise;
  };
  problem.stride = number("stride", 1);
  problem.padding = number("padding", 0);
  const pare::Convolution convolution{.channels = x[1],
                                      .kernel = {w[2], w[3]},
                                      .stride = {problem.stride, problem.stride},
                                      .padding = {problem.padding, problem.padding}};
  const std::size_t pixels = x[1] * x[2] * x[3];
  for (std::size_t s = 0; s < x[0]; ++s) {
    const auto unfolded = value(
        pare::unfold(std::span<const float>(problem.inputs).subspan(s * pixels, pixels), {x[2], x[3]}, convolution));
    problem.samples.push_back({{unfolded.values().begin(), unfolded.values().end()}, unfolded.shape()});
  }
  return problem;
}

pare::SecondMoment<double> Problem::moment() const {
  auto moment = value(pare::SecondMoment<double>::create(weight.shape.cols));
  for (const Table<float>& sample : samples) ensure(moment.add(sample.view()));
  return moment;
}

Table<float> Problem::tokens() const {
  Table<float> all;
  all.shape.cols = weight.shape.cols;
  for (const Table<float>& sample : samples) {
    all.values.insert(all.values.end(), sample.values.begin(), sample.values.end());
    all.shape.rows += sample.shape.rows;
  }
  return all;
}

double Problem::error(std::span<const float> approximation, std::span<const float> bias) const {
  const std::size_t cols = weight.shape.cols, rows = cols == 0 ? 0 : approximation.size() / cols;
  if (rows > weight.shape.rows || approximation.size() != rows * cols)
    throw std::runtime_error("the approximation is not of the weight's shape");
  const Table<float> all = tokens();
  const Doubles x = doubles(all.values, all.shape.rows, cols);
  const Doubles w = doubles(weight.values, rows, cols);
  Doubles difference = x * (w - doubles(approximation, rows, cols)).transpose();
  for (std::size_t o = 0; o < bias.size(); ++o)
    difference.col(static_cast<Eigen::Index>(o)).array() -= static_cast<double>(bias[o]);
  return difference.norm() / (x * w.transpose()).norm();
}

}  // namespace golden
