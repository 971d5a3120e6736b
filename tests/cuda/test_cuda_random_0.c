/* test_cuda_random_0.c: shard 0 of the random problems: help_cuda.c. */
#include <stdbool.h>

#include "tests/cuda/help_cuda.h"

int main(void) {
    return help_cuda_random(0);
}
