/* alu_base.c: lane loops for any CPU that the compiler targets by default, and the look-up of rows by key. */
#define ALU_ROWS emu_alu_rows_base
#include "emu/alu_body.h"

#include <stdlib.h>

/* Rows ordered by key, made at the first look-up; only indices, so two threads that meet here write the same values. */
static uint16_t order[1024];
static pthread_once_t order_once = PTHREAD_ONCE_INIT;

static int by_key(const void *a, const void *b) {
    return strcmp(rows[*(const uint16_t *)a].key, rows[*(const uint16_t *)b].key);
}

static void order_make(void) {
    _Static_assert(sizeof rows / sizeof *rows <= sizeof order / sizeof *order, "order holds every row");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        order[i] = (uint16_t)i;
    qsort(order, sizeof rows / sizeof *rows, sizeof *order, by_key);
}

size_t emu_alu_rows(const alu_row **list) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return emu_alu_rows_avx2(list);
#endif
    return emu_alu_rows_base(list);
}

const alu_row *emu_alu_find(const char *key) {
    pthread_once(&order_once, order_make);
    const alu_row *list;
    size_t low = 0, high = emu_alu_rows(&list);
    while (low < high) {
        size_t middle = (low + high) / 2;
        int c = strcmp(key, rows[order[middle]].key);
        if (c == 0)
            return &list[order[middle]];
        if (c < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
