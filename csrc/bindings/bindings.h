// What module.cc puts together.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

namespace vqafast::bindings {

namespace py = pybind11;

// Gives the interpreter lock away in a scope. Unlike py::gil_scoped_release it survives interpreter exit: taking the
// lock back then ends a daemon thread by unwinding it, which would terminate the process in a destructor and release
// Python references without the lock. Such a thread sleeps instead until the process is gone, as Python 3.14 has it.
class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;
  ~GilRelease() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) pause();
    }
  }

 private:
  PyThreadState* state_;
};

void register_errors();
void bind_ops(py::module_& module);

}  // namespace vqafast::bindings
