/* test_random_baseline.c: random problems on baseline. See help_random.h.
 */
#include "tests/verify/help_random.h"

int main(void) {
    return help_random_run("baseline");
}
