/* help_cuda.h: generated CUDA kernels run as users run them, through libnha's plans, on the emulator as a device. */
#ifndef TESTS_CUDA_HELP_CUDA_H
#define TESTS_CUDA_HELP_CUDA_H

enum { HELP_CUDA_SHARDS = 2 };

/* main() of a test program: the random problems whose number modulo HELP_CUDA_SHARDS is `shard`. */
int help_cuda_random(int shard);

#endif
