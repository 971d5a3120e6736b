/* test_runtime_state.c: rows of a pool with state_dtype bf16: import rounds to nearest even, once, and what was
 * exported comes back with the same bits, from one row to the next; tokens that wait are folded in fp32 before that. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/internal.h"
#include "tests/runtime/help_case.h"
#include "tests/runtime/help_reference.h"
#include "tests/shared/help_bits.h"

static const nha_device cpu = {.kind = NHA_CPU};

enum { ROWS = 4, POSITION = 23, ELEMENTS = 1 << 12 };

/* What a row is outside a pool. */
typedef struct opened {
    float hk[ELEMENTS], hv[ELEMENTS];
    char ring[5][1 << 14];
    nha_cache_image image;
} opened;

typedef struct pool {
    nha_problem problem;
    nha_library library; /* of that problem, and no kernel */
    nha_cache_format format;
    nha_cpu_cache layout;
    int64_t keys, values;
    char *memory;
} pool;

static uint32_t next(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state ^ *state >> 15;
}

static bool pool_make(int32_t i, pool *p) {
    p->problem = *nha_library_problem(&reference_library, i);
    if (!p->problem.slots || p->problem.window > 1000) /* no memory; or a ring of its own kind */
        return false;
    p->problem.state_dtype = NHA_BF16;
    p->library = reference_library;
    p->library.problems = &p->problem;
    p->library.problem_count = 1;
    p->library.kernel_count = 0;
    p->keys = (int64_t)p->problem.heads_kv * p->problem.slots * p->problem.head_dim_qk;
    p->values = (int64_t)p->problem.heads_kv * p->problem.slots * p->problem.head_dim_v;
    assert_true(p->keys <= ELEMENTS && p->values <= ELEMENTS);
    NHA_INIT(p->format);
    assert_int_equal(nha_cache_describe(&p->library, 0, cpu, 0, &p->format, NULL), NHA_OK);
    assert_true(nhr_cache_layout(&p->problem, NHA_CPU, p->format.tokens, &p->layout));
    p->memory = aligned_memory((size_t)(ROWS * p->format.row_bytes));
    assert_int_equal(nha_cache_reset(&p->library, 0, cpu, &p->format, p->memory, NULL, ROWS, NULL, NULL), NHA_OK);
    return true;
}

static char *row_of(const pool *p, int32_t row) {
    return p->memory + row * p->format.row_bytes;
}

static void open_image(const pool *p, opened *x) {
    NHA_INIT(x->image);
    x->image.pos = POSITION;
    x->image.tokens = p->format.ring;
    x->image.hk = x->hk;
    x->image.hv = x->hv;
    x->image.k = x->ring[0];
    x->image.v = x->ring[1];
    x->image.gate = x->ring[2];
    x->image.s = x->ring[3];
    x->image.rk = x->ring[4];
}

/* A memory of anything: random finite bits, ties, infinities, NaNs, the edges of the range; and any tokens. */
static void fill(const pool *p, opened *x, uint32_t seed) {
    static const uint32_t corners[] = {0,          0x80000000, 0x3f808000, 0x3f818000, 0x3f808001, 0x3f817fff,
                                       0xbf808000, 0x00008000, 0x00000001, 0x007fffff, 0x7f7f7fff, 0x7f7f8000,
                                       0x7f7fffff, 0x7f7f0000, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000,
                                       0xffc00000, 0x7fffffff, 0xffffe000, 0x7f800001, 0x3fffffff};
    const int64_t count = (int64_t)(sizeof corners / sizeof *corners);
    for (int64_t i = 0; i < p->keys + p->values; i++) {
        uint32_t bits = next(&seed);
        if ((bits & 0x7f800000) == 0x7f800000)
            bits &= 0xbfffffff;
        *(i < p->keys ? &x->hk[i] : &x->hv[i - p->keys]) = help_float_of(i % 2 ? corners[i / 2 % count] : bits);
    }
    for (int r = 0; r < 5; r++)
        for (size_t i = 0; i < sizeof x->ring[r]; i++)
            x->ring[r][i] = (char)next(&seed);
    open_image(p, x);
}

static void import(const pool *p, int32_t row, const opened *x) {
    nha_error error;
    if (nha_cache_import(&p->library, 0, cpu, &p->format, p->memory, row, &x->image, NULL, &error))
        fail_msg("import: %s", error.text);
}

static void export(const pool *p, int32_t row, opened *x) {
    nha_error error;
    memset(x, 0x5a, sizeof *x);
    open_image(p, x);
    if (nha_cache_export(&p->library, 0, cpu, &p->format, p->memory, row, &x->image, NULL, &error))
        fail_msg("export: %s", error.text);
    assert_int_equal(x->image.pos, POSITION);
}

/* Each element of `got` is that of `from`, rounded once. */
static void check_rounded(const pool *p, const opened *got, const opened *from) {
    for (int64_t i = 0; i < p->keys; i++)
        assert_int_equal(help_bits_of(got->hk[i]), help_bits_of(help_bf16_value(help_bf16_of(from->hk[i]))));
    for (int64_t i = 0; i < p->values; i++)
        assert_int_equal(help_bits_of(got->hv[i]), help_bits_of(help_bf16_value(help_bf16_of(from->hv[i]))));
}

