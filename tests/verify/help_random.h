/* help_random.h: random problems on one ISA of the CPU, 75 for each (500 with NHAC_LONG=1), a program each, so that they run
 * side by side. NHAC_PROBLEM=SEED runs that one alone. */
#ifndef HELP_RANDOM_H
#define HELP_RANDOM_H

/* The cmocka group of this row of gen_isa_table (borrowed), on problems that it serves; returns its number of failures, or
 * 77, for ctest "skipped", with a line that says so, where this machine lacks the ISA. */
int help_random_run(const char *isa);

#endif
