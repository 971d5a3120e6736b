/* golden_tool.c: what tests/front/golden.sh needs beside nhac: comparing outputs with expected ones at the tolerances of docs/testing.md, and
 * cutting a sequence out of an input file, into pieces that hand on their cache. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/safetensors.h"
#include "tuner/convert.h"

enum { FILES_MAX = 16, TENSORS_MAX = 32 };

/* Tensors of an input that have one row a token, [B,T,...]. */
static const char *const PER_TOKEN[] = {"q", "k", "v", "f", "g", "s", "rq", "rk"};

static double element(const st_tensor *t, int64_t i) {
    if (t->dtype == ST_F64) return ((const double *)t->data)[i];
    return tune_load(t->data, t->dtype == ST_F32 ? NHA_F32 : t->dtype == ST_F16 ? NHA_F16 : NHA_BF16, i);
}

static bool is_real(const st_tensor *t) {
    return t->dtype != ST_I64 && t->dtype != ST_I32;
}

/* Elements of dimensions `from` and up. */
static int64_t elements(const st_tensor *t, int from) {
    int64_t n = 1;
    for (int d = from; d < t->rank; d++) n *= t->shape[d];
    return n;
}

/* Decided by the dtype that o is stored in. */
static double tolerance(const st_file *got) {
    const st_tensor *o = st_find(got, "o");
    return o && (o->dtype == ST_F16 || o->dtype == ST_BF16) ? 4e-3 : 1e-5;
}

/* Sums for a relative L2 error: sqrt(sum (got - expected)^2 / sum expected^2). */
typedef struct deviation {
    double difference, norm;
} deviation;

static void add(deviation *d, const st_tensor *expected, int64_t from_expected, const st_tensor *got, int64_t from_got,
                int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        double x = element(expected, from_expected + i), y = element(got, from_got + i);
        d->difference += (y - x) * (y - x);
        d->norm += x * x;
    }
}

/* Prints one line; true if within the tolerance. NaN is never within. An expected zero must be met exactly. */
static bool judge(const char *tensor, deviation d, double limit) {
    double relative = d.difference == 0 ? 0 : sqrt(d.difference / d.norm);
    bool good = relative <= limit;
    printf("%-4s relative error %.2e, allowed %.0e%s\n", tensor, relative, limit, good ? "" : ": WRONG");
    return good;
}

static bool compare(const st_file *expected, const st_file *got, err *e) {
    bool good = expected->count > 0;
    for (size_t i = 0; i < expected->count; i++) {
        const st_tensor *x = &expected->tensors[i], *y = st_find(got, x->name);
        if (!y) return st_error(got, x->name, e, "is missing");
        if (!is_real(x) || !is_real(y)) return st_error(got, x->name, e, "is not real");
        if (x->rank != y->rank || memcmp(x->shape, y->shape, sizeof *x->shape * (size_t)x->rank) != 0)
            return st_error(got, x->name, e, "has another shape than is expected");
        deviation d = {0, 0};
        add(&d, x, 0, y, 0, elements(x, 0));
        good = judge(x->name, d, tolerance(got)) && good;
    }
    return good;
}

/* First token of a sequence in the arrays of an input, and its tokens. False if there is no such sequence. */
static bool sequence_range(const st_file *in, int64_t n, int64_t *begin, int64_t *tokens) {
    const st_tensor *q = st_find(in, "q"), *cu = st_find(in, "cu_seqlens");
    if (!q || q->rank != 4 || n < 0) return false;
    if (cu) {
        const int32_t *c = cu->data;
        if (n + 1 >= elements(cu, 0)) return false;
        *begin = c[n];
        *tokens = c[n + 1] - c[n];
    } else {
        if (n >= q->shape[0]) return false;
        *begin = n * q->shape[1];
        *tokens = q->shape[1];
    }
    return true;
}

static bool lengths(const st_file *in) {
    int64_t begin, tokens;
    for (int64_t n = 0; sequence_range(in, n, &begin, &tokens); n++) printf("%lld\n", (long long)tokens);
    return true;
}

/* Writes tokens [from, to) of sequence n as a batch of one, with the caches of `before`, if it is given, as its start. */
static bool slice(const st_file *in, const char *out, int64_t n, int64_t from, int64_t to, const st_file *before, err *e) {
    int64_t begin, tokens;
    if (!sequence_range(in, n, &begin, &tokens) || from < 0 || to > tokens || from > to)
        return st_error(in, "q", e, "has no such tokens");
    st_tensor tensors[TENSORS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < sizeof PER_TOKEN / sizeof *PER_TOKEN; i++) {
        const st_tensor *t = st_find(in, PER_TOKEN[i]);
        if (!t) continue;
        size_t row = (size_t)elements(t, 2) * st_dtype_bytes(t->dtype);
        st_tensor *s = &tensors[count++];
        *s = *t;
        s->shape[0] = 1;
        s->shape[1] = to - from;
        s->bytes = row * (size_t)(to - from);
        s->data = (const char *)t->data + row * (size_t)(begin + from);
    }
    static const char *const MEMORY[] = {"hk0", "hv0"};
    for (size_t i = 0; i < 2 && !before; i++) {
        const st_tensor *t = st_find(in, MEMORY[i]);
        if (!t) continue;
        st_tensor *s = &tensors[count++];
        *s = *t;
        s->shape[0] = 1;
        s->bytes = (size_t)elements(t, 1) * sizeof(float);
        s->data = (const float *)t->data + n * elements(t, 1);
    }
    for (size_t i = 0; before && i < before->count; i++) {
        if (strncmp(before->tensors[i].name, "cache.", 6) != 0) continue;
        if (count == TENSORS_MAX) return st_error(before, before->tensors[i].name, e, "is one tensor too many");
        tensors[count++] = before->tensors[i];
    }
    return st_write(out, tensors, count, NULL, 0, e);
}

