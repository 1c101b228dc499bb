// The list of ops: a declaration and a call each. The function stands in bind_<op>.cc.
#include "bindings/bindings.h"

namespace vqafast::bindings {

void bind_cgin(py::module_& module);
void bind_fragment_sample(py::module_& module);
void bind_frame_ingest(py::module_& module);
void bind_hysteresis_pool(py::module_& module);
void bind_moment_pool(py::module_& module);
void bind_scene_statistics(py::module_& module);

void bind_ops(py::module_& module) {
  bind_cgin(module);
  bind_fragment_sample(module);
  bind_frame_ingest(module);
  bind_hysteresis_pool(module);
  bind_moment_pool(module);
  bind_scene_statistics(module);
}

}  // namespace vqafast::bindings
