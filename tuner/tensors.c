/* tensors.c: see tensors.h. One table says which tensors a problem has, with dtype and shape in terms of B, T, N and
 * R'. */
#include "tuner/tensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"

enum { NAMES_MAX = 24 };
static const int64_t LAST_POSITION = (int64_t)1 << 40;

/* First dimensions of a tensor; the others are heads and dim. */
typedef enum leading { LEAD_TOKENS /* [B,T,..] */, LEAD_MEMORY /* [N,H,M,dim] */, LEAD_CACHE /* [N,R',..] */ } leading;

typedef struct expected {
    char name[16];
    bool required; /* whenever its group is there: the inputs, hk0 and hv0, the cache */
    leading lead;
    st_dtype dtype;
    int64_t heads, dim;
    const void **place; /* where the data's address goes */
} expected;

static st_dtype st_of(int dtype) {
    return dtype == NHA_F32 ? ST_F32 : dtype == NHA_F16 ? ST_F16 : ST_BF16;
}

static const char *gate_name(const gen_problem *p) {
    return p->nha.gate_input == NHA_GATE_LOGIT ? "f" : "g";
}

/* Per-token tensors of the problem, and with `cache` those of a cache. */
static int list_tokens(const gen_problem *p, bool cache, expected *out) {
    int count = 0;
    for (int id = 0; id < TUNE_INPUTS; id++) {
        tune_tensor_info info = tune_tensor(p, id);
        bool in_cache = id == TUNE_K || id == TUNE_V || id == TUNE_GATE || id == TUNE_S || id == TUNE_RK;
        if (!info.present || (cache && !in_cache))
            continue;
        expected *x = &out[count++];
        *x = (expected){.required = true,
                        .lead = cache ? LEAD_CACHE : LEAD_TOKENS,
                        .dtype = st_of(info.dtype),
                        .heads = info.heads,
                        .dim = info.dim};
        snprintf(x->name, sizeof x->name, "%s%s", cache ? "cache." : "", info.name);
    }
    return count;
}

static int list_memory(const gen_problem *p, const char *const names[2], expected *out) {
    if (p->nha.slots == 0)
        return 0;
    for (int i = 0; i < 2; i++) {
        out[i] = (expected){.required = true,
                            .lead = LEAD_MEMORY,
                            .dtype = ST_F32,
                            .heads = p->nha.slots,
                            .dim = i ? p->nha.head_dim_v : p->nha.head_dim_qk};
        snprintf(out[i].name, sizeof out[i].name, "%s", names[i]);
    }
    return 2;
}

/* ---- Reading ---- */

static bool check_names(const tune_tensors *t, const gen_problem *p, nha_op op, err *e) {
    expected lists[NAMES_MAX];
    static const char *const memory[2] = {"hk0", "hv0"}, *const cached[2] = {"cache.hk", "cache.hv"};
    int count = list_tokens(p, false, lists);
    count += list_tokens(p, true, lists + count);
    if (op == NHA_PREFILL)
        count += list_memory(p, memory, lists + count);
    count += list_memory(p, cached, lists + count);
    const char *names[NAMES_MAX + 2];
    size_t known = 0;
    for (int i = 0; i < count; i++)
        names[known++] = lists[i].name;
    names[known++] = "cache.pos";
    if (op == NHA_PREFILL)
        names[known++] = "cu_seqlens";
    for (size_t i = 0; i < t->file.count; i++) {
        const char *name = t->file.tensors[i].name;
        bool found = p->nha.slots == 0 && (strcmp(name, "f") == 0 || strcmp(name, "g") == 0);
        for (size_t k = 0; k < known && !found; k++)
            found = strcmp(name, names[k]) == 0;
        if (found)
            continue;
        if (strcmp(name, "cu_seqlens") == 0)
            return st_error(&t->file, name, e, "decode takes no cu_seqlens; run it on one batch of equal lengths");
        if (strcmp(name, "hk0") == 0 || strcmp(name, "hv0") == 0)
            return st_error(&t->file, name, e,
                            p->nha.slots
                                ? "decode starts from a cache or from nothing; give the memory as cache.hk and cache.hv"
                                : "the library has no slots, so there is no memory");
        if ((strcmp(name, "f") == 0 || strcmp(name, "g") == 0))
            return st_error(&t->file, name, e, "the library takes its gate as %s (%s)", gate_name(p),
                            p->nha.gate_input == NHA_GATE_LOGIT ? "logits" : "natural logarithms");
        return st_error(&t->file, name, e, "there is no such input; did you mean %s?",
                        base_nearest(name, names, known));
    }
    return true;
}

