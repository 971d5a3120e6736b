/* place_execute.c: one execution on a device with its tensors in host memory. See place.h. */
#include <stdlib.h>
#include <string.h>

#include "tuner/batch.h"
#include "tuner/place.h"

enum { MIRRORS_MAX = 20, ZONE = 512, ZONE_BYTE = 0xa5 };

/* A host array and its image on the device, of `bytes` bytes; outside of watched places with ZONE bytes on either side. */
typedef struct mirror {
    const char *name;
    char *host;
    size_t bytes, zone;
    char *device; /* the allocation; the image begins `zone` bytes into it */
    bool output;
} mirror;

typedef struct execution {
    const tune_place *place;
    const gen_problem *problem;
    mirror mirrors[MIRRORS_MAX];
    int count;
} execution;

/* Device address that stands for `host`; the array is copied there. A second request for the same array gets the first's. */
static bool map(execution *x, const char *name, const void *host, size_t bytes, bool output, const void **device, err *e) {
    *device = NULL;
    if (!host)
        return true;
    for (int i = 0; i < x->count; i++) {
        mirror *old = &x->mirrors[i];
        if (old->host != host || old->bytes != bytes)
            continue;
        old->output = old->output || output;
        *device = old->device + old->zone;
        return true;
    }
    mirror *m = &x->mirrors[x->count];
    *m = (mirror){.name = name, .host = (char *)(uintptr_t)host, .bytes = bytes, .output = output};
    m->zone = x->place->watched ? 0 : ZONE;
    m->device = tune_place_alloc(x->place, (int64_t)(bytes + 2 * m->zone), e);
    if (!m->device)
        return false;
    x->count++;
    if (m->zone) {
        char zone[ZONE];
        memset(zone, ZONE_BYTE, sizeof zone);
        if (!tune_place_write(x->place, m->device, zone, ZONE, e) ||
            !tune_place_write(x->place, m->device + m->zone + bytes, zone, ZONE, e))
            return false;
    }
    *device = m->device + m->zone;
    return tune_place_write(x->place, m->device + m->zone, host, bytes, e);
}

/* A strided tensor [B,T,heads,dim] from its first to its last element. */
static bool map_tensor(execution *x, const char *name, nha_tensor *t, const nha_args *args, int64_t heads, int64_t dim,
                       int dtype, bool output, err *e) {
    const int64_t batch = args->cu_seqlens ? 1 : args->sequences;
    int64_t elements = 0;
    const void *device;
    if (!t->data)
        return true;
    if (batch && args->tokens && dim)
        elements = (batch - 1) * t->stride_batch + (args->tokens - 1) * t->stride_token + (heads - 1) * t->stride_head + dim;
    bool ok = map(x, name, t->data, (size_t)elements * (size_t)gen_dtype_bytes(dtype), output, &device, e);
    t->data = (void *)(uintptr_t)device;
    return ok;
}

static bool map_memory(execution *x, const char *name, const float **memory, int64_t sequences, int64_t dim, bool output,
                       err *e) {
    const nha_problem *p = &x->problem->nha;
    const void *device;
    bool ok = map(x, name, *memory, (size_t)(sequences * p->heads_kv * p->slots * dim) * sizeof(float), output, &device, e);
    *memory = device;
    return ok;
}

