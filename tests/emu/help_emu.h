/* help_emu.h: launches for the emulator's tests: PTX from a file or a string, parameters by name, memory that is
 * compared. */
#ifndef TESTS_EMU_HELP_EMU_H
#define TESTS_EMU_HELP_EMU_H

#include "emu/emu.h"

/* The whole file (malloc'd, ends with a zero); fails the test where it cannot be read. */
char *help_read(const char *path, size_t *length);
emu_module *help_parse_file(const char *path);
emu_module *help_parse(const char *text);
/* Path of a fresh PTX of the CUDA source for `target` ("80", "100f"), or NULL where there is no nvcc: then a loud line
 * is printed. */
const char *help_compile(const char *source, const char *target, char *path, size_t room);

typedef struct help_launch {
    emu_machine *machine;
    emu_module *module;
    const char *kernel;
    uint32_t grid[3], block[3];
    size_t dynamic;
    uint8_t params[4096];
    size_t param_bytes;
    emu_options options;
    emu_result result;
} help_launch;

/* A launch of a kernel with grid and block of one dimension. */
help_launch help_launch_of(emu_machine *machine, emu_module *module, const char *kernel, uint32_t grid, uint32_t block);
/* The next parameter: a value of `bytes`, aligned to its size. */
void help_param(help_launch *l, const void *value, size_t bytes);
void help_pointer(help_launch *l, const void *p);
void help_int(help_launch *l, int32_t v);
/* Runs it; fails the test where the launch is refused. The result stays until the next run or help_end. */
void help_run(help_launch *l);
/* Runs it and fails the test on any report. */
void help_run_clean(help_launch *l);
/* Number of reports of a kind at a line (0: at any). */
int help_reports(const help_launch *l, emu_report_kind kind, int line);
void help_end(help_launch *l);

uint64_t help_random(uint64_t *state);
float help_random_float(uint64_t *state); /* -1..1 */

#endif
