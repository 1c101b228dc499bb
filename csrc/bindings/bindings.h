// What module.cc puts together.
#pragma once

#include <pybind11/pybind11.h>

namespace vqafast::bindings {

namespace py = pybind11;

void register_errors();
void bind_ops(py::module_& module);

}  // namespace vqafast::bindings
