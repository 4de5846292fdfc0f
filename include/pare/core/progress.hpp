#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "pare/core/executor.hpp"
#include "pare/core/result.hpp"

namespace pare {

/// How long work tells its caller how far it is: called with the share that is done, from 0 to 1 and never less than
/// before, it returns whether to go on; after `false` the work ends soon with ErrorCode::cancelled. Calls come from
/// whichever thread of the executor gets there, never two at once.
using Progress = FunctionRef<bool(double)>;

/// The progress of work that nobody watches.
inline bool unobserved(double) noexcept { return true; }

/// A part of a longer work, from one share of it to another, as a Progress of its own.
class ProgressPart {
 public:
  ProgressPart(const Progress& whole, double begin, double end) noexcept : whole_(whole), begin_(begin), end_(end) {}

  bool operator()(double share) const { return whole_(begin_ + share * (end_ - begin_)); }

 private:
  Progress whole_;
  double begin_, end_;
};

/// Counts what the tasks of one work have done, in any unit, and reports it.
class ProgressMeter {
 public:
  ProgressMeter(const Progress& progress, std::uint64_t total) noexcept : progress_(progress), total_(total) {}

  /// Adds what is done, from any thread; whether to go on.
  bool advance(std::uint64_t work) {
    done_.fetch_add(work, std::memory_order_relaxed);
    // Who finds another thread reporting leaves it to that one.
    if (cancelled() || reporting_.test_and_set(std::memory_order_acquire)) return !cancelled();
    if (!cancelled()) {
      const auto done = static_cast<double>(done_.load(std::memory_order_relaxed));
      const bool go_on = progress_(total_ == 0 ? 1.0 : std::min(1.0, done / static_cast<double>(total_)));
      if (!go_on) cancelled_.store(true, std::memory_order_relaxed);
    }
    reporting_.clear(std::memory_order_release);
    return !cancelled();
  }
  [[nodiscard]] bool cancelled() const noexcept { return cancelled_.load(std::memory_order_relaxed); }
  /// Success, or the error of work that was cancelled.
  [[nodiscard]] Result<void> status() const {
    if (!cancelled()) return {};
    return Error{ErrorCode::cancelled, "pare: cancelled by the caller's progress callback"};
  }

 private:
  Progress progress_;
  std::uint64_t total_;
  std::atomic<std::uint64_t> done_{0};
  std::atomic<bool> cancelled_{false};
  std::atomic_flag reporting_{};
};

}  // namespace pare
