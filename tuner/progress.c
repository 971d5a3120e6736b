/* progress.c: see progress.h. A redrawn line begins with \r, is padded to the width of the one before and never ends in
 * a newline. */
#include "tuner/progress.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 200, TERMINAL_COLUMNS = 79 };
static const double TERMINAL_SECONDS = 0.1, PLAIN_SECONDS = 5;

static double now(const tune_progress *p) {
    return p->clock.now(p->clock.context);
}

void tune_progress_open(tune_progress *p, FILE *out, tune_clock clock) {
    const char *term = getenv("TERM");
    *p = (tune_progress){.out = out, .clock = clock};
    p->terminal = out && isatty(fileno(out)) && !(term && strcmp(term, "dumb") == 0);
    p->shown = now(p) - PLAIN_SECONDS;
}

void tune_progress_close(tune_progress *p) {
    if (!p->out || p->width == 0)
        return;
    fprintf(p->out, "\r%*s\r", p->width, "");
    fflush(p->out);
    p->width = 0;
}

void tune_progress_update(tune_progress *p, const char *format, ...) {
    if (!p->out || now(p) - p->shown < (p->terminal ? TERMINAL_SECONDS : PLAIN_SECONDS))
        return;
    char line[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (p->terminal) {
        line[TERMINAL_COLUMNS] = 0; /* a line that wraps cannot be redrawn */
        int width = (int)strlen(line);
        fprintf(p->out, "\r%-*s", p->width > width ? p->width : width, line);
        p->width = width;
    } else {
        fprintf(p->out, "%s\n", line);
    }
    fflush(p->out);
    p->shown = now(p);
}

void tune_progress_line(tune_progress *p, const char *format, ...) {
    if (!p->out)
        return;
    tune_progress_close(p);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(p->out, format, arguments);
    va_end(arguments);
    fputc('\n', p->out);
    fflush(p->out);
}
