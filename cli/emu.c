/* emu.c: nhac emu: runs a kernel from a PTX file in the emulator, with buffers and scalars from the command line.
 * Exit status: 0 nothing found, 1 something reported, 2 bad PTX or a bad command line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/options.h"
#include "emu/emu.h"

enum { PTX_MAX = 256 << 20, ARGS_MAX = CLI_LIST_MAX };

typedef struct buffer {
    uint8_t *data;
    size_t bytes;
    bool undefined;
    const char *out; /* borrowed from the copy of the argument */
} buffer;

static bool usage(err *e, const char *what, const char *argument) {
    return err_set(e, ERR_USAGE, "usage", "%s: %s", what, argument);
}

/* "X", "X,Y" or "X,Y,Z"; missing ones are 1. */
static bool read_shape(const char *text, uint32_t shape[3], err *e) {
    const char *at = text;
    for (int i = 0; i < 3; i++) {
        char *end;
        errno = 0;
        unsigned long long n = strtoull(at, &end, 10);
        if (end == at || *at == '-' || errno || n == 0 || n > INT32_MAX || (*end && (*end != ',' || i == 2)))
            return usage(e, "a shape is X, X,Y or X,Y,Z, each from 1", text);
        shape[i] = (uint32_t)n;
        if (!*end)
            return true;
        at = end + 1;
    }
    return true;
}

static uint64_t next_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Uniform in [-1, 1) as f32 or bf16; of either sign and 0.5 to 1 as f16; any byte as u8. */
static void fill_random(buffer *b, uint64_t seed, const char *type) {
    size_t width = strcmp(type, "f32") == 0 ? 4 : strcmp(type, "u8") == 0 ? 1 : 2;
    for (size_t at = 0; at + width <= b->bytes; at += width) {
        uint64_t r = next_random(&seed);
        if (width == 1) {
            b->data[at] = (uint8_t)r;
            continue;
        }
        float x = (float)(int32_t)(r >> 32) * 0x1p-31f;
        uint32_t bits;
        memcpy(&bits, &x, 4);
        if (strcmp(type, "f16") == 0) { /* sign, 0.5 to 1 in steps of 2^-11 */
            uint16_t h = (uint16_t)(0x3800 | (r & 0x3ff) | (r >> 40 & 0x8000));
            memcpy(b->data + at, &h, 2);
        } else if (width == 2) {
            uint16_t h = (uint16_t)(bits >> 16);
            memcpy(b->data + at, &h, 2);
        } else {
            memcpy(b->data + at, &bits, 4);
        }
    }
}

static bool fill_file(buffer *b, const char *path, err *e) {
    char *data;
    size_t size;
    if (!base_file_read(path, b->bytes, &data, &size, "emu", e))
        return false;
    memcpy(b->data, data, size);
    free(data);
    return true;
}

/* BYTES and the words after it. The text is cut in place. */
static bool make_buffer(emu_machine *m, char *text, buffer *b, err *e) {
    char *end, *rest = strchr(text, ','), *word;
    const char *type = "f32", *file = NULL, *random = NULL;
    bool zero = false;
    if (rest)
        *rest++ = 0;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (end == text || text[0] == '-' || errno || n == 0 || end[shift ? 1 : 0] || n > (UINT64_C(1) << 44) >> shift)
        return usage(e, "the size of a buffer is a number of bytes, with K, M or G", text);
    b->bytes = (size_t)(n << shift);
    while (rest) {
        word = rest;
        rest = strchr(rest, ',');
        if (rest)
            *rest++ = 0;
        if (strcmp(word, "zero") == 0)
            zero = true;
        else if (strcmp(word, "undefined") == 0)
            b->undefined = true;
        else if (strncmp(word, "random=", 7) == 0)
            random = word + 7;
        else if (strncmp(word, "file=", 5) == 0)
            file = word + 5;
        else if (strncmp(word, "out=", 4) == 0)
            b->out = word + 4;
        else if (strncmp(word, "type=", 5) == 0 && (strcmp(word + 5, "f32") == 0 || strcmp(word + 5, "f16") == 0 ||
                                                    strcmp(word + 5, "bf16") == 0 || strcmp(word + 5, "u8") == 0))
            type = word + 5;
        else
            return usage(e, "a buffer takes zero, undefined, random=SEED, file=PATH, type=f32|f16|bf16|u8, out=PATH",
                         word);
    }
    if (zero + b->undefined + (random != NULL) + (file != NULL) > 1)
        return usage(e, "a buffer is filled in one way", text);
    b->data = emu_alloc(m, b->bytes, b->undefined ? EMU_UNDEFINED : EMU_ZERO);
    if (!b->data)
        return err_memory(e, "emu");
    if (random)
        fill_random(b, strtoull(random, NULL, 10), type);
    return !file || fill_file(b, file, e);
}

