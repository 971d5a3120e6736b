/* cuda_choose.c: which kernel of a library a plan takes on a GPU, and what to say where there is none. */
#include <stdio.h>
#include <string.h>

#include "runtime/cuda_internal.h"

struct candidate {
    nhr_choice choice;
    nhr_target target;
};

static bool better(const struct candidate *a, const struct candidate *b) {
    if (!b->choice.kernel) return true;
    if (a->choice.fit != b->choice.fit) return a->choice.fit > b->choice.fit;
    if (a->choice.kernel->rank != b->choice.kernel->rank) return a->choice.kernel->rank < b->choice.kernel->rank;
    int near_a = a->target.major * 10 + a->target.minor, near_b = b->target.major * 10 + b->target.minor;
    if (near_a != near_b) return near_a > near_b; /* neither is above the device */
    int narrow_a = 2 * (a->target.suffix == 'a') + (a->target.suffix == 'f');
    int narrow_b = 2 * (b->target.suffix == 'a') + (b->target.suffix == 'f');
    return narrow_a > narrow_b;
}

/* ---- Why there is none: of all kernels, the one that came furthest tells ---- */

/* What has been passed, in order. */
enum stage { STAGE_NONE, STAGE_OP, STAGE_NAME, STAGE_ISA, STAGE_CODE, STAGE_RANGE };

struct refusal {
    enum stage stage;
    bool ptx_would; /* NHA_PLAN_ALLOW_PTX would give one */
    int32_t shared_bytes;
    char targets[96]; /* of the code that does not fit, "sm_80, sm_90a" */
};

static void pass(struct refusal *r, enum stage stage) {
    if (stage > r->stage) r->stage = stage;
}

static void note_target(struct refusal *r, const char *isa) {
    char *at = strstr(r->targets, isa);
    size_t used = strlen(r->targets), length = strlen(isa);
    if (at && (at[length] == ',' || !at[length])) return;
    if (used + length + 3 < sizeof r->targets)
        snprintf(r->targets + used, sizeof r->targets - used, "%s%s", used ? ", " : "", isa);
}

static nha_status say(const nha_library *library, const nha_plan_options *o, const nhr_gpu *gpu,
                      const struct refusal *r, nha_error *error) {
    char why[208];
    switch (r->stage) {
    case STAGE_NONE:
        snprintf(why, sizeof why, "there is none at all");
        break;
    case STAGE_OP:
        snprintf(why, sizeof why, "there is none of that name");
        break;
    case STAGE_NAME:
        snprintf(why, sizeof why, "there is none for %.16s, as the plan asks", o->isa);
        break;
    case STAGE_ISA:
        snprintf(why, sizeof why, "it has %s%s", r->targets,
                 r->ptx_would ? "; NHA_PLAN_ALLOW_PTX lets the driver compile its PTX" : "");
        break;
    case STAGE_CODE:
        snprintf(why, sizeof why, "none is valid for these bounds");
        break;
    default:
        snprintf(why, sizeof why, "it needs %d bytes of shared memory a block, the device has %d", r->shared_bytes,
                 gpu->shared_bytes);
    }
    return nhr_fail(error, NHA_NO_KERNEL, "library %.40s has no CUDA %s kernel%s%.90s for compute capability %d.%d: %s",
                    library->name, nhr_op_name(o->op), o->kernel ? " " : "", o->kernel ? o->kernel : "", gpu->major,
                    gpu->minor, why);
}

/* ---- Choice ---- */

static int32_t shared_bytes(const nha_kernel *k) {
    int32_t most = 0;
    for (int32_t i = 0; i < k->cuda->launch_count; i++)
        if (k->cuda->launch[i].shared_bytes > most) most = k->cuda->launch[i].shared_bytes;
    return most;
}

static nhr_fit fit_of(const nha_kernel *k, const nhr_target *target, const nhr_gpu *gpu, bool ptx) {
    nhr_fit fit = k->cubin ? nhr_target_fit(target, gpu->major, gpu->minor) : NHR_FIT_NONE;
    if (!fit && ptx && k->ptx && nhr_target_compiles(target, gpu->major, gpu->minor)) fit = NHR_FIT_PTX;
    return fit;
}

nha_status nhr_cuda_choose(const nha_library *library, const nha_plan_options *o, const nha_plan *plan,
                           const nhr_gpu *gpu, nhr_choice *choice, nha_error *error) {
    nhr_target asked;
    if (o->isa && !nhr_target_parse(o->isa, &asked))
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "isa is \"%.40s\", expected a CUDA target such as sm_90", o->isa);
    bool ptx = o->flags & NHA_PLAN_ALLOW_PTX;
    struct candidate best = {{NULL, NHR_FIT_NONE}, {0, 0, 0}};
    struct refusal refusal = {.stage = STAGE_NONE};
    for (int32_t i = 0; i < library->kernel_count; i++) {
        const nha_kernel *k = &library->kernels[i];
        struct candidate c = {{k, NHR_FIT_NONE}, {0, 0, 0}};
        if (k->problem != o->problem || k->op != o->op || k->kind != NHA_CUDA) continue;
        pass(&refusal, STAGE_OP);
        if (o->kernel && strcmp(o->kernel, k->name)) continue;
        pass(&refusal, STAGE_NAME);
        if (o->isa && strcmp(o->isa, k->isa)) continue;
        pass(&refusal, STAGE_ISA);
        if (!nhr_target_parse(k->isa, &c.target)) continue; /* nha_library_check has seen to it */
        note_target(&refusal, k->isa);
        refusal.ptx_would |= fit_of(k, &c.target, gpu, true) == NHR_FIT_PTX;
        c.choice.fit = fit_of(k, &c.target, gpu, ptx);
        if (!c.choice.fit) continue;
        pass(&refusal, STAGE_CODE);
        if (!o->kernel && !nhr_in_range(plan, k)) continue;
        pass(&refusal, STAGE_RANGE);
        if (shared_bytes(k) > gpu->shared_bytes) {
            refusal.shared_bytes = shared_bytes(k);
            continue;
        }
        if (better(&c, &best)) best = c;
    }
    *choice = best.choice;
    return best.choice.kernel ? NHA_OK : say(library, o, gpu, &refusal, error);
}