/* The pieces' o and lse one after the other, and the last one's memory, against sequence n of the expected outputs. */
static bool pieces(const st_file *in, const st_file *expected, int64_t n, const st_file *piece, size_t count, err *e) {
    int64_t begin, tokens;
    if (!sequence_range(in, n, &begin, &tokens)) return st_error(in, "q", e, "has no such sequence");
    bool good = true;
    static const char *const OUT[] = {"o", "lse"}, *const MEMORY[] = {"hk", "hv"};
    for (size_t i = 0; i < 2; i++) {
        const st_tensor *x = st_find(expected, OUT[i]);
        if (!x) return st_error(expected, OUT[i], e, "is missing");
        deviation d = {0, 0};
        int64_t at = 0;
        for (size_t p = 0; p < count; p++) {
            const st_tensor *y = st_find(&piece[p], OUT[i]);
            if (!y || !is_real(y) || y->rank != x->rank || y->shape[0] != 1 || elements(y, 2) != elements(x, 2) ||
                y->shape[1] > tokens - at)
                return st_error(&piece[p], OUT[i], e, "is missing or has another shape than is expected");
            add(&d, x, (begin + at) * elements(x, 2), y, 0, elements(y, 0));
            at += y->shape[1];
        }
        if (at != tokens) return st_error(expected, OUT[i], e, "has more tokens than the pieces");
        good = judge(OUT[i], d, tolerance(&piece[0])) && good;
    }
    for (size_t i = 0; i < 2; i++) {
        const st_tensor *x = st_find(expected, MEMORY[i]), *y = st_find(&piece[count - 1], MEMORY[i]);
        if (!x) continue;
        if (!y || !is_real(y) || y->rank != x->rank || elements(y, 0) != elements(x, 1))
            return st_error(&piece[count - 1], MEMORY[i], e, "is missing or has another shape than is expected");
        deviation d = {0, 0};
        add(&d, x, n * elements(x, 1), y, 0, elements(x, 1));
        good = judge(MEMORY[i], d, tolerance(&piece[0])) && good;
    }
    return good;
}

/* A copy with one element of one tensor, in its middle, set to the sum of it and the largest: for tests that must notice. */
static bool spoil(const st_file *in, const char *out, const char *name, err *e) {
    st_tensor tensors[TENSORS_MAX];
    void *copy = NULL;
    bool done = false;
    const st_tensor *t = st_find(in, name);
    if (!t || !is_real(t) || elements(t, 0) == 0 || in->count > TENSORS_MAX)
        return st_error(in, name, e, "is missing or empty");
    copy = malloc(t->bytes);
    if (!copy) return err_memory(e, "spoil");
    memcpy(copy, t->data, t->bytes);
    int64_t middle = elements(t, 0) / 2;
    double largest = 1;
    for (int64_t i = 0; i < elements(t, 0); i++) largest = fmax(largest, fabs(element(t, i)));
    double x = element(t, middle) + largest;
    if (t->dtype == ST_F64) ((double *)copy)[middle] = x;
    else tune_store(copy, t->dtype == ST_F32 ? NHA_F32 : t->dtype == ST_F16 ? NHA_F16 : NHA_BF16, middle, x);
    memcpy(tensors, in->tensors, sizeof *tensors * in->count);
    tensors[t - in->tensors].data = copy;
    done = st_write(out, tensors, in->count, NULL, 0, e);
    free(copy);
    return done;
}

static int usage(void) {
    fputs("golden_tool compare EXPECTED GOT | lengths IN | slice IN OUT SEQUENCE FROM TO [BEFORE]\n"
          "          | pieces IN EXPECTED SEQUENCE PIECE... | spoil IN OUT TENSOR\n", stderr);
    return 2;
}

int main(int argc, char **argv) {
    err e = {0};
    st_file file[FILES_MAX] = {{0}};
    size_t open = 0;
    bool good = false;
    if (argc < 3) return usage();
    const char *verb = argv[1];

    /* Which arguments are files to read. */
    int from = 2, to = 3, more = argc;
    if (!strcmp(verb, "compare") && argc == 4) to = 4;
    else if (!strcmp(verb, "lengths") && argc == 3) to = 3;
    else if (!strcmp(verb, "slice") && (argc == 7 || argc == 8)) more = 7;
    else if (!strcmp(verb, "pieces") && argc >= 6) to = 4, more = 5;
    else if (!strcmp(verb, "spoil") && argc == 5) to = 3;
    else return usage();
    for (int i = from; i < argc; i = i + 1 == to ? more : i + 1) {
        if (open == FILES_MAX || !st_read(argv[i], &file[open], &e)) goto done;
        open++;
    }

    if (!strcmp(verb, "compare")) good = compare(&file[0], &file[1], &e);
    else if (!strcmp(verb, "lengths")) good = lengths(&file[0]);
    else if (!strcmp(verb, "slice"))
        good = slice(&file[0], argv[3], atoll(argv[4]), atoll(argv[5]), atoll(argv[6]), open > 1 ? &file[1] : NULL, &e);
    else if (!strcmp(verb, "pieces")) good = pieces(&file[0], &file[1], atoll(argv[4]), file + 2, open - 2, &e);
    else good = spoil(&file[0], argv[3], argv[4], &e);

done:
    if (e.code != ERR_NONE) err_print(stderr, &e);
    err_clear(&e);
    for (size_t i = 0; i < open; i++) st_close(&file[i]);
    return good ? 0 : 1;
}