/* The tensor with its dtype and shape checked; NULL on an error. A negative shape entry accepts any size, which it
 * becomes. */
static const st_tensor *get(const tune_tensors *t, const char *name, st_dtype dtype, int rank, int64_t *shape, err *e) {
    const st_tensor *x = st_find(&t->file, name);
    if (!x) {
        st_error(&t->file, name, e, "is missing");
        return NULL;
    }
    char is[96], want[96];
    if (x->dtype != dtype) {
        st_error(&t->file, name, e, "its dtype is %s; the library needs %s", st_dtype_name(x->dtype),
                 st_dtype_name(dtype));
        return NULL;
    }
    bool fits = x->rank == rank, any = false;
    for (int i = 0; fits && i < rank; i++) {
        if (shape[i] < 0)
            shape[i] = x->shape[i];
        fits = x->shape[i] == shape[i];
    }
    if (fits)
        return x;
    st_shape_text(x->rank, x->shape, is, sizeof is);
    st_shape_text(rank, shape, want, sizeof want);
    for (int i = 0; i < rank; i++)
        any = any || shape[i] < 0;
    st_error(&t->file, name, e, "its shape is %s; the library needs %s%s", is, want, any ? " (-1: any)" : "");
    return NULL;
}

static bool get_all(tune_tensors *t, const gen_problem *p, expected *list, int count, int64_t first, int64_t second,
                    err *e) {
    for (int i = 0; i < count; i++) {
        bool memory = list[i].lead == LEAD_MEMORY;
        int64_t shape[4] = {first, memory ? p->nha.heads_kv : second, list[i].heads, list[i].dim};
        const st_tensor *x = get(t, list[i].name, list[i].dtype, 4, shape, e);
        if (!x)
            return false;
        *list[i].place = x->data;
    }
    return true;
}

static bool read_inputs(tune_tensors *t, const gen_problem *p, err *e) {
    int64_t shape[4] = {-1, -1, p->nha.heads_q, p->nha.head_dim_qk};
    if (!get(t, "q", st_of(p->nha.dtype), 4, shape, e))
        return false;
    if (shape[0] < 1 || shape[0] > INT32_MAX / 2)
        return st_error(&t->file, "q", e, "a batch of %lld sequences cannot be run", (long long)shape[0]);
    t->rows = shape[0];
    t->batch.sequences = shape[0];
    t->batch.tokens = shape[1];
    expected list[NAMES_MAX];
    const void *data[NAMES_MAX];
    int count = list_tokens(p, false, list), at = 0;
    for (int i = 0; i < count; i++)
        list[i].place = &data[i];
    if (!get_all(t, p, list, count, shape[0], shape[1], e))
        return false;
    for (int id = 0; id < TUNE_INPUTS; id++)
        if (tune_tensor(p, id).present)
            tune_batch_set_tensor(&t->batch, id, data[at++]);
    return true;
}

