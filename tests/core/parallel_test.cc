// parallel_for without Python: coverage of ranges, exceptions, nesting, concurrent callers, fork.
#include "core/parallel.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "failed: %s\n", what);
  std::exit(1);
}

void covers_every_item_once() {
  for (int threads : {0, 1, 2, 7}) {
    for (std::int64_t count : {0, 1, 2, 63, 64, 65, 1000}) {
      for (std::int64_t grain : {0, 1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
        vqafast::parallel_for(threads, count, grain, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
        });
        for (const auto& times : seen) require(times == 1, "each item runs once");
      }
    }
  }
}

void passes_exceptions_on() {
  for (int threads : {1, 4}) {
    for (int round = 0; round < 50; ++round) {
      bool caught = false;
      try {
        vqafast::parallel_for(threads, 100, 1, [&](std::int64_t begin, std::int64_t) {
          if (begin == 37) throw std::runtime_error("item 37");
        });
      } catch (const std::runtime_error& error) {
        caught = std::string(error.what()) == "item 37";
      }
      require(caught, "the exception of an item reaches the caller");
    }
  }
}

void runs_nested_calls() {
  std::atomic<int> total{0};
  vqafast::parallel_for(4, 8, 1, [&](std::int64_t, std::int64_t) {
    vqafast::parallel_for(4, 8, 1, [&](std::int64_t, std::int64_t) { ++total; });
  });
  require(total == 64, "nested calls complete");
}

void serves_many_callers() {
  std::vector<std::thread> callers;
  std::atomic<long> total{0};
  for (int k = 0; k < 6; ++k) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round)
        vqafast::parallel_for(3, 10, 1, [&](std::int64_t begin, std::int64_t end) { total += end - begin; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  require(total == 6 * 200 * 10, "concurrent callers complete");
}

void works_after_fork() {
  const pid_t child = fork();
  if (child == 0) {
    std::atomic<int> total{0};
    vqafast::parallel_for(4, 100, 1, [&](std::int64_t, std::int64_t) { ++total; });
    _exit(total == 100 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  require(status == 0, "a forked child has a pool of its own");
}

}  // namespace

int main() {
  covers_every_item_once();
  passes_exceptions_on();
  runs_nested_calls();
  serves_many_callers();
  works_after_fork();
  std::puts("parallel_test: ok");
}
