#pragma once
#include "small_types.cuh"
// One element of a global array.
static __device__ float load(const float *from, long long at) { return from[at]; }