/* Replaces every host address in *args by one of the device. */
static bool map_all(execution *x, nha_args *args, err *e) {
    const nha_problem *p = &x->problem->nha;
    const nha_args host = *args;
    nha_tensor *slot[TUNE_INPUTS] = {&args->q, &args->k, &args->v, &args->gate, &args->s, &args->rq, &args->rk};
    const void *device;
    for (int id = 0; id < TUNE_INPUTS; id++) {
        tune_tensor_info info = tune_tensor(x->problem, id);
        if (info.present && !map_tensor(x, info.name, slot[id], &host, info.heads, info.dim, info.dtype, false, e))
            return false;
    }
    if (!map_tensor(x, "o", &args->o, &host, p->heads_q, p->head_dim_v, p->dtype, true, e) ||
        !map_tensor(x, "lse", &args->lse, &host, p->heads_q, 1, NHA_F32, true, e))
        return false;
    const float *hk = args->hk, *hv = args->hv;
    if (!map_memory(x, "hk0", &args->hk0, host.sequences, p->head_dim_qk, false, e) ||
        !map_memory(x, "hv0", &args->hv0, host.sequences, p->head_dim_v, false, e) ||
        !map_memory(x, "hk", &hk, host.sequences, p->head_dim_qk, true, e) ||
        !map_memory(x, "hv", &hv, host.sequences, p->head_dim_v, true, e))
        return false;
    args->hk = (float *)(uintptr_t)hk;
    args->hv = (float *)(uintptr_t)hv;
    if (!map(x, "cu_seqlens", host.cu_seqlens, (size_t)(host.sequences + 1) * sizeof(int32_t), false, &device, e))
        return false;
    args->cu_seqlens = device;
    if (!map(x, "cache_index", host.cache_index, (size_t)host.sequences * sizeof(int32_t), false, &device, e))
        return false;
    args->cache_index = device;
    return true;
}

static bool zones_intact(const execution *x, const mirror *m, err *e) {
    char zone[ZONE];
    for (int side = 0; m->zone && side < 2; side++) {
        if (!tune_place_read(x->place, zone, m->device + (side ? m->zone + m->bytes : 0), ZONE, e))
            return false;
        for (int i = 0; i < ZONE; i++)
            if ((unsigned char)zone[i] != ZONE_BYTE)
                return err_set(e, ERR_MISMATCH, "run", "%s: written outside of the tensor", m->name);
    }
    return true;
}

/* Outputs come back; inputs must be as they were. */
static bool take_back(const execution *x, err *e) {
    for (int i = 0; i < x->count; i++) {
        const mirror *m = &x->mirrors[i];
        char *to = m->output ? m->host : tune_aligned((int64_t)m->bytes);
        if (!to)
            return err_memory(e, "run");
        bool ok = zones_intact(x, m, e) && tune_place_read(x->place, to, m->device + m->zone, m->bytes, e);
        if (ok && !m->output && memcmp(to, m->host, m->bytes) != 0)
            ok = err_set(e, ERR_MISMATCH, "run", "%s: an input was written", m->name);
        if (!m->output)
            free(to);
        if (!ok)
            return false;
    }
    return true;
}

/* A fault of the kernel, as the emulator or the driver saw it. */
static bool fault(const tune_place *place, const char *op, const nha_error *error, err *e) {
    char text[768] = "";
    if (error->status != NHA_DEVICE_ERROR)
        return tune_nha_error(e, op, error);
    if (place->explain && place->explain(text, sizeof text)) {
        text[strcspn(text, "\n")] = 0;
        return err_set(e, ERR_MISMATCH, "run", "%s: %s", op, text);
    }
    return err_set(e, ERR_DEVICE, "run", "%s: %s", op, error->text);
}

bool tune_place_execute(const tune_place *place, const nha_plan *plan, const gen_problem *problem, int op,
                        const nha_args *args, void *workspace, size_t workspace_bytes, err *e) {
    nha_error error = {0};
    if (place->device.kind == NHA_CPU)
        return !nha_execute(plan, args, workspace, workspace_bytes, NULL, &error) ||
               tune_nha_error(e, gen_op_name(op), &error);
    execution x = {.place = place, .problem = problem};
    nha_args device = *args;
    bool ok = map_all(&x, &device, e) && tune_place_enter(place, e);
    if (ok) {
        nha_status status = nha_execute(plan, &device, workspace, workspace_bytes, NULL, &error);
        if (!status) {
            int result = place->device.driver->cuStreamSynchronize(NULL); /* where faults of a launch are reported */
            if (result) {
                const char *name = NULL;
                place->device.driver->cuGetErrorName(result, &name);
                error.status = status = NHA_DEVICE_ERROR;
                snprintf(error.text, sizeof error.text, "the kernel failed: %s (%d)", name ? name : "unknown", result);
            }
        }
        tune_place_leave(place);
        ok = !status || fault(place, gen_op_name(op), &error, e);
    }
    ok = ok && take_back(&x, e);
    for (int i = 0; i < x.count; i++)
        tune_place_free(place, x.mirrors[i].device);
    return ok;
}
