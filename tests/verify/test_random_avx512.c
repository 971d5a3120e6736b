/* test_random_avx512.c: random problems on avx512. See help_random.h.
 */
#include "tests/verify/help_random.h"

int main(void) {
    return help_random_run("avx512");
}
