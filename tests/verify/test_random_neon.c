/* test_random_neon.c: random problems on neon. See help_random.h.
 */
#include "tests/verify/help_random.h"

int main(void) {
    return help_random_run("neon");
}
