# Run as a script: fails when an object file defines a weak symbol whose name is not inside an isa_ namespace.
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND "${NM}" --defined-only "${object}" OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* [WVuT] [^\n]*" shared "${symbols}")
  foreach(line IN LISTS shared)
    if(NOT line MATCHES "isa_|DW\\.ref\\.__gxx_personality_v0")
      message(FATAL_ERROR "${object} shares a symbol outside its isa_ namespace: ${line}\n"
        "Move it into namespace VQAFAST_ISA, make it static, or call it from <op>.cc.")
    endif()
  endforeach()
endforeach()
