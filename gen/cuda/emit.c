/* emit.c: problem -> tile -> layout -> launch for CUDA kernels: one candidate from its knobs to its source, or to the
 * reason why there is none. */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "gen/cuda/header.h"
#include "gen/cuda/knobs.h"
#include "gen/render.h"

int gen_cuda_tile_string(const gen_cuda_kernel *kernel, const gen_cuda_target *target, const gen_cuda_tile *tile,
                         char *out, size_t size) {
    int length = snprintf(out, size, "%s.%s", target->name, kernel->name);
    for (int i = 0; i < tile->count; i++) {
        char name[GEN_CUDA_KNOB_NAME_MAX + 1], *to = name; /* NUM_STAGES: numstages */
        for (const char *from = tile->knob[i].name; *from; from++)
            if (*from != '_')
                *to++ = (char)tolower((unsigned char)*from);
        *to = 0;
        size_t used = (size_t)length < size ? (size_t)length : size;
        length += snprintf(out ? out + used : NULL, size - used, ".%s%" PRId32, name, tile->knob[i].value);
    }
    return length;
}

/* nha_NAME_OP_KERNEL_TARGET_DIGEST: the digest stands for problem and tile, so that names never meet. */
static void name_entries(const gen_cuda_kernel *kernel, const gen_problem *problem, const gen_cuda_target *target,
                         gen_cuda_unit *unit) {
    char string[256], digest[BASE_SHA256_HEX];
    base_sha256 h;
    base_sha256_init(&h);
    gen_problem_string(problem, kernel->op, string, sizeof string);
    base_sha256_add_text(&h, string);
    base_sha256_add_text(&h, unit->name);
    base_sha256_end_hex(&h, digest);
    for (int i = 0; i < kernel->launch_count; i++)
        snprintf(unit->entry[i], sizeof unit->entry[i], "nha_%s_%s_%s_%s_%.8s%s", problem->c_name,
                 gen_op_name(kernel->op), kernel->name, target->name, digest, kernel->launch[i].suffix);
}

/* ---- layout ---- */

static bool read_constant(const gen_cuda_kernel *kernel, const gen_rendered *rendered, const char *name, int64_t most,
                          int64_t *value, err *e) {
    *value = gen_rendered_integer(rendered, name, -1);
    if (*value >= 0 && *value <= most)
        return true;
    return err_at(e, ERR_INPUT, "render", kernel->template_file, 0, 0,
                  "needs a constexpr %s, from 0 to %lld, computed from knobs alone", name, (long long)most);
}

static bool read_layout(const gen_cuda_kernel *kernel, const gen_rendered *rendered, gen_cuda_layout *layout, err *e) {
    int64_t value;
    for (int i = 0; i < kernel->launch_count; i++) {
        const gen_cuda_launch *launch = &kernel->launch[i];
        if (!read_constant(kernel, rendered, launch->threads, INT32_MAX, &value, e))
            return false;
        layout->threads[i] = (int32_t)value;
        if (launch->shared && !read_constant(kernel, rendered, launch->shared, INT32_MAX, &value, e))
            return false;
        layout->shared_bytes[i] = launch->shared ? (int32_t)value : 0;
    }
    layout->workspace_bytes = gen_rendered_integer(rendered, "WORKSPACE_BYTES", 0);
    layout->workspace_window_bytes = gen_rendered_integer(rendered, "WORKSPACE_WINDOW_BYTES", 0);
    layout->register_estimate = (int32_t)gen_rendered_integer(rendered, "REGISTER_ESTIMATE", 0);
    if (layout->workspace_bytes < 0 || layout->workspace_window_bytes < 0)
        return err_at(e, ERR_INPUT, "render", kernel->template_file, 0, 0, "its workspace is negative");
    return true;
}

/* ---- constraints: what no launch on the target could do; what a template asks of its own knobs are its assertions
 * ---- */

typedef struct question {
    const gen_cuda_kernel *kernel;
    const gen_cuda_target *target;
    const gen_cuda_layout *layout;
} question;

static bool thread_count(const question *q) {
    for (int i = 0; i < q->kernel->launch_count; i++)
        if (q->layout->threads[i] < 32 || q->layout->threads[i] > 1024 || q->layout->threads[i] % 32)
            return false;
    return true;
}

static bool shared_memory(const question *q) {
    for (int i = 0; i < q->kernel->launch_count; i++)
        if (q->layout->shared_bytes[i] > q->target->shared_block_bytes)
            return false;
    return true;
}

