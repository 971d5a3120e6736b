/* test_random_amx.c: random problems on amx. See help_random.h.
 */
#include "tests/verify/help_random.h"

int main(void) {
    return help_random_run("amx");
}
