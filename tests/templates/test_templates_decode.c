/* test_templates_decode.c: the CUDA decode kernel on random problems. See help_problems.h. */
#include "tests/templates/help_problems.h"

int main(void) {
    return help_problems_run(NHA_DECODE, 0, 1);
}
