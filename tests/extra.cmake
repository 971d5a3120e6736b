# Tests that are not one C program each: the golden cases through the command line, the embedding example, the install script,
# and a short pass of the other tests under the sanitizers.
set(front ${CMAKE_CURRENT_SOURCE_DIR}/tests/front)
set(front_environment "NHAC=$<TARGET_FILE:nhac>" "NHAC_SOURCE=${CMAKE_CURRENT_SOURCE_DIR}"
                      "NHAC_CACHE_DIR=${CMAKE_CURRENT_BINARY_DIR}/cache" "CC=${CMAKE_C_COMPILER}")

# front_test(NAME COMMAND...): in the source root, with the environment that all tests have.
function(front_test name)
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT 900 ENVIRONMENT "${front_environment};GOLDEN_TOOL=$<TARGET_FILE:golden_tool>")
endfunction()

# A libcuda.so.1 over the emulator, for programs that load the driver at run time: put fake_driver/ on LD_LIBRARY_PATH.
add_library(fake_cuda SHARED ${CMAKE_CURRENT_SOURCE_DIR}/tests/driver/fake_cuda.c)
target_link_libraries(fake_cuda PRIVATE nhac_emu)
target_link_options(fake_cuda PRIVATE -Wl,-z,nodelete) # as the real one, it outlives dlclose: what it holds stays reachable
set_target_properties(fake_cuda PROPERTIES PREFIX "" OUTPUT_NAME libcuda SUFFIX .so.1
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/fake_driver)
add_dependencies(test_driver_fake fake_cuda)
set_property(TEST test_driver_fake APPEND PROPERTY ENVIRONMENT "NHAC_FAKE_CUDA=$<TARGET_FILE:fake_cuda>")
add_dependencies(test_cli_cuda fake_cuda)
set_property(TEST test_cli_cuda APPEND PROPERTY ENVIRONMENT "FAKE_DRIVER=${CMAKE_CURRENT_BINARY_DIR}/fake_driver")
target_link_options(test_driver_memerr PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc)

add_executable(golden_tool ${front}/golden_tool.c)
target_link_libraries(golden_tool PRIVATE nhac_tuner)
file(GLOB golden_specs CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tests/golden/*.yaml)
foreach(spec ${golden_specs})
  get_filename_component(name ${spec} NAME_WLE)
  front_test(golden_${name} sh ${front}/golden.sh ${name})
  front_test(golden_cuda_${name} sh ${front}/golden.sh ${name} emu:sm_80 emu:sm_90 cuda:0)
  set_property(TEST golden_cuda_${name} APPEND PROPERTY ENVIRONMENT "FAKE_DRIVER=${CMAKE_CURRENT_BINARY_DIR}/fake_driver")
endforeach()
foreach(isa baseline avx2 avx512 amx neon) # each forced in turn; 77: the machine has none
  front_test(golden_isa_${isa} sh ${front}/golden_isa.sh ${isa})
  set_tests_properties(golden_isa_${isa} PROPERTIES SKIP_RETURN_CODE 77)
endforeach()
front_test(golden_tool sh ${front}/golden_tool.sh)

front_test(cross sh ${front}/cross.sh)
front_test(gpu sh ${front}/gpu.sh ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_BINARY_DIR}/gpu)
set_property(TEST gpu APPEND PROPERTY ENVIRONMENT "FAKE_DRIVER=${CMAKE_CURRENT_BINARY_DIR}/fake_driver")

front_test(packages sh ${front}/packages.sh)
front_test(real_input sh ${front}/real_input.sh $<TARGET_FILE:real_input_report>)
if(NOT NHAC_SANITIZE) # a program of its own compilation, without the sanitizers' runtime
  front_test(embed sh ${front}/embed.sh ${CMAKE_COMMAND} ${CMAKE_CURRENT_BINARY_DIR})
endif()

# The tests that the sanitizer pass runs, and the pass itself, which builds everything once more inside this build folder.
option(NHAC_SANITIZE_PASS "one of the tests builds with sanitizers and runs the tests labelled `sanitize`" OFF)
get_property(all_tests DIRECTORY PROPERTY TESTS)
foreach(test ${all_tests})
  if(NOT test MATCHES "^(embed|packages|gpu|cross|test_templates_.*|test_cuda_.*|golden_cuda_.*)$") # the latter: minutes of NVRTC and emulation
    set_property(TEST ${test} APPEND PROPERTY LABELS sanitize)
  endif()
endforeach()
if(NHAC_SANITIZE_PASS)
  cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)
  front_test(sanitizers sh ${front}/sanitize.sh ${CMAKE_CURRENT_BINARY_DIR}/sanitize)
  set_tests_properties(sanitizers PROPERTIES PROCESSORS ${cores} TIMEOUT 1800 COST 1000000)
endif()
