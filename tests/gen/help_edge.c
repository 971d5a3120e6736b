/* help_edge.c: see help_edge.h. */
#include "tests/gen/help_edge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/gen/help_gen.h"
#include "tuner/candidate.h"
#include "tuner/convert.h"
#include "tuner/verify_internal.h"

void help_edge_fill(tune_case *c, int id, double (*f)(int64_t token, int64_t i)) {
    tune_tensor_info info = tune_tensor(&c->problem, id);
    if (!c->data[id])
        return;
    for (int64_t t = 0; t < tune_batch_total(&c->batch); t++)
        for (int64_t i = 0; i < info.row; i++)
            tune_store(c->data[id], info.dtype, t * info.row + i, f(t, i % info.dim));
}

/* As verify_truth_create, with the change in between. */
static void create_truth(const help_edge *edge, verify_truth *truth) {
    err e = {0};
    memset(truth, 0, sizeof *truth);
    assert_true(tune_case_create(&edge->problem, &edge->spec, &truth->test, &e));
    if (edge->change)
        edge->change(&truth->test);
    assert_true(tune_oracle_run(&edge->problem, &truth->test.batch, 2, &truth->oracle, &e));
    assert_true(tune_cache_after(&edge->problem, &truth->test.batch, &truth->after, &e));
}

static void load(tune_candidate *c, const help_edge *edge, nha_op op, const gen_isa *isa) {
    gen_tile tile;
    err e = {0};
    gen_tile_default(&edge->problem, op, isa, &tile);
    if (edge->tile)
        edge->tile(op, &tile);
    const char *reason = gen_cpu_reject(&edge->problem, op, isa, &tile);
    if (reason)
        fail_msg("%s on %s: %s", edge->name, isa->name, reason);
    const tune_arch arch = {.isa = isa};
    const tune_tile wrapped = {.cpu = tile};
    tune_candidate_init(c, &edge->problem, op, &arch, &wrapped, 0);
    if (!tune_candidate_load(c, NULL, &e))
        fail_msg("%s on %s: %s", edge->name, isa->name, e.text);
}

/* The tokens from exact_from on by themselves: what comes before is of another size. */
static void check_end(const help_edge *edge, const tune_candidate *c, const verify_truth *truth) {
    const nha_problem *p = &edge->problem.nha;
    tune_run_options options = {.threads = 1};
    tune_result result;
    err e = {0};
    if (!tune_host_run(&c->library, &edge->problem, &truth->test.batch, &options, &result, &e))
        fail_msg("%s: %s", edge->name, e.text);
    assert_int_equal(truth->test.batch.sequences, 1);
    int64_t row = (int64_t)p->heads_q * p->head_dim_v, from = edge->exact_from * row;
    int64_t count = tune_batch_total(&truth->test.batch) * row - from;
    assert_true(count > 0);
    const char *o = (const char *)result.o + from * gen_dtype_bytes(p->dtype);
    double error = tune_relative_error(o, p->dtype, truth->oracle.o + from, count, 0);
    if (!(error <= tune_tolerance(p->dtype)))
        fail_msg("%s on %s: from token %lld on: error %g", edge->name, c->arch.isa->name, (long long)edge->exact_from, error);
    tune_result_destroy(&result);
}

static void run_isa(const help_edge *edge, const gen_isa *isa, const verify_truth *truth, tune_verify_report *report) {
    bool prefill_only = edge->prefill_only || truth->test.hk0;
    for (nha_op op = NHA_PREFILL; op <= (prefill_only ? NHA_PREFILL : NHA_DECODE); op++) {
        tune_candidate c;
        err e = {0};
        load(&c, edge, op, isa);
        verify_effort effort = {.threads = 2, .company = 2, .divided = true, .cuts = true, .fence = true, .layout = VERIFY_PADDED};
        if (!verify_case(&tune_place_host, &c.library, 0, op, c.name, NULL, truth, &effort, report, &e))
            fail_msg("%s on %s: %s", edge->name, isa->name, e.text);
        if (op == NHA_PREFILL && edge->exact_from)
            check_end(edge, &c, truth);
        tune_candidate_unload(&c);
    }
}

void help_edge_run(const help_edge *edge, bool all) {
    int isas;
    const gen_isa *table = gen_isa_table(&isas), *best = gen_isa_best(nha_cpu_features());
    verify_truth truth;
    tune_verify_report report = {0};
    create_truth(edge, &truth);
    for (int i = 0; i < isas; i++)
        if (all ? help_gen_runs(&table[i]) : &table[i] == best)
            run_isa(edge, &table[i], &truth, &report);
    assert_true(report.executions > 0);
    print_message("%-34s %3lld executions; worst: o %.2g, lse %.2g, hk %.2g, hv %.2g\n", edge->name, (long long)report.executions,
                  report.worst[TUNE_CHECK_O], report.worst[TUNE_CHECK_LSE], report.worst[TUNE_CHECK_HK],
                  report.worst[TUNE_CHECK_HV]);
    verify_truth_destroy(&truth);
    static const int dtypes[] = {NHA_BF16, NHA_F16}; /* the same where AMX tiles do the products */
    const gen_isa *amx = gen_isa_find("amx");
    for (int d = 0; d < 2 && edge->problem.nha.dtype == NHA_F32 && amx && help_gen_runs(amx); d++) {
        help_edge wide = *edge;
        gen_problem_copy(&wide.problem, &edge->problem);
        wide.problem.nha.dtype = dtypes[d];
        if (d && edge->f32_range)
            continue;
        report = (tune_verify_report){0};
        create_truth(&wide, &truth);
        run_isa(&wide, amx, &truth, &report);
        print_message("%-34s %3lld executions in %s on amx; worst: o %.2g, lse %.2g, hk %.2g, hv %.2g\n", edge->name,
                      (long long)report.executions, gen_dtype_name(dtypes[d]), report.worst[TUNE_CHECK_O],
                      report.worst[TUNE_CHECK_LSE], report.worst[TUNE_CHECK_HK], report.worst[TUNE_CHECK_HV]);
        verify_truth_destroy(&truth);
    }
}
