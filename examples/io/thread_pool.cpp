#include "io/thread_pool.hpp"

#include <algorithm>
#include <chrono>
#include <system_error>

namespace io {
namespace {

/// Whether this thread is inside a loop of some pool.
thread_local bool inside_loop = false;

/// Looks for `happened` for a while; whether it did.
template <class Condition>
bool watch(const Condition& happened) {
  constexpr std::chrono::microseconds longest(100);
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < 16; ++i) {
      if (happened()) return true;
      std::this_thread::yield();
    }
  } while (std::chrono::steady_clock::now() - start < longest);
  return false;
}

}  // namespace

ThreadPool::ThreadPool(std::size_t threads) {
  const std::size_t wanted = threads != 0 ? threads : std::max<std::size_t>(1, std::thread::hardware_concurrency());
  workers_.reserve(wanted - 1);
  while (workers_.size() + 1 < wanted && add_worker()) {
  }
}

bool ThreadPool::add_worker() {
  try {
    workers_.emplace_back([this] { work(); });
    return true;
  } catch (const std::system_error&) {
    return false;  // no result depends on the number of threads, so a smaller pool serves as well
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(state_);
    stop_ = true;
  }
  start_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::drain(const pare::Task& task, std::size_t count) noexcept {
  inside_loop = true;
  for (std::size_t i = next_++; i < count; i = next_++) task(i);
  inside_loop = false;
}

void ThreadPool::operator()(std::size_t count, pare::Task task) {
  if (inside_loop || workers_.empty() || count < 2) {
    for (std::size_t i = 0; i < count; ++i) task(i);
    return;
  }
  const std::lock_guard loop(loop_);
  {
    const std::lock_guard lock(state_);
    task_ = &task;
    count_ = count;
    next_ = 0;
    busy_ = workers_.size();
    ++generation_;
  }
  start_.notify_all();
  drain(task, count);
  const auto finished = [this] { return busy_ == 0; };
  if (watch(finished)) return;
  std::unique_lock lock(state_);
  done_.wait(lock, finished);
}

void ThreadPool::work() {
  std::uint64_t seen = 0;
  const auto called = [&] { return stop_ || generation_ != seen; };
  while (true) {
    if (!watch(called)) {
      std::unique_lock lock(state_);
      start_.wait(lock, called);
    }
    if (stop_) return;
    seen = generation_;  // which does not change before this thread is done
    drain(*task_, count_);
    const std::lock_guard lock(state_);
    if (--busy_ == 0) done_.notify_one();
  }
}

}  // namespace io