/* Writes parameter `p` into the block. `text` is a private copy. */
static bool read_argument(emu_machine *m, char *text, const emu_param *p, uint8_t *block, buffer *b, err *e) {
    char *end = text + 2;
    uint8_t *to = block + p->offset;
    if (strncmp(text, "buf:", 4) == 0) {
        if (p->size != 8)
            return usage(e, "a buffer is for a parameter of 8 bytes, unlike", p->name);
        if (!make_buffer(m, text + 4, b, e))
            return false;
        memcpy(to, &b->data, 8);
        return true;
    }
    if (strncmp(text, "i:", 2) == 0) {
        errno = 0;
        uint64_t v = text[2] == '-' ? (uint64_t)strtoll(text + 2, &end, 0) : strtoull(text + 2, &end, 0);
        if (end == text + 2 || *end || errno || p->size > 8)
            return usage(e, "not an integer, or the parameter has more than 8 bytes", text);
        memcpy(to, &v, p->size);
        return true;
    }
    if (strncmp(text, "f:", 2) == 0) {
        double d = strtod(text + 2, &end);
        float f = (float)d;
        if (end == text + 2 || *end || (p->size != 4 && p->size != 8))
            return usage(e, "not a float, or the parameter has neither 4 nor 8 bytes", text);
        memcpy(to, p->size == 4 ? (void *)&f : (void *)&d, p->size);
        return true;
    }
    if (strncmp(text, "x:", 2) == 0 && strlen(text + 2) == 2 * p->size) {
        for (size_t i = 0; i < p->size; i++) {
            const char digits[3] = {text[2 + 2 * i], text[3 + 2 * i], 0};
            to[i] = (uint8_t)strtoul(digits, &end, 16);
            if (*end)
                return usage(e, "not hexadecimal", text);
        }
        return true;
    }
    return usage(e, "an argument is buf:..., i:..., f:..., or x: with two digits for each byte of the parameter", text);
}

