/* prefill_ahead.c: what is asked for before it is needed: rows of the next block, into the second-level cache, where the arithmetic of the
 * softmax hides it. */
#include "gen/cpu/prefill.h"

val strided(kernel *k, val f, frame_slot slot, size_t member, val token, val head) {
    ir *b = &k->b;
    val p = ir_at(b, frame_ptr(k, f, slot), ir_mul(b, token, frame_arg(k, f, member + offsetof(nha_cpu_tensor, token))));
    return ir_at(b, p, ir_mul(b, head, frame_arg(k, f, member + offsetof(nha_cpu_tensor, head))));
}

/* Lines that no hardware prefetcher foresees, as heads of other kv heads lie between them. */
void ask_ahead(kernel *k, val f, val t, val head, int heads) {
    ir *b = &k->b;
    const int64_t bytes = (int64_t)k->K * row_element_bytes(k->p->dtype);
    for (int h = 0; h < heads; h++)
        ir_prefetch_row(b, strided(k, f, FRAME_Q, offsetof(nha_cpu_args, q), ir_addc(b, t, k->block), ir_addc(b, head, h)), bytes);
}

void ask_ahead_rows(kernel *k, val f, val t) {
    ir *b = &k->b;
    const int64_t element = row_element_bytes(k->p->dtype);
    const struct {
        frame_slot slot;
        size_t member;
        int64_t bytes;
        int64_t lag;
        bool read;
    } rows[] = {
        {FRAME_K, offsetof(nha_cpu_args, k), k->K * element, 0, k->W > 0 && k->p->rope != NHA_ROPE_GIVEN},
        {FRAME_RK, offsetof(nha_cpu_args, rk), k->K * element, 0, k->W > 0 && k->p->rope == NHA_ROPE_GIVEN},
        {FRAME_V, offsetof(nha_cpu_args, v), k->V * element, 0, k->W > 0},
        {FRAME_GATE, offsetof(nha_cpu_args, gate), (int64_t)k->M * row_element_bytes(k->p->gate_dtype), k->L, k->M > 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!rows[i].read)
            continue;
        val stride = frame_arg(k, f, rows[i].member + offsetof(nha_cpu_tensor, token));
        val at = ir_mul(b, ir_addc(b, t, k->block - rows[i].lag), stride);
        ir_prefetch_row(b, ir_at(b, frame_ptr(k, f, rows[i].slot), at), rows[i].bytes);
    }
}
