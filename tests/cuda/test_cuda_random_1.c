/* test_cuda_random_1.c: shard 1 of the random problems: help_cuda.c. */
#include <stdbool.h>

#include "tests/cuda/help_cuda.h"

int main(void) {
    return help_cuda_random(1);
}
