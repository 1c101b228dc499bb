# Warnings, sanitizers and floating-point rules shared by every C++ target.
function(vqafast_set_warnings target)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wno-psabi>
    # sqrt and friends need not set errno nor raise flags: lets them vectorise. Not -ffast-math: NaN and order of
    # summation keep their meaning.
    $<$<COMPILE_LANGUAGE:CXX>:-fno-math-errno -fno-trapping-math>
    $<$<AND:$<BOOL:${VQAFAST_WERROR}>,$<COMPILE_LANGUAGE:CXX>>:-Werror>)
  if(VQAFAST_SANITIZE)
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer>)
    target_link_options(${target} PRIVATE -fsanitize=address,undefined)
  endif()
endfunction()
