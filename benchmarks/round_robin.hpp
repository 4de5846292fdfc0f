#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

/// Processor time of this thread, which other programs on the machine do not stretch.
inline double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Time that has passed: for work on several threads.
inline double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// One piece of work to time beside others.
struct Case {
  std::string name;
  std::function<void()> run;
  std::size_t repeats = 1;           ///< of `run` within one measurement
  std::vector<double> seconds = {};  ///< of one run, a measurement each round

  [[nodiscard]] double median() const {
    std::vector<double> sorted = seconds;
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    return *middle;
  }
};

/// Times all cases one after the other, round after round, so that a machine whose speed changes changes it for all.
inline void time_round_robin(std::span<Case> cases, double (*clock)() = thread_seconds) {
  constexpr double least_seconds = 0.01;
  constexpr int rounds = 15;
  for (Case& c : cases) {
    c.run();
    const double start = clock();
    c.run();
    const double once = std::max(1e-7, clock() - start);
    c.repeats = static_cast<std::size_t>(std::ceil(least_seconds / once));
  }
  for (int round = 0; round < rounds; ++round)
    for (Case& c : cases) {
      const double start = clock();
      for (std::size_t i = 0; i < c.repeats; ++i) c.run();
      c.seconds.push_back((clock() - start) / static_cast<double>(c.repeats));
    }
}
