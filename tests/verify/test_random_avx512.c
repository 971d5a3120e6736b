/* test_random_2.c: random problems, a quarter of them. See help_random.h.
 */
#include "tests/verify/help_random.h"

int main(void) {
    return help_random_run(2);
}
