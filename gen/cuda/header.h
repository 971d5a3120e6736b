/* header.h: the comment that opens a rendered file. Private to gen/cuda. */
#ifndef GEN_CUDA_HEADER_H
#define GEN_CUDA_HEADER_H

#include "base/buf.h"
#include "gen/cuda/cuda.h"
#include "gen/render.h"

/* Appends it: how the file was made, problem, tile, layout and launch in words; no date, no path. */
bool gen_cuda_header(const gen_cuda_kernel *kernel, const gen_problem *problem, const gen_cuda_target *target,
                     const gen_cuda_tile *tile, const gen_cuda_unit *unit, const gen_rendered *rendered, base_buf *out,
                     err *e);

#endif
