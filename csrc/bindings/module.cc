#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <sstream>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "core/cpu_target.h"
#include "core/parallel.h"

namespace {

namespace py = pybind11;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

py::dict build_info() {
  py::dict info;
  info["version"] = VQAFAST_VERSION;
  info["compiler"] = VQAFAST_COMPILER;
#ifdef VQAFAST_WITH_CUDA
  info["cuda"] = true;
#else
  info["cuda"] = false;
#endif
  info["cuda_architectures"] = split(VQAFAST_CUDA_ARCHS, ',');
#ifdef VQAFAST_X86_LEVELS
  info["cpu_targets"] = std::vector<std::string>{"baseline", "avx2", "avx512"};
#else
  info["cpu_targets"] = std::vector<std::string>{"baseline"};
#endif
#ifdef VQAFAST_SANITIZE
  info["sanitizers"] = true;
#else
  info["sanitizers"] = false;
#endif
  return info;
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled core of vqafast. Use vqafast.ops instead.";
  vqafast::best_cpu_target();  // a wrong VQAFAST_CPU_TARGET fails here, at import
  vqafast::bindings::register_errors();
  module.def("build_info", &build_info);
  module.def("cpu_target", [] { return vqafast::name_of(vqafast::cpu_target()); });
  module.def("best_cpu_target", [] { return vqafast::name_of(vqafast::best_cpu_target()); });
  module.def("set_cpu_target", &vqafast::set_cpu_target, py::arg("name"));
  module.def("usable_threads", &vqafast::usable_threads);
  vqafast::bindings::bind_ops(module);
}
