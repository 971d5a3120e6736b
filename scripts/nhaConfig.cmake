# find_package(nha): targets nha::static and nha::shared, libnha as an archive and as a shared library.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
include(${CMAKE_CURRENT_LIST_DIR}/nhaTargets.cmake)
