#pragma once
// Own names of the integer types.
using u32 = unsigned;
using u64 = unsigned long long;
#ifndef DTYPE
#define DTYPE 0 // 0 f32, 1 f16
#endif
constexpr int ELEMENT_BYTES = DTYPE == 0 ? 4 : 2;