static bool read_cu_seqlens(tune_tensors *t, err *e) {
    if (!st_find(&t->file, "cu_seqlens"))
        return true;
    int64_t shape[1] = {-1};
    const st_tensor *x = get(t, "cu_seqlens", ST_I32, 1, shape, e);
    if (!x)
        return false;
    const int32_t *cu = x->data;
    int64_t n = shape[0] - 1;
    if (t->rows != 1)
        return st_error(&t->file, "cu_seqlens", e, "needs B = 1; q has B = %lld", (long long)t->rows);
    if (n < 1)
        return st_error(&t->file, "cu_seqlens", e, "has %lld entries; N sequences need N + 1, at least 2",
                        (long long)shape[0]);
    if (cu[0] != 0)
        return st_error(&t->file, "cu_seqlens", e, "begins with %d; it must begin with 0", (int)cu[0]);
    for (int64_t i = 0; i < n; i++)
        if (cu[i + 1] < cu[i])
            return st_error(&t->file, "cu_seqlens", e, "entry %lld (%d) is below the one before it (%d)",
                            (long long)i + 1, (int)cu[i + 1], (int)cu[i]);
    if (cu[n] != t->batch.tokens)
        return st_error(&t->file, "cu_seqlens", e, "ends with %d; it must end with T = %lld", (int)cu[n],
                        (long long)t->batch.tokens);
    t->batch.cu_seqlens = cu;
    t->batch.sequences = n;
    return true;
}

static bool has_cache(const tune_tensors *t) {
    for (size_t i = 0; i < t->file.count; i++)
        if (strncmp(t->file.tensors[i].name, "cache.", 6) == 0)
            return true;
    return false;
}

static bool read_memory(tune_tensors *t, const gen_problem *p, err *e) {
    static const char *const names[2] = {"hk0", "hv0"};
    bool some = st_find(&t->file, "hk0") || st_find(&t->file, "hv0");
    if (!some)
        return true;
    if (has_cache(t))
        return st_error(&t->file, st_find(&t->file, "hk0") ? "hk0" : "hv0", e,
                        "is not taken beside a cache, which has its own memory (cache.hk, cache.hv)");
    expected list[2];
    const void *data[2] = {NULL, NULL};
    int count = list_memory(p, names, list);
    for (int i = 0; i < count; i++)
        list[i].place = &data[i];
    if (!get_all(t, p, list, count, t->batch.sequences, 0, e))
        return false;
    t->batch.hk0 = data[0];
    t->batch.hv0 = data[1];
    return true;
}

static bool read_cache(tune_tensors *t, const gen_problem *p, err *e) {
    static const char *const names[2] = {"cache.hk", "cache.hv"};
    if (!has_cache(t))
        return true;
    tune_cache *c = &t->cache;
    c->sequences = t->batch.sequences;
    int64_t shape[1] = {c->sequences}, most = 0;
    const st_tensor *pos = get(t, "cache.pos", ST_I64, 1, shape, e);
    if (!pos)
        return false;
    c->pos = (int64_t *)(uintptr_t)pos->data;
    for (int64_t n = 0; n < c->sequences; n++) {
        if (c->pos[n] < 0 || c->pos[n] > LAST_POSITION)
            return st_error(&t->file, "cache.pos", e, "entry %lld is %lld; a position is from 0 to 2^40", (long long)n,
                            (long long)c->pos[n]);
        if (c->pos[n] > most)
            most = c->pos[n];
    }
    expected list[NAMES_MAX];
    const void *data[NAMES_MAX];
    int count = list_tokens(p, true, list), at = 0;
    for (int i = 0; i < count; i++)
        list[i].place = &data[i];
    int64_t k_shape[4] = {c->sequences, -1, p->nha.heads_kv, p->nha.head_dim_qk};
    if (!get(t, "cache.k", st_of(p->nha.dtype), 4, k_shape, e))
        return false;
    c->tokens = k_shape[1];
    int64_t need = most < p->ring ? most : p->ring;
    if (c->tokens < need)
        return st_error(&t->file, "cache.k", e, "has %lld tokens; min(R, largest position) = %lld are needed",
                        (long long)c->tokens, (long long)need);
    if (!get_all(t, p, list, count, c->sequences, c->tokens, e))
        return false;
    void **places[] = {&c->k, &c->v, &c->gate, &c->s, &c->rk};
    static const int ids[] = {TUNE_K, TUNE_V, TUNE_GATE, TUNE_S, TUNE_RK};
    for (int i = 0; i < 5; i++)
        if (tune_tensor(p, ids[i]).present)
            *places[i] = (void *)(uintptr_t)data[at++];
    count = list_memory(p, names, list);
    for (int i = 0; i < count; i++)
        list[i].place = &data[i];
    if (!get_all(t, p, list, count, c->sequences, 0, e))
        return false;
    if (count) {
        c->hk = (float *)(uintptr_t)data[0];
        c->hv = (float *)(uintptr_t)data[1];
    }
    t->batch.cache = c;
    return true;
}

