/* unit.c: problem + isa + tile -> a module: layout, then the operation's functions, then names. */
#include <llvm-c/Comdat.h>
#include <string.h>

#include "base/sha256.h"
#include "gen/cpu/cpu.h"
#include "gen/cpu/decode.h"

/* Names decide which code a symbol stands for: op, isa, knobs and a hash of the problem and this version, so that equal names in two
 * libraries of one program are equal code. */
static bool name_unit(gen_cpu_unit *unit, const gen_problem *problem, nha_op op, const gen_isa *isa, const gen_tile *tile, err *e) {
    char text[512], tile_text[128], hex[BASE_SHA256_HEX], stem[200];
    int n = gen_problem_string(problem, op, text, sizeof text);
    int t = gen_tile_string(isa, op, tile, tile_text, sizeof tile_text);
    if (n < 0 || (size_t)n >= sizeof text || t < 0 || (size_t)t >= sizeof tile_text)
        return err_set(e, ERR_INTERNAL, "emit", "the kernel's name is too long");
    base_sha256 h;
    base_sha256_init(&h);
    base_sha256_add_text(&h, text);
    base_sha256_add_text(&h, tile_text);
    base_sha256_add_text(&h, NHA_VERSION);
    base_sha256_end_hex(&h, hex);
    snprintf(unit->name, sizeof unit->name, "%s.%s", gen_op_name(op), tile_text);
    snprintf(stem, sizeof stem, "nhk_%s_%s_%.16s", gen_op_name(op), tile_text, hex);
    for (char *c = stem; *c; c++)
        if (*c == '.' || *c == '-')
            *c = '_';
    snprintf(unit->symbol_main, sizeof unit->symbol_main, "%s", stem);
    if (op == NHA_PREFILL && problem->nha.slots) {
        snprintf(unit->symbol_delta, sizeof unit->symbol_delta, "%s_delta", stem);
        snprintf(unit->symbol_scan, sizeof unit->symbol_scan, "%s_scan", stem);
    }
    return true;
}

/* Time of a token's absorption relative to all its work, by the multiply-adds of both: updates against scores, reads and
 * updates. The runtime weighs with it whether splitting a sequence pays. */
static double delta_cost(const kernel *k) {
    double update = 2.0 * k->M * (k->K + k->V);
    double window = (double)(k->W < k->block ? k->block : k->W < 4096 ? k->W + k->block : 4096);
    double row = 2.0 * k->M * (k->K + k->V) + 2.0 * window * (k->K + k->V) + 2.0 * k->block * (k->K + k->V + 2 * k->M);
    return k->M ? update / (update + k->G * row) : 0;
}

static void link_once(ir *b, const char *name) {
    val fn = LLVMGetNamedFunction(b->module, name);
    LLVMSetLinkage(fn, LLVMWeakODRLinkage);
    LLVMSetVisibility(fn, LLVMHiddenVisibility);
    LLVMComdatRef comdat = LLVMGetOrInsertComdat(b->module, name);
    LLVMSetComdatSelectionKind(comdat, LLVMAnyComdatSelectionKind);
    LLVMSetComdat(fn, comdat);
}

bool gen_cpu_emit(LLVMContextRef context, const gen_problem *problem, nha_op op, const gen_isa *isa, const gen_tile *tile,
                  gen_cpu_unit *unit, err *e) {
    memset(unit, 0, sizeof *unit);
    if (op != NHA_PREFILL && op != NHA_DECODE)
        return err_set(e, ERR_MISSING, "emit", "%s is not available in this version", gen_op_name(op));
    if (!name_unit(unit, problem, op, isa, tile, e))
        return false;
    kernel k;
    kernel_layout(&k, problem, op, isa, tile);
    ir_init(&k.b, context, unit->name, isa);
    if (op == NHA_PREFILL)
        emit_prefill(&k, unit);
    else
        emit_decode(&k, unit);
    link_once(&k.b, unit->symbol_main);
    if (unit->symbol_delta[0]) {
        link_once(&k.b, unit->symbol_delta);
        link_once(&k.b, unit->symbol_scan);
    }
    ir_finish(&k.b);
    unit->module = k.b.module;
    unit->code.block_tokens = op == NHA_PREFILL ? k.block : decode_defer(&k);
    unit->code.delta_cost = op == NHA_PREFILL ? delta_cost(&k) : 0;
    kernel_scratch(&k, &unit->code.scratch_bytes, &unit->code.scratch_panel_bytes);
    return true;
}

void gen_cpu_unit_destroy(gen_cpu_unit *unit) {
    if (unit->module)
        LLVMDisposeModule(unit->module);
    unit->module = NULL;
}
