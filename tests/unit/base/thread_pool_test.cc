#include "lib/base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/catch.h"

namespace sluice::testing {
namespace {

// Runs one loop and requires that every index was met once, in ranges of whole grains.
void RequireCovered(ThreadPool& pool, size_t count, size_t grain) {
  std::vector<std::atomic<int>> met(count);
  std::atomic<int> bad_ranges{0};
  pool.ParallelFor(count, grain, [&](size_t begin, size_t end) {
    if (begin >= end || end > count) ++bad_ranges;
    if (begin % grain != 0 || (end != count && end % grain != 0)) ++bad_ranges;
    for (size_t i = begin; i < end; ++i) ++met[i];
  });
  size_t met_once = 0;
  for (const auto& times : met) met_once += times == 1;
  REQUIRE(bad_ranges == 0);
  REQUIRE(met_once == count);
}

TEST_CASE("ParallelFor covers every index once", "[base]") {
  std::mt19937_64 random(Seed());
  INFO("seed " << Seed());
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    REQUIRE(pool.num_threads() == threads);
    for (int round = 0; round < 300; ++round) {
      RequireCovered(pool, random() % 1000, 1 + random() % 70);
    }
    RequireCovered(pool, 5, 1000);
  }
}

TEST_CASE("a loop over nothing calls nothing", "[base]") {
  ThreadPool pool(3);
  pool.ParallelFor(0, 4, [](size_t, size_t) { FAIL("called"); });
}

TEST_CASE("one range runs on the caller, in one piece", "[base]") {
  ThreadPool pool(4);
  const auto caller = std::this_thread::get_id();
  int calls = 0;
  pool.ParallelFor(64, 64, [&](size_t begin, size_t end) {
    ++calls;
    REQUIRE(std::this_thread::get_id() == caller);
    REQUIRE(begin == 0);
    REQUIRE(end == 64);
  });
  REQUIRE(calls == 1);
}

TEST_CASE("a number of threads below one means the caller", "[base]") {
  for (int threads : {0, -3}) {
    ThreadPool pool(threads);
    REQUIRE(pool.num_threads() == 1);
    RequireCovered(pool, 100, 7);
  }
}

TEST_CASE("workers take part, also after they slept", "[base]") {
  ThreadPool pool(2);
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> inside{0};
    // Each of two ranges waits for the other: with one thread this would never end.
    pool.ParallelFor(2, 1, [&](size_t, size_t) {
      ++inside;
      while (inside < 2) std::this_thread::yield();
    });
    REQUIRE(inside == 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

TEST_CASE("the caller waits for a slow worker", "[base]") {
  ThreadPool pool(2);
  std::vector<int> written(2, 0);  // plain ints: a race would show under the thread sanitizer
  for (int round = 0; round < 20; ++round) {
    const auto caller = std::this_thread::get_id();
    pool.ParallelFor(2, 1, [&](size_t begin, size_t) {
      if (std::this_thread::get_id() != caller) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      ++written[begin];
    });
    REQUIRE(written[0] == round + 1);
    REQUIRE(written[1] == round + 1);
  }
}

TEST_CASE("many callers at once", "[base]") {
  ThreadPool pool(3);
  std::atomic<uint64_t> total{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 6; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 300; ++round) {
        std::vector<uint32_t> squares(257);
        pool.ParallelFor(squares.size(), 8, [&](size_t begin, size_t end) {
          for (size_t i = begin; i < end; ++i) squares[i] = static_cast<uint32_t>(i * i);
        });
        uint64_t sum = 0;
        for (uint32_t s : squares) sum += s;
        total += sum;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  REQUIRE(total == uint64_t{6 * 300} * (uint64_t{256} * 257 * 513 / 6));
}

TEST_CASE("many pools come and go", "[base]") {
  for (int round = 0; round < 200; ++round) {
    ThreadPool pool(1 + round % 5);
    if (round % 2 == 0) RequireCovered(pool, 50, 3);
  }
}

TEST_CASE("an idle pool uses no CPU", "[base]") {
  ThreadPool pool(8);
  RequireCovered(pool, 1000, 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::clock_t before = std::clock();  // of the whole process
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const double seconds = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  REQUIRE(seconds < 0.1);
}

}  // namespace
}  // namespace sluice::testing