bool tune_tensors_read(const char *path, const gen_problem *problem, nha_op op, tune_tensors *t, err *e) {
    memset(t, 0, sizeof *t);
    if (!st_read(path, &t->file, e))
        return false;
    if (check_names(t, problem, op, e) && read_inputs(t, problem, e) && read_cu_seqlens(t, e) &&
        read_memory(t, problem, e) && read_cache(t, problem, e))
        return true;
    tune_tensors_close(t);
    return false;
}

void tune_tensors_close(tune_tensors *t) {
    st_close(&t->file);
    memset(t, 0, sizeof *t);
}

/* ---- Writing ---- */

typedef struct output {
    st_tensor tensors[NAMES_MAX];
    char names[NAMES_MAX][16];
    size_t count;
} output;

static void put(output *out, const char *name, st_dtype dtype, int rank, const int64_t *shape, const void *data) {
    st_tensor *x = &out->tensors[out->count];
    snprintf(out->names[out->count], sizeof out->names[0], "%s", name);
    static const char nothing[8];
    *x = (st_tensor){.name = out->names[out->count], .dtype = dtype, .rank = rank, .data = data ? data : nothing};
    memcpy(x->shape, shape, (size_t)rank * sizeof *shape);
    out->count++;
}

static void put_memory(output *out, const gen_problem *p, const char *k_name, const char *v_name, int64_t n,
                       const float *hk, const float *hv) {
    if (p->nha.slots == 0)
        return;
    put(out, k_name, ST_F32, 4, (int64_t[]){n, p->nha.heads_kv, p->nha.slots, p->nha.head_dim_qk}, hk);
    put(out, v_name, ST_F32, 4, (int64_t[]){n, p->nha.heads_kv, p->nha.slots, p->nha.head_dim_v}, hv);
}

bool tune_tensors_write(const char *path, const gen_problem *p, const tune_tensors *inputs, const tune_result *r,
                        err *e) {
    output *out = calloc(1, sizeof *out);
    if (!out)
        return err_memory(e, "run");
    int64_t b = inputs->rows, t = inputs->batch.tokens, n = inputs->batch.sequences;
    put(out, "o", st_of(p->nha.dtype), 4, (int64_t[]){b, t, p->nha.heads_q, p->nha.head_dim_v}, r->o);
    put(out, "lse", ST_F32, 3, (int64_t[]){b, t, p->nha.heads_q}, r->lse);
    put_memory(out, p, "hk", "hv", n, r->hk, r->hv);
    if (r->has_cache) {
        const tune_cache *c = &r->cache;
        expected list[NAMES_MAX];
        int count = list_tokens(p, true, list), at = 0;
        const void *data[] = {c->k, c->v, c->gate, c->s, c->rk};
        static const int ids[] = {TUNE_K, TUNE_V, TUNE_GATE, TUNE_S, TUNE_RK};
        for (int i = 0; i < 5 && at < count; i++) {
            if (!tune_tensor(p, ids[i]).present)
                continue;
            put(out, list[at].name, list[at].dtype, 4, (int64_t[]){n, c->tokens, list[at].heads, list[at].dim},
                data[i]);
            at++;
        }
        put_memory(out, p, "cache.hk", "cache.hv", n, c->hk, c->hv);
        put(out, "cache.pos", ST_I64, 1, (int64_t[]){n}, c->pos);
    }
    bool ok = st_write(path, out->tensors, out->count, NULL, 0, e);
    free(out);
    return ok;
}
