// A small persistent thread pool. Work is cut by the caller into items whose bounds do not depend on the number of
// threads, so results are bit-identical for any number.
#pragma once

#include <cstdint>
#include <type_traits>

namespace vqafast {

// A reference to a callable void(int64_t begin, int64_t end); no allocation, lives as long as the callable.
class RangeFn {
 public:
  template <typename Fn>
  RangeFn(const Fn& fn)  // implicit: lambdas convert at the call
      : object_(&fn), call_([](const void* object, std::int64_t begin, std::int64_t end) {
          (*static_cast<const Fn*>(object))(begin, end);
        }) {}
  void operator()(std::int64_t begin, std::int64_t end) const { call_(object_, begin, end); }

 private:
  const void* object_;
  void (*call_)(const void*, std::int64_t, std::int64_t);
};

// Calls fn on disjoint ranges covering 0..count, `grain` items at a time (at least), on at most `threads` threads
// (0: as many as the process may use) of which the caller is one. The first exception is rethrown here after all
// threads have stopped. Calls from inside fn run on the calling thread. Safe after fork().
void parallel_for(int threads, std::int64_t count, std::int64_t grain, RangeFn fn);

int usable_threads();  // processors this process may run on

}  // namespace vqafast
