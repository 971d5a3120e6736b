/* driver_report.c: the text of the last failure that has more to say than a CUresult. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "emu/driver_inner.h"

enum { REPORTS_SHOWN = 20 };

void emu_driver_forget_report(void) {
    free(emu_driver.report);
    emu_driver.report = NULL;
}

/* Takes ownership of a text; NULL, where memory is out, leaves an empty one. */
static void keep(char *text) {
    emu_driver_forget_report();
    emu_driver.report = text;
    emu_driver.report_count++;
}

void emu_driver_say(const char *format, ...) {
    va_list list;
    va_start(list, format);
    char *text = NULL;
    if (vasprintf(&text, format, list) < 0)
        text = NULL;
    va_end(list);
    keep(text);
}

void emu_driver_keep(const emu_module *m, const char *kernel, const emu_result *r) {
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) {
        keep(NULL);
        return;
    }
    for (size_t i = 0; i < r->report_count && i < REPORTS_SHOWN; i++)
        emu_report_print(f, m, &r->reports[i], kernel);
    if (r->report_count > REPORTS_SHOWN)
        fprintf(f, "%s: %zu more reports\n", kernel, r->report_count - REPORTS_SHOWN);
    if (fclose(f) != 0) {
        free(text);
        text = NULL;
    }
    keep(text);
}

size_t emu_driver_report(char *out, size_t size) {
    emu_driver_lock();
    const char *text = emu_driver.report ? emu_driver.report : "";
    size_t n = strlen(text);
    if (size) {
        size_t copied = n < size ? n : size - 1;
        memcpy(out, text, copied);
        out[copied] = 0;
    }
    emu_driver_unlock();
    return n;
}

uint64_t emu_driver_report_count(void) {
    emu_driver_lock();
    uint64_t n = emu_driver.report_count;
    emu_driver_unlock();
    return n;
}
