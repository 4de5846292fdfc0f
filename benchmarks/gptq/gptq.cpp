// GPTQ on a layer of so many outputs and inputs, beside what it consists of, in processor time of one thread and in
// bytes of memory at once:
//
//   pare_bench_gptq [OUT IN [ROUNDS]]
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory_resource>
#include <string>
#include <utility>

#include "checked.hpp"
#include "pare/quantize/quantize.hpp"
#include "round_robin.hpp"

namespace {

/// Counts the most bytes that were in use at once.
class CountingMemory : public std::pmr::memory_resource {
 public:
  [[nodiscard]] std::size_t most() const noexcept { return most_; }
  void restart() noexcept { most_ = now_; }

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    now_ += bytes;
    most_ = std::max(most_, now_);
    return std::pmr::new_delete_resource()->allocate(bytes, alignment);
  }
  void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override {
    now_ -= bytes;
    std::pmr::new_delete_resource()->deallocate(p, bytes, alignment);
  }
  [[nodiscard]] bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

  std::size_t now_ = 0, most_ = 0;
};

/// Values between -1 and 1, the same each time.
void fill(pare::Matrix<float>& matrix, std::uint64_t seed) {
  for (float& x : matrix.values()) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    x = static_cast<float>(static_cast<std::int32_t>(seed >> 32)) * 0x1p-31f;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t out = argc > 2 ? std::strtoul(argv[1], nullptr, 10) : 4096;
  const std::size_t in = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 4096;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 3;
  auto weights = value(pare::Matrix<float>::create({out, in}));
  fill(weights, 1);
  auto moment = value(pare::SecondMoment<double>::create(in));
  {
    // Fewer tokens than channels, as calibration often has: damping makes up for them.
    auto tokens = value(pare::Matrix<float>::create({256, in}));
    for (std::uint64_t sample = 0; sample < 4; ++sample) {
      fill(tokens, sample + 2);
      expect(moment.add(std::as_const(tokens).view()));
    }
  }
  auto narrow = value(pare::SecondMoment<float>::create(in));
  {
    const auto sum = value(pare::Matrix<float>::copy(moment.sum()));
    narrow = value(pare::SecondMoment<float>::restore(in, moment.samples(), moment.tokens(), sum.values()));
  }
  CountingMemory memory;
  const pare::Options options{.memory = &memory};
  const pare::SchemeGrid<pare::catalog::Int4Group128> grid{};
  const pare::MatrixView<const float> w = std::as_const(weights).view();
  auto left = value(pare::Matrix<float>::copy(w));
  const auto upper = value(pare::Matrix<float>::copy(moment.sum()));
  auto product = value(pare::Matrix<float>::create({out, in}));

  std::array<Case, 6> cases = {{
      {"GPTQ, moment in double", [&] { value(pare::Gptq{}(grid, w, moment, options)); }},
      {"GPTQ, moment in float", [&] { value(pare::Gptq{}(grid, w, narrow, options)); }},
      {"its factor in double", [&] { value(pare::inverse_factor(moment.sum(), pare::Damping{})); }},
      {"its factor in float", [&] { value(pare::inverse_factor(narrow.sum(), pare::Damping{})); }},
      {"its products: errors of each 128 columns to those behind",
       [&] {
         constexpr std::size_t block = 128;
         for (std::size_t end = block; end < in; end += block)
           for (std::size_t r = 0; r < out; r += block) {
             const std::size_t rows = std::min(block, out - r);
             const pare::MatrixView<float> later(&left(r, end), rows, in - end, in, 1);
             const pare::MatrixView<const float> errors(w.row(r) + end - block, rows, block, in, 1);
             const pare::MatrixView<const float> factors(&upper(end - block, end), block, in - end, in, 1);
             pare::as_eigen(later).noalias() -= pare::as_eigen(errors) * pare::as_eigen(factors);
           }
       }},
      {"one whole product, weights times moment, in float",
       [&] { pare::as_eigen(product.view()).noalias() = pare::as_eigen(w) * pare::as_eigen(narrow.sum()); }},
  }};
  std::array<std::size_t, cases.size()> bytes{};
  for (int round = 0; round < rounds; ++round)
    for (std::size_t i = 0; i < cases.size(); ++i) {
      memory.restart();
      const double start = thread_seconds();
      cases[i].run();
      cases[i].seconds.push_back(thread_seconds() - start);
      bytes[i] = memory.most();
    }
  fmt::print("{} x {}, one thread, median of {} rounds\n", out, in, rounds);
  for (std::size_t i = 0; i < cases.size(); ++i)
    fmt::print("{:60} {:8.2f} s {:>12}\n", cases[i].name, cases[i].median(),
               bytes[i] == 0 ? "" : fmt::format("{:.0f} MiB", static_cast<double>(bytes[i]) * 0x1p-20));
  const double factor = cases[2].median(), products = cases[4].median();
  fmt::print("GPTQ takes {:.2f} times its factor and products, {:.2f} times with the moment in float\n",
             cases[0].median() / (factor + products), cases[1].median() / (cases[3].median() + products));
}