static void check_same(const pool *p, const opened *a, const opened *b) {
    assert_memory_equal(a->hk, b->hk, (size_t)p->keys * sizeof *a->hk);
    assert_memory_equal(a->hv, b->hv, (size_t)p->values * sizeof *a->hv);
    assert_memory_equal(a->ring, b->ring, sizeof a->ring); /* what a problem does not have is as it was poisoned */
}

static void test_moves(void **state) {
    (void)state;
    static opened given, first, second;
    static pool p;
    int tried = 0, rounded = 0;
    for (int32_t i = 0; i < REFERENCE_PROBLEMS; i++) {
        if (!pool_make(i, &p))
            continue;
        fill(&p, &given, (uint32_t)i + 1);
        import(&p, 1, &given);
        export(&p, 1, &first);
        check_rounded(&p, &first, &given);
        for (int64_t j = 0; j < p.keys; j++)
            rounded += help_bits_of(first.hk[j]) != help_bits_of(given.hk[j]);
        import(&p, 3, &first);
        export(&p, 3, &second);
        check_same(&p, &first, &second);
        assert_memory_equal(row_of(&p, 1), row_of(&p, 3), (size_t)p.format.row_bytes);
        for (int32_t row = 0; row < ROWS; row += 2) /* the rows between */
            for (int64_t b = 0; b < p.format.row_bytes; b++)
                assert_int_equal(row_of(&p, row)[b], 0);
        free(p.memory);
        tried++;
    }
    assert_true(tried >= 6 && rounded > 100);
}

/* Whatever bf16 a kernel has left in a row comes back as it is. */
static void test_bits(void **state) {
    (void)state;
    static opened first, second;
    static pool p;
    assert_true(pool_make(7, &p)); /* no padding */
    assert_int_equal(p.problem.slots % NHA_CPU_PAD + p.problem.head_dim_v % NHA_CPU_PAD, 0);
    const int64_t elements = p.keys + p.values;
    uint16_t *memory = (uint16_t *)(void *)(row_of(&p, 0) + p.layout.memory_offset);
    *(int64_t *)(void *)row_of(&p, 0) = POSITION;
    for (int64_t from = 0; from < 1 << 16; from += elements) {
        for (int64_t i = 0; i < elements; i++) {
            const uint16_t bits = (uint16_t)(from + i);
            memory[i] = (bits & 0x7f80) == 0x7f80 && bits & 0x7f ? bits | 0x40 : bits; /* quiet NaNs alone */
        }
        export(&p, 0, &first);
        import(&p, 2, &first);
        export(&p, 2, &second);
        check_same(&p, &first, &second);
        assert_memory_equal(memory, row_of(&p, 2) + p.layout.memory_offset, (size_t)elements * sizeof *memory);
    }
    free(p.memory);
}

/* With tokens waiting, export has them folded in fp32; import rounds that once, and leaves none waiting. */
static void test_pending(void **state) {
    (void)state;
    static opened given, folded, first, second;
    static pool p;
    enum { WAITING = 3 };
    assert_true(pool_make(7, &p));
    const nha_problem *n = &p.problem;
    const int64_t Mp = NHA_CPU_PADDED(n->slots),
                  token = NHA_CPU_PENDING_FLOATS(n->head_dim_qk, n->head_dim_v, n->slots, n->gate_s_given);
    float *pending = (float *)(void *)(row_of(&p, 0) + p.layout.pending_offset);
    uint32_t seed = 5;
    int beyond = 0;
    fill(&p, &given, 9);
    for (int64_t i = 0; i < p.keys; i++)
        given.hk[i] = (float)(int32_t)next(&seed) * 0x1p-31f;
    for (int64_t i = 0; i < p.values; i++)
        given.hv[i] = (float)(int32_t)next(&seed) * 0x1p-31f;
    import(&p, 0, &given);
    assert_int_equal(n->heads_kv, 1);
    for (int64_t j = 0; j < WAITING; j++)
        for (int64_t i = 0; i < token; i++) {
            const float x = (float)(next(&seed) >> 8) * 0x1p-24f; /* 0 to 1 */
            pending[j * token + i] = i >= Mp && i < 2 * Mp ? pending[j * token + i - Mp] - 1 : x;
        }
    row_of(&p, 0)[NHA_CPU_ROW_PENDING] = WAITING;
    export(&p, 0, &folded);
    for (int64_t i = 0; i < p.keys; i++)
        beyond += (help_bits_of(folded.hk[i]) & 0xffff) != 0;
    assert_true(beyond > p.keys / 2);
    import(&p, 1, &folded);
    assert_int_equal(row_of(&p, 1)[NHA_CPU_ROW_PENDING], 0);
    export(&p, 1, &first);
    check_rounded(&p, &first, &folded);
    import(&p, 2, &first);
    export(&p, 2, &second);
    check_same(&p, &first, &second);
    free(p.memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_moves), cmocka_unit_test(test_bits),
                                       cmocka_unit_test(test_pending)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
