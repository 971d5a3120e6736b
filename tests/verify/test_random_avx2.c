/* test_random_avx2.c: random problems on avx2. See help_random.h.
 */
#include "tests/verify/help_random.h"

int main(void) {
    return help_random_run("avx2");
}