static const emu_kernel *choose_kernel(const emu_module *m, const char *name, const char *path, err *e) {
    const emu_kernel *k = name                              ? emu_module_find(m, name)
                          : emu_module_kernel_count(m) == 1 ? emu_module_kernel(m, 0)
                                                            : NULL;
    if (k)
        return k;
    char list[512] = "";
    size_t n = 0;
    for (size_t i = 0; i < emu_module_kernel_count(m) && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", emu_module_kernel(m, i)->name);
    err_set(e, ERR_USAGE, "usage", "%s has the kernels %s: name one with --kernel", path, list);
    return NULL;
}

/* Buffers to their files; bytes of undefined ones that nobody wrote. Returns the number of outputs with such bytes. */
static bool finish(const emu_machine *m, const buffer *list, size_t count, int *missing, err *e) {
    for (size_t i = 0; i < count; i++) {
        size_t first, n = list[i].data && list[i].undefined ? emu_unwritten(m, list[i].data, list[i].bytes, &first) : 0;
        if (n)
            printf("argument %zu: %zu of %zu bytes were never written, the first at %zu\n", i, n, list[i].bytes, first);
        *missing += n > 0 && list[i].out;
        if (list[i].out && !base_file_write(list[i].out, list[i].data, list[i].bytes, "emu", e))
            return false;
    }
    return true;
}

int cli_emu(const cli_command *self, int argc, char **argv) {
    const char *path, *name = NULL, *grid_text = "1", *block_text = "1";
    cli_list args = {0};
    int64_t shared = 0, seed = 0, threads = 0, steps = 0;
    bool eager = false, races = false;
    const cli_option options[] = {
        {"--kernel", CLI_TEXT, &name, 0, 0},        {"--grid", CLI_TEXT, &grid_text, 0, 0},
        {"--block", CLI_TEXT, &block_text, 0, 0},   {"--shared", CLI_COUNT, &shared, 0, 1 << 20},
        {"--arg", CLI_LIST, &args, 0, 0},           {"--seed", CLI_COUNT, &seed, 0, INT64_MAX},
        {"--threads", CLI_COUNT, &threads, 0, 256}, {"--eager", CLI_FLAG, &eager, 0, 0},
        {"--global-races", CLI_FLAG, &races, 0, 0}, {"--steps", CLI_COUNT, &steps, 1, INT64_MAX}};
    err e = {0};
    char *text = NULL, *copies[ARGS_MAX] = {0};
    size_t size = 0;
    buffer buffers[ARGS_MAX] = {0};
    uint32_t grid[3] = {1, 1, 1}, block[3] = {1, 1, 1};
    uint8_t *params = NULL;
    emu_module *module = NULL;
    emu_machine *machine = emu_machine_create();
    emu_result result = {0};
    emu_error wrong = {0};
    int missing = 0;
    size_t reports = 0;
    bool ok = cli_parse(argc, argv, options, sizeof options / sizeof *options, &path, 1, 1, "KERNEL.ptx", &e) &&
              read_shape(grid_text, grid, &e) && read_shape(block_text, block, &e) &&
              base_file_read(path, PTX_MAX, &text, &size, "emu", &e);
    if (!ok)
        goto done;
    module = emu_module_parse(text, size, &wrong);
    if (!module) {
        ok = err_at(&e, ERR_INPUT, "emu", path, wrong.line, 0, "%s", wrong.text);
        goto done;
    }
    const emu_kernel *k = choose_kernel(module, name, path, &e);
    ok = k && machine && (params = calloc(1, k->param_bytes + 16));
    if (!ok)
        goto done;
    if ((size_t)args.count != k->param_count) {
        ok = err_set(&e, ERR_USAGE, "usage", "%s takes %zu argument%s, not %d", k->name, k->param_count,
                     k->param_count == 1 ? "" : "s", args.count);
        goto done;
    }
    for (int i = 0; ok && i < args.count; i++)
        ok = ((copies[i] = strdup(args.item[i])) || err_memory(&e, "emu")) &&
             read_argument(machine, copies[i], &k->params[i], params, &buffers[i], &e);
    emu_options o = emu_options_default();
    o.seed = (uint64_t)seed, o.threads = (int)threads, o.step_limit = (uint64_t)steps;
    o.async = eager ? EMU_ASYNC_EAGER : EMU_ASYNC_LATE;
    o.checks |= races ? EMU_CHECK_GLOBAL_RACES : 0;
    if (ok && !emu_launch(machine, module, k, grid, block, (size_t)shared, params, k->param_bytes, &o, &result, &wrong))
        ok = err_set(&e, ERR_USAGE, "emu", "%s", wrong.text);
    if (ok) {
        reports = result.report_count;
        for (size_t i = 0; i < reports; i++)
            emu_report_print(stdout, module, &result.reports[i], path);
        emu_counters_print(stdout, &result.counters);
        ok = finish(machine, buffers, (size_t)args.count, &missing, &e);
    }
done:
    if (!ok && e.code == ERR_NONE)
        err_memory(&e, "emu");
    emu_result_free(&result);
    emu_machine_destroy(machine);
    emu_module_destroy(module);
    for (int i = 0; i < ARGS_MAX; i++)
        free(copies[i]);
    free(params);
    free(text);
    return ok ? reports || missing : cli_fail(self, &e);
}
