/* machine.h: what is known of the machine: its CPU's name, cores, caches, and which tools can be found. */
#ifndef TUNER_MACHINE_H
#define TUNER_MACHINE_H

#include <stddef.h>

/* Model name of the CPU as /proc/cpuinfo has it, with family, model and stepping; "unknown" without one. */
void tune_machine_model(char *out, size_t size);
/* Processors this process may run on, 1 and up. */
int tune_machine_threads(void);
/* Bytes of the largest data cache of a level (1..3), from /sys; 0: unknown. */
size_t tune_machine_cache(int level);

#endif
