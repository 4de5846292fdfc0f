#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "families.hpp"
#include "pare/quantize/rotation_fusing.hpp"

namespace golden {
namespace {

/// Each number within the rule's absolute tolerance.
void near_absolute(Outcome& outcome, const std::string& what, const std::vector<float>& expected,
                   const std::vector<float>& found) {
  const double tolerance = outcome.entry().rule.absolute(what);
  double worst = 0.0;
  for (std::size_t i = 0; i < std::min(expected.size(), found.size()); ++i)
    worst = std::max(worst, std::fabs(static_cast<double>(expected[i]) - static_cast<double>(found[i])));
  outcome.check(what, expected.size() == found.size() && !expected.empty() && worst <= tolerance,
                std::to_string(found.size()) + " numbers, at worst " + std::to_string(worst) + " apart");
}

pare::EigenMatrix<double> widened(const Table<float>& table) { return pare::as_eigen(table.view()).cast<double>(); }

template <class Q>
std::vector<float> rotated(const Q& rotation, std::vector<float> rows, pare::RotationSide side) {
  const std::size_t n = rotation.size();
  ensure(pare::rotate_rows(rotation, {rows.data(), rows.size() / n, n}, side));
  return rows;
}

/// Every size that the file has: transforms of x both ways, and a row and a column of the randomized rotation.
void check_hadamard(const Entry& entry, const Problem&, Outcome& outcome) {
  const Tensors expected = entry.tensors();
  for (const io::TensorView& tensor : expected.file().tensors()) {
    const std::string name(tensor.name);
    if (!name.starts_with("x")) continue;
    const std::string size = name.substr(1);
    const auto hadamard = value(pare::Hadamard::create(std::stoul(size)));
    const std::vector<float> x = expected.values<float>(name);
    near_absolute(outcome, "hadU" + size, expected.values<float>("hadU" + size),
                  rotated(hadamard, x, pare::RotationSide::forward));
    near_absolute(outcome, "hadUt" + size, expected.values<float>("hadUt" + size),
                  rotated(hadamard, x, pare::RotationSide::backward));
    const auto rotation = value(pare::HadamardRotation::create(expected.values<float>("signs" + size)));
    std::vector<float> unit(rotation.size());
    unit[0] = 1.0f;
    near_absolute(outcome, "Qrow0_" + size, expected.values<float>("Qrow0_" + size),
                  rotated(rotation, unit, pare::RotationSide::forward));
    near_absolute(outcome, "Qcol0_" + size, expected.values<float>("Qcol0_" + size),
                  rotated(rotation, unit, pare::RotationSide::backward));
  }
}

/// Weights of 4 bits for each row, activations of 4 bits for each token, rotated by the stored matrix and not.
void check_rotated(const Entry& entry, const Problem& problem, Outcome& outcome) {
  const std::vector<float> stored = entry.tensors().values<float>("Q");
  const std::size_t n = problem.weight.shape.cols;
  const auto matrix = value(pare::Matrix<double>::copy(pare::MatrixView<const float>(stored.data(), n, n)));
  const auto dense = value(pare::DenseRotation::create(value(pare::Matrix<double>::copy(matrix.view()))));

  // The same rotation by butterflies: the signs are those by which its first column differs from the Hadamard matrix's.
  const Table<float> identity = [n] {
    Table<float> table{std::vector<float>(n * n), {n, n}};
    for (std::size_t i = 0; i < n; ++i) table.values[i * n + i] = 1.0f;
    return table;
  }();
  const auto unsigned_rotation = value(pare::Hadamard::create(n));
  const std::vector<float> unsigned_values = rotated(unsigned_rotation, identity.values, pare::RotationSide::forward);
  std::vector<float> signs;
  for (std::size_t i = 0; i < n; ++i) signs.push_back(std::copysign(1.0f, stored[i * n] * unsigned_values[i * n]));
  const auto fast = value(pare::HadamardRotation::create(signs));
  outcome.near("rel_err", stored, rotated(fast, identity.values, pare::RotationSide::forward), true);

  const pare::ActivationQuantizer rounded{.bits = 4};
  const auto error = [&](bool rotates, bool rounds_activations) {
    Problem changed = problem;
    if (rotates) {
      ensure(pare::rotate_inputs(dense, changed.weight.view()));
      for (Table<float>& sample : changed.samples) ensure(pare::rotate_rows(dense, sample.view()));
    }
    Table<float> weight = changed.weight;
    ensure(rounded(std::as_const(weight).view(), weight.view()));
    double squares = 0.0, reference = 0.0;
    for (const Table<float>& sample : changed.samples) {
      Table<float> x = sample;
      if (rounds_activations) ensure(rounded(std::as_const(x).view(), x.view()));
      const auto found = widened(x), exact = widened(sample);
      const auto target = (exact * widened(changed.weight).transpose()).eval();
      squares += (found * widened(weight).transpose() - target).squaredNorm();
      reference += target.squaredNorm();
    }
    return std::sqrt(squares / reference);
  };
  outcome.error(error(true, true));
  const auto figure = [&](const char* name, double ours) {
    outcome.near(std::string("rel_err of ") + name, {static_cast<float>(entry.number(name))},
                 {static_cast<float>(ours)});
  };
  figure("rel_err_w4a4_norotate", error(false, true));
  figure("rel_err_w4_only_rot", error(true, false));
  figure("rel_err_w4_only", error(false, false));
}

constexpr Method methods[] = {{"hadamard", check_hadamard}, {"rotate_w4a4", check_rotated}};

}  // namespace

std::span<const Method> rotation_methods() { return methods; }

}  // namespace golden
