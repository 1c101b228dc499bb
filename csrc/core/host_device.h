// Markers that let one header of per-element maths serve the CPU kernels (once per instruction set) and CUDA.
#pragma once

#ifdef __CUDACC__
#define VQAFAST_HD __host__ __device__
#else
#define VQAFAST_HD
#endif

#define VQAFAST_INLINE static inline __attribute__((always_inline))
// For functions in <op>_kernels.h.
#define VQAFAST_KERNEL_INLINE VQAFAST_HD VQAFAST_INLINE

// CMake defines VQAFAST_ISA as isa_baseline, isa_avx2 or isa_avx512 for each <op>_cpu.cc.
#ifndef VQAFAST_ISA
#ifdef __CUDACC__
#define VQAFAST_ISA isa_cuda
#else
#define VQAFAST_ISA isa_host
#endif
#endif
