// pare beside other libraries: the same work from the same buffers, on one thread, one after the other round after
// round; medians of the thread's processor time, how many times as fast pare is, and the goal.
//
//   pare_bench_peers [--avx2 FILE] [MiB of float32 weights for the conversions; default 0.25]
//
// --avx2 keeps pare, oneDNN and ggml to AVX2; FILE is ggml's backend that was compiled for it (libggml-cpu-haswell.so).
#include "peers.hpp"

#include <hwy/targets.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>

namespace peers {

void print_beside(const std::string& title, const std::string& peer, const std::string& unit, double work,
                  const std::vector<Row>& rows) {
  std::vector<Case> cases;
  for (const Row& row : rows) {
    cases.push_back(row.theirs);
    cases.insert(cases.end(), row.ours.begin(), row.ours.end());
  }
  time_round_robin(cases);
  const std::size_t ours = rows.front().ours.size();
  std::printf("\n| %s, %s | %s |", peer.c_str(), title.c_str(), unit.c_str());
  for (std::size_t i = 0; i < ours; ++i) std::printf(" pare | %s | pare / %s |", unit.c_str(), peer.c_str());
  std::printf(" goal | |\n|---|---|");
  for (std::size_t i = 0; i < ours; ++i) std::printf("---|---|---|");
  std::printf("---|---|\n");
  auto timed = cases.begin();
  for (const Row& row : rows) {
    const double theirs = work / timed->median();
    std::printf("| %s | %.1f |", timed->name.c_str(), theirs);
    double times = 0.0;
    for (std::size_t i = 0; i < ours; ++i) {
      const Case& our = *++timed;
      times = work / our.median() / theirs;
      std::printf(" %s | %.1f | %.2f |", our.name.c_str(), work / our.median(), times);
    }
    std::printf(" %.2f | %s |\n", row.goal, times >= row.goal ? "met" : "missed");
    ++timed;
  }
  std::fflush(stdout);
}

void check_same_product(const std::vector<float>& a, const std::vector<float>& b, const std::string& name) {
  double error = 0.0, norm = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    error += static_cast<double>(a[i] - b[i]) * static_cast<double>(a[i] - b[i]);
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  if (a.size() != b.size() || !(error < 0.05 * norm)) fail(name + " and pare give different products");
}

double billions(pare::MatrixView<const float> weights, pare::MatrixView<const float> x) {
  return 2e-9 * static_cast<double>(x.rows) * static_cast<double>(weights.rows * weights.cols);
}

}  // namespace peers

int main(int argc, char** argv) {
  constexpr std::size_t k = 4096, n = 4096;
  const char* avx2 = nullptr;
  if (argc > 2 && std::string_view(argv[1]) == "--avx2") {
    avx2 = argv[2];
    hwy::DisableTargets(HWY_AVX2 - 1);  // those before it are better
    argc -= 2;
    argv += 2;
  }
  const double mebibytes = argc > 1 ? std::atof(argv[1]) : 0.25;
  const double wanted_rows = mebibytes * 1048576.0 / (sizeof(float) * k);
  if (argc > 2 || !(wanted_rows >= 1.0 && wanted_rows < 1e6))
    fail("usage: pare_bench_peers [--avx2 FILE of ggml's backend] [MiB of float32 weights, 0.02 to 15000]");
  const auto rows = static_cast<std::size_t>(wanted_rows);

  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> weights(std::max(rows, n) * k), x(120 * k);
  for (float& v : x) v = normal(random);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = x[i * 7919 % x.size()];

  const peers::Inputs inputs{{weights.data(), n, k}, rows, {x.data(), 120, k}, avx2};
#ifdef PARE_PEER_GGML
  peers::compare_ggml(inputs);
#endif
#ifdef PARE_PEER_XNNPACK
  if (avx2 == nullptr) peers::compare_xnnpack(inputs);  // which cannot be kept to AVX2
#endif
#ifdef PARE_PEER_ONEDNN
  peers::compare_onednn(inputs);
#endif
  return 0;
}
