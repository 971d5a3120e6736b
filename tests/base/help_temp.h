/* help_temp.h: a temporary folder for a test program, and small files in it. */
#ifndef TESTS_BASE_HELP_TEMP_H
#define TESTS_BASE_HELP_TEMP_H

#include <stddef.h>
#include <stdint.h>

/* Makes the folder on first use; removed by temp_remove. */
const char *temp_dir(void);
void temp_remove(void);
/* The same as cmocka's teardown of a group. */
int temp_remove_all(void **state);
/* Path of a name inside it; one of eight static buffers in turn. */
const char *temp_path(const char *name);
/* Writes a file there with plain stdio; returns its path. */
const char *temp_file(const char *name, const void *bytes, size_t size);
/* Number of entries of the folder, hidden ones included. */
int temp_entries(void);

/* A small seeded generator for fuzz loops: splitmix64. */
uint64_t next_random(uint64_t *state);

#endif
