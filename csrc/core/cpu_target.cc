#include "core/cpu_target.h"

#include <atomic>
#include <cstdlib>
#ifdef VQAFAST_X86_LEVELS
#include <cpuid.h>
#endif

#include "core/check.h"

namespace vqafast {
namespace {

bool parse(const std::string& name, CpuTarget* target) {
  for (CpuTarget candidate : {CpuTarget::kBaseline, CpuTarget::kAvx2, CpuTarget::kAvx512}) {
    if (name == name_of(candidate)) {
      *target = candidate;
      return true;
    }
  }
  return false;
}

CpuTarget detect() {
#ifdef VQAFAST_X86_LEVELS
  __builtin_cpu_init();
  unsigned a, b, c, d;
  const bool f16c_movbe = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) && (c & bit_MOVBE);
  const bool lzcnt = __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & bit_LZCNT);
  const bool v3 = f16c_movbe && lzcnt && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  if (!v3) return CpuTarget::kBaseline;
  const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return v4 ? CpuTarget::kAvx512 : CpuTarget::kAvx2;
#else
  return CpuTarget::kBaseline;
#endif
}

CpuTarget detect_capped() {
  const CpuTarget found = detect();
  const char* cap_name = std::getenv("VQAFAST_CPU_TARGET");
  if (!cap_name || !*cap_name) return found;
  CpuTarget cap = found;
  VQAFAST_CHECK("VQAFAST_CPU_TARGET", parse(cap_name, &cap), "must be baseline, avx2 or avx512", cap_name);
  return cap < found ? cap : found;
}

std::atomic<int> g_forced{-1};

}  // namespace

const char* name_of(CpuTarget target) {
  switch (target) {
    case CpuTarget::kBaseline: return "baseline";
    case CpuTarget::kAvx2: return "avx2";
    case CpuTarget::kAvx512: return "avx512";
  }
  return "?";
}

CpuTarget best_cpu_target() {
  static const CpuTarget best = detect_capped();
  return best;
}

CpuTarget cpu_target() {
  const int forced = g_forced.load(std::memory_order_relaxed);
  return forced >= 0 ? static_cast<CpuTarget>(forced) : best_cpu_target();
}

void set_cpu_target(const std::string& name) {
  CpuTarget target = CpuTarget::kBaseline;
  VQAFAST_CHECK("set_cpu_target", parse(name, &target), "name must be baseline, avx2 or avx512", name);
  VQAFAST_CHECK("set_cpu_target", target <= best_cpu_target(),
                concat("the target must be available here (at most ", name_of(best_cpu_target()), ")"), name);
  g_forced.store(static_cast<int>(target), std::memory_order_relaxed);
}

}  // namespace vqafast
