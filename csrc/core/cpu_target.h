// Which of the compiled instruction-set versions of a kernel runs on this CPU.
#pragma once

#include <string>

namespace vqafast {

enum class CpuTarget { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

const char* name_of(CpuTarget target);
CpuTarget best_cpu_target();  // what the CPU and the build allow, capped by VQAFAST_CPU_TARGET
CpuTarget cpu_target();       // what runs now
// For tests: runs the named target from now on. InvalidArgument if unknown or not available here.
void set_cpu_target(const std::string& name);

}  // namespace vqafast

// Declares a kernel entry point once per instruction set: VQAFAST_DECLARE_KERNEL(void scale_cpu(const Args&));
// VQAFAST_SELECT_KERNEL(scale_cpu) is the pointer to the version for this CPU.
#ifdef VQAFAST_X86_LEVELS
#define VQAFAST_DECLARE_KERNEL(...) \
  namespace isa_baseline {          \
  __VA_ARGS__;                      \
  }                                 \
  namespace isa_avx2 {              \
  __VA_ARGS__;                      \
  }                                 \
  namespace isa_avx512 {            \
  __VA_ARGS__;                      \
  }
#define VQAFAST_SELECT_KERNEL(fn)                                             \
  (::vqafast::cpu_target() == ::vqafast::CpuTarget::kAvx512 ? &isa_avx512::fn \
   : ::vqafast::cpu_target() == ::vqafast::CpuTarget::kAvx2 ? &isa_avx2::fn   \
                                                            : &isa_baseline::fn)
#else
#define VQAFAST_DECLARE_KERNEL(...) \
  namespace isa_baseline {          \
  __VA_ARGS__;                      \
  }
#define VQAFAST_SELECT_KERNEL(fn) (&isa_baseline::fn)
#endif
