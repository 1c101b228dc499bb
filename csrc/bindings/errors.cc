// C++ errors as the typed exceptions of vqafast.errors, which also inherit the matching builtins.
#include "bindings/bindings.h"
#include "core/check.h"

namespace vqafast::bindings {
namespace {

void raise(const char* type, const char* message) {
  py::set_error(py::module_::import("vqafast.errors").attr(type), message);
}

}  // namespace

void register_errors() {
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const Unsupported& e) {
      raise("Unsupported", e.what());
    } catch (const InvalidArgument& e) {
      raise("InvalidArgument", e.what());
    } catch (const CudaError& e) {
      raise("CudaError", e.what());
    }
  });
}

}  // namespace vqafast::bindings
