#include "io/thread_pool.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "io/progress.hpp"

namespace {

TEST(ThreadPool, RunsEachTaskOnce) {
  for (const std::size_t threads : {1u, 2u, 5u}) {
    io::ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    const pare::Executor executor = pool;
    for (const std::size_t count : {0u, 1u, 2u, 7u, 1000u}) {
      std::vector<std::atomic<int>> runs(count);
      executor(count, [&](std::size_t i) { ++runs[i]; });
      for (const auto& times : runs) EXPECT_EQ(times, 1);
    }
  }
}

TEST(ThreadPool, SurvivesManyShortLoops) {
  io::ThreadPool pool(4);
  std::atomic<std::size_t> sum = 0;
  for (std::size_t loop = 0; loop < 2000; ++loop) pool(3, [&](std::size_t i) { sum += i + 1; });
  EXPECT_EQ(sum, 2000u * 6u);
}

TEST(ThreadPool, ATaskMayStartALoop) {
  io::ThreadPool pool(3);
  std::atomic<std::size_t> runs = 0;
  pool(5, [&](std::size_t) {
    pool(4, [&](std::size_t) { ++runs; });
    pool(2, [&](std::size_t) { ++runs; });
  });
  EXPECT_EQ(runs, 30u);
}

TEST(ThreadPool, ServesSeveralCallersInTurn) {
  io::ThreadPool pool(2);
  std::atomic<std::size_t> runs = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller)
    callers.emplace_back([&] {
      for (int loop = 0; loop < 200; ++loop) pool(4, [&](std::size_t) { ++runs; });
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(runs, 2400u);
}

TEST(ThreadPool, ZeroMeansOneForEachProcessor) {
  io::ThreadPool pool;
  EXPECT_EQ(pool.threads(), std::max(1u, std::thread::hardware_concurrency()));
}

TEST(Progress, ShowsAShareOfTheWork) {
  EXPECT_EQ(io::progress_text("x", 0, 10), "x [..............................]   0%");
  EXPECT_EQ(io::progress_text("x", 5, 10), "x [###############...............]  50%");
  EXPECT_EQ(io::progress_text("x", 10, 10), "x [##############################] 100%");
  EXPECT_EQ(io::progress_text("x", 11, 10), "x [##############################] 100%");
  EXPECT_EQ(io::progress_text("x", 0, 0), "x [##############################] 100%");
}

}  // namespace
