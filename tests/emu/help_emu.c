/* help_emu.c: see help_emu.h. */
#include "tests/emu/help_emu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

char *help_read(const char *path, size_t *length) {
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("cannot read %s", path);
    char *text = NULL;
    size_t n = 0, room = 0, got;
    do {
        if (room - n < 65536)
            text = realloc(text, (room = 2 * room + 65536) + 1);
        assert_non_null(text);
        n += got = fread(text + n, 1, room - n, f);
    } while (got);
    fclose(f);
    text[n] = 0;
    if (length)
        *length = n;
    return text;
}

emu_module *help_parse(const char *text) {
    emu_error e;
    emu_module *m = emu_module_parse(text, strlen(text), &e);
    if (!m)
        fail_msg("line %d: %s", e.line, e.text);
    return m;
}

emu_module *help_parse_file(const char *path) {
    char *text = help_read(path, NULL);
    emu_error e;
    emu_module *m = emu_module_parse(text, strlen(text), &e);
    free(text);
    if (!m)
        fail_msg("%s:%d: %s", path, e.line, e.text);
    return m;
}

const char *help_compile(const char *source, const char *target, char *path, size_t room) {
    char command[2048];
    if (system("PATH=\"$PATH:${CUDA_HOME:-/usr/local/cuda}/bin\" nvcc --version > /dev/null 2>&1") != 0) {
        fprintf(stderr, "SKIPPED: there is no nvcc: %s is not compiled for sm_%s, only its committed PTX is run\n",
                source, target);
        return NULL;
    }
    snprintf(path, room, "/tmp/nhac-emu-%ld-%s.ptx", (long)getpid(), target);
    snprintf(command, sizeof command,
             "PATH=\"$PATH:${CUDA_HOME:-/usr/local/cuda}/bin\" nvcc -ptx -lineinfo -arch=compute_%s %s -o %s", target,
             source, path);
    if (system(command) != 0)
        fail_msg("nvcc failed: %s", command);
    return path;
}

help_launch help_launch_of(emu_machine *machine, emu_module *module, const char *kernel, uint32_t grid,
                           uint32_t block) {
    help_launch l = {.machine = machine,
                     .module = module,
                     .kernel = kernel,
                     .grid = {grid, 1, 1},
                     .block = {block, 1, 1},
                     .options = emu_options_default()};
    l.options.threads = 2;
    l.options.step_limit = 50000000;
    return l;
}

void help_param(help_launch *l, const void *value, size_t bytes) {
    l->param_bytes = (l->param_bytes + bytes - 1) / bytes * bytes;
    memcpy(l->params + l->param_bytes, value, bytes);
    l->param_bytes += bytes;
}
void help_pointer(help_launch *l, const void *p) {
    help_param(l, &p, sizeof p);
}
void help_int(help_launch *l, int32_t v) {
    help_param(l, &v, sizeof v);
}

void help_run(help_launch *l) {
    emu_error e;
    const emu_kernel *k = emu_module_find(l->module, l->kernel);
    emu_result_free(&l->result);
    if (!k)
        fail_msg("there is no kernel %s", l->kernel);
    if (!emu_launch(l->machine, l->module, k, l->grid, l->block, l->dynamic, l->params, l->param_bytes, &l->options,
                    &l->result, &e))
        fail_msg("%s: %s", l->kernel, e.text);
}

void help_run_clean(help_launch *l) {
    help_run(l);
    for (size_t i = 0; i < l->result.report_count; i++)
        emu_report_print(stderr, l->module, &l->result.reports[i], l->kernel);
    if (l->result.report_count)
        fail_msg("%s: %zu reports on a correct kernel", l->kernel, l->result.report_count);
}

int help_reports(const help_launch *l, emu_report_kind kind, int line) {
    int n = 0;
    for (size_t i = 0; i < l->result.report_count; i++)
        n += l->result.reports[i].kind == kind && (line == 0 || l->result.reports[i].line == line);
    return n;
}

void help_end(help_launch *l) {
    emu_result_free(&l->result);
}

uint64_t help_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

float help_random_float(uint64_t *state) {
    return (float)(int32_t)(help_random(state) >> 32) * 0x1p-31f;
}