static bool registers_thread(const question *q) {
    return q->layout->register_estimate <= 255;
}

static bool registers_block(const question *q) {
    return (int64_t)q->layout->register_estimate * q->layout->threads[0] <= q->target->registers_sm;
}

static const struct constraint {
    const char *name;
    bool (*holds)(const question *q);
    const char *reason;
} constraints[] = {
    {"thread_count", thread_count, "the threads of a block are not a multiple of 32 from 32 to 1024"},
    {"shared_memory", shared_memory, "a block needs more shared memory than the target has"},
    {"registers_thread", registers_thread, "a thread needs more than 255 registers"},
    {"registers_block", registers_block, "a block needs more registers than a multiprocessor has"},
};

static const char *reject(const gen_cuda_kernel *kernel, const gen_cuda_target *target, const gen_cuda_layout *layout) {
    question q = {kernel, target, layout};
    for (size_t i = 0; i < sizeof constraints / sizeof *constraints; i++)
        if (!constraints[i].holds(&q))
            return constraints[i].reason;
    return NULL;
}

/* ---- the pipeline ---- */

void gen_cuda_unit_fix(gen_cuda_unit *unit) {
    for (int i = 0; i < unit->code.launch_count; i++)
        unit->code.launch[i].entry = unit->entry[i];
}

static void describe_launches(const gen_cuda_kernel *kernel, gen_cuda_unit *unit) {
    const gen_cuda_layout *layout = &unit->layout;
    unit->code = (nha_cuda_code){.launch_count = kernel->launch_count,
                                 .workspace_bytes = layout->workspace_bytes,
                                 .workspace_window_bytes = layout->workspace_window_bytes};
    for (int i = 0; i < kernel->launch_count; i++)
        unit->code.launch[i] = (nha_cuda_launch){.grid = NHA_GRID_HEADS,
                                                 .threads = layout->threads[i],
                                                 .shared_bytes = layout->shared_bytes[i],
                                                 .needs_cache = kernel->launch[i].needs_cache};
    gen_cuda_unit_fix(unit);
}

static bool compose(const gen_cuda_kernel *kernel, const gen_problem *problem, const gen_cuda_target *target,
                    const gen_cuda_tile *tile, const gen_rendered *rendered, gen_cuda_unit *unit, err *e) {
    base_buf text = {0};
    bool ok = gen_cuda_header(kernel, problem, target, tile, unit, rendered, &text, e);
    base_buf_add(&text, rendered->text, rendered->size);
    if (ok)
        unit->source = base_buf_take(&text, &unit->source_size, "render", e);
    base_buf_free(&text);
    return ok && unit->source;
}

bool gen_cuda_emit(const gen_embedded *files, const gen_cuda_kernel *kernel, const gen_problem *problem,
                   const gen_cuda_target *target, const gen_cuda_tile *tile, gen_cuda_unit *unit, err *e) {
    gen_cuda_given given = {.count = 0};
    gen_rendered rendered = {0};
    char string[160];
    bool ok = false;
    *unit = (gen_cuda_unit){.source = NULL};
    const char *reason = kernel->refuses(problem, target);
    if (reason) {
        snprintf(unit->reason, sizeof unit->reason, "%s", reason);
        return true;
    }
    gen_cuda_tile_string(kernel, target, tile, string, sizeof string);
    snprintf(unit->name, sizeof unit->name, "%s.%s", gen_op_name(kernel->op), string);
    name_entries(kernel, problem, target, unit);
    if (!gen_cuda_give(kernel, problem, target, tile, unit->entry, &given, e) ||
        !gen_render(files, kernel->template_file, given.item, given.count, &rendered, e))
        goto done;
    memcpy(unit->template_hash, rendered.hash, sizeof unit->template_hash);
    reason = rendered.refusal;
    if (!reason) {
        if (!read_layout(kernel, &rendered, &unit->layout, e))
            goto done;
        reason = reject(kernel, target, &unit->layout);
    }
    if (reason) {
        snprintf(unit->reason, sizeof unit->reason, "%s", reason);
        ok = true;
        goto done;
    }
    describe_launches(kernel, unit);
    ok = compose(kernel, problem, target, tile, &rendered, unit, e);
done:
    base_arena_free(&given.arena);
    gen_rendered_destroy(&rendered);
    if (!ok)
        gen_cuda_unit_destroy(unit);
    return ok;
}

void gen_cuda_unit_destroy(gen_cuda_unit *unit) {
    free(unit->source);
    *unit = (gen_cuda_unit){.source = NULL};
}
