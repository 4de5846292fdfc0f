#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "pare/core/executor.hpp"

namespace io {

/// Threads that run loops for pare: an lvalue of it is a pare::Executor. It serves one loop at a time; a loop that a
/// task starts in turn runs on that task's thread. Tasks must not throw. A thread that has nothing to do looks for the
/// next loop for a tenth of a millisecond before it sleeps: waking it takes longer than a short loop does.
class ThreadPool {
 public:
  /// A pool of `threads` threads, the caller's included; 0 means one for each processor. Where the system refuses some
  /// of them, the pool has fewer.
  explicit ThreadPool(std::size_t threads = 0);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  /// Runs task(0) .. task(count - 1) and returns when all of them have.
  void operator()(std::size_t count, pare::Task task);

  /// The threads that share the work, the caller's included.
  [[nodiscard]] std::size_t threads() const noexcept { return workers_.size() + 1; }

 private:
  bool add_worker();
  void work();
  void drain(const pare::Task& task, std::size_t count) noexcept;

  std::mutex loop_;                   ///< held for the length of a loop
  const pare::Task* task_ = nullptr;  ///< of the loop that generation_ counts, as is count_
  std::size_t count_ = 0;
  std::atomic<std::size_t> next_{0};
  std::mutex state_;  ///< held where what a thread may sleep for changes: the three below
  std::condition_variable start_;
  std::condition_variable done_;
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<std::size_t> busy_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace io
