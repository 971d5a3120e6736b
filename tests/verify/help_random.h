/* help_random.h: 300 random problems (2,000 with NHAC_LONG=1) shared out over the programs test_random_*.c, so that
 * they run side by side. NHAC_PROBLEM=SEED runs that one alone.
 */
#ifndef HELP_RANDOM_H
#define HELP_RANDOM_H

enum { HELP_RANDOM_SHARDS = 4 };

/* The cmocka group of shard 0..HELP_RANDOM_SHARDS-1; returns its number of failures. */
int help_random_run(int shard);

#endif
