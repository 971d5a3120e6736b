# cmake --install: component `nha`, what an engine needs (libnha, nha.h, a CMake package, a pkg-config file), and component `nhac`.
include(GNUInstallDirs)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/nha)

target_include_directories(nha INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_include_directories(nha_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set_target_properties(nha PROPERTIES EXPORT_NAME static)
set_target_properties(nha_shared PROPERTIES EXPORT_NAME shared)
install(TARGETS nha nha_shared EXPORT nhaTargets COMPONENT nha)
install(FILES runtime/nha.h runtime/nha_cuda_driver.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT nha)
install(EXPORT nhaTargets NAMESPACE nha:: DESTINATION ${package_dir} COMPONENT nha)

include(CMakePackageConfigHelpers)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/nhaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES scripts/nhaConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/nhaConfigVersion.cmake DESTINATION ${package_dir} COMPONENT nha)

file(RELATIVE_PATH prefix_from_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" prefix_from_pc "${prefix_from_pc}")
configure_file(scripts/nha.pc.in ${CMAKE_CURRENT_BINARY_DIR}/nha.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/nha.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT nha)

install(TARGETS nhac COMPONENT nhac)
