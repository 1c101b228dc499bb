# vqafast_add_op(<op>): build csrc/ops/<op>/ into the extension.
#   <op>.cc        validation and selection, compiled once
#   <op>_cpu.cc    kernels, compiled once per instruction set into namespace VQAFAST_ISA (see core/simd.h)
#   <op>_backward_cpu.cc  optional; the gradient's kernels, compiled like <op>_cpu.cc
#   <op>_cuda.cu   optional; compiled when CUDA is on, and <op>.cc then sees VQAFAST_OP_HAS_CUDA
#   <op>_backward_cuda.cu  optional; the gradient's kernels, with <op>_cuda.cu
#   csrc/bindings/bind_<op>.cc
include(CheckCXXCompilerFlag)

set(VQAFAST_ISAS baseline)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(_vqafast_flags_avx2 -march=x86-64-v3)
  set(_vqafast_flags_avx512 -march=x86-64-v4 -mprefer-vector-width=512)
  check_cxx_compiler_flag("-march=x86-64-v4 -mprefer-vector-width=512" VQAFAST_HAVE_X86_64_LEVELS)
  if(VQAFAST_HAVE_X86_64_LEVELS)
    list(APPEND VQAFAST_ISAS avx2 avx512)
    target_compile_definitions(vqafast_core PUBLIC VQAFAST_X86_LEVELS=1)
  endif()
endif()
set(_vqafast_isa_objects "")

function(vqafast_add_op op)
  set(dir "csrc/ops/${op}")
  target_sources(_core PRIVATE "${dir}/${op}.cc" "csrc/bindings/bind_${op}.cc")
  set(kernels "${dir}/${op}_cpu.cc")
  if(EXISTS "${PROJECT_SOURCE_DIR}/${dir}/${op}_backward_cpu.cc")
    list(APPEND kernels "${dir}/${op}_backward_cpu.cc")
    # Gradients subtract the mean of products from the products: contracted into a multiply-add, which rounds once, the
    # two would not cancel where 0 is due.
    set_source_files_properties("${dir}/${op}_backward_cpu.cc" PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
  endif()
  foreach(isa IN LISTS VQAFAST_ISAS)
    set(objects "op_${op}_${isa}")
    add_library(${objects} OBJECT ${kernels})
    target_link_libraries(${objects} PRIVATE vqafast_core)
    target_compile_definitions(${objects} PRIVATE VQAFAST_ISA=isa_${isa})
    target_compile_options(${objects} PRIVATE ${_vqafast_flags_${isa}})
    vqafast_set_warnings(${objects})
    target_sources(_core PRIVATE $<TARGET_OBJECTS:${objects}>)
    if(NOT isa STREQUAL "baseline")
      set(_vqafast_isa_objects "${_vqafast_isa_objects};$<TARGET_OBJECTS:${objects}>" CACHE INTERNAL "")
    endif()
  endforeach()
  if(VQAFAST_WITH_CUDA AND EXISTS "${PROJECT_SOURCE_DIR}/${dir}/${op}_cuda.cu")
    target_sources(_core PRIVATE "${dir}/${op}_cuda.cu")
    vqafast_set_cuda_options("${dir}/${op}_cuda.cu" TRUE)
    if(EXISTS "${PROJECT_SOURCE_DIR}/${dir}/${op}_backward_cuda.cu")
      target_sources(_core PRIVATE "${dir}/${op}_backward_cuda.cu")
      vqafast_set_cuda_options("${dir}/${op}_backward_cuda.cu" FALSE)
    endif()
    set_property(SOURCE "${dir}/${op}.cc" APPEND PROPERTY COMPILE_DEFINITIONS VQAFAST_OP_HAS_CUDA)
  endif()
endfunction()

# Checks, after linking, that no object built for a newer instruction set exports an inline function outside its own
# namespace: the linker could keep that copy for everyone, and an older CPU would die on it.
function(vqafast_finish_ops)
  if(VQAFAST_WITH_CUDA)
    target_compile_definitions(_core PRIVATE VQAFAST_WITH_CUDA=1)
    if(VQAFAST_CUDA_ARCHS STREQUAL "emulated")
      target_sources(_core PRIVATE tests/cuda_emulation/emulation.cc)
    endif()
    set_target_properties(_core PROPERTIES CUDA_SEPARABLE_COMPILATION OFF)
  endif()
  if(CMAKE_NM AND _vqafast_isa_objects AND NOT VQAFAST_SANITIZE AND CMAKE_BUILD_TYPE MATCHES "^Rel")
    add_custom_command(TARGET _core POST_BUILD VERBATIM
      COMMAND "${CMAKE_COMMAND}" "-DNM=${CMAKE_NM}" "-DOBJECTS=${_vqafast_isa_objects}"
        -P "${PROJECT_SOURCE_DIR}/cmake/vqafast_check_isa.cmake")
  endif()
endfunction()
