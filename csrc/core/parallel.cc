#include "core/parallel.h"

#include <pthread.h>
#ifdef __linux__
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <system_error>
#include <thread>

namespace vqafast {
namespace {

constexpr int kMaxThreads = 256;

thread_local bool t_inside = false;

struct Job {
  RangeFn fn;
  std::int64_t count;
  std::int64_t grain;
  int helpers_wanted;      // guarded by Pool::mutex
  int helpers_active = 0;  // guarded by Pool::mutex
  std::atomic<std::int64_t> next{0};
  std::exception_ptr error{};  // guarded by Pool::mutex

  Job(RangeFn fn_, std::int64_t count_, std::int64_t grain_, int helpers)
      : fn(fn_), count(count_), grain(grain_), helpers_wanted(helpers) {}
};

class Pool {
 public:
  void run(Job& job) {
    const int helpers = job.helpers_wanted;  // workers change it once the job is listed
    {
      std::lock_guard<std::mutex> lock(mutex_);
      grow(helpers);
      jobs_.push_back(&job);
    }
    for (int i = 0; i < helpers; ++i) work_.notify_one();
    work_on(job);
    std::unique_lock<std::mutex> lock(mutex_);
    jobs_.remove(&job);
    done_.wait(lock, [&] { return job.helpers_active == 0; });
  }

 private:
  // Under mutex_. A system that refuses more threads only makes the job slower.
  void grow(int wanted) {
    try {
      while (workers_ < wanted) {
        std::thread([this] { serve(); }).detach();
        ++workers_;
      }
    } catch (const std::system_error&) {
    }
  }

  void work_on(Job& job) {
    t_inside = true;
    try {
      for (;;) {
        const std::int64_t begin = job.next.fetch_add(job.grain, std::memory_order_relaxed);
        if (begin >= job.count) break;
        job.fn(begin, std::min(begin + job.grain, job.count));
      }
    } catch (...) {
      job.next.store(job.count, std::memory_order_relaxed);
      std::lock_guard<std::mutex> lock(mutex_);
      if (!job.error) job.error = std::current_exception();
    }
    t_inside = false;
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      Job* job = nullptr;
      for (Job* candidate : jobs_) {
        if (candidate->helpers_wanted > 0) job = candidate;
        if (job) break;
      }
      if (!job) {
        work_.wait(lock);
        continue;
      }
      --job->helpers_wanted;
      ++job->helpers_active;
      lock.unlock();
      work_on(*job);
      lock.lock();
      if (--job->helpers_active == 0) done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
  std::list<Job*> jobs_;
  int workers_ = 0;
};

// Never destroyed: its threads sleep in it until the process ends, so that exit never waits for them. A forked child
// has none of the threads, and perhaps a locked mutex, so it starts over with a new one.
std::atomic<Pool*> g_pool{nullptr};

Pool& pool() {
  Pool* found = g_pool.load(std::memory_order_acquire);
  if (found) return *found;
  static const int registered = pthread_atfork(nullptr, nullptr, [] { g_pool.store(nullptr); });
  (void)registered;
  Pool* fresh = new Pool;
  if (g_pool.compare_exchange_strong(found, fresh)) return *fresh;
  delete fresh;
  return *found;
}

}  // namespace

int usable_threads() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void parallel_for(int threads, std::int64_t count, std::int64_t grain, RangeFn fn) {
  if (count <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t ranges = (count + grain - 1) / grain;
  std::int64_t use = 1;
  if (ranges > 1 && !t_inside) use = std::min<std::int64_t>(ranges, threads > 0 ? threads : usable_threads());
  use = std::min<std::int64_t>(use, kMaxThreads);
  if (use <= 1) {
    // The same ranges as with threads, so that nothing a kernel does per range can depend on the number.
    for (std::int64_t begin = 0; begin < count; begin += grain) fn(begin, std::min(begin + grain, count));
    return;
  }
  Job job(fn, count, grain, static_cast<int>(use) - 1);
  pool().run(job);
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace vqafast
