/* report_data.c: see report_data.h. */
#include "tuner/report_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/cpu/isa.h"

static const char *const limit_names[] = {"fma", "read", "update", "tiles"};

/* ---- Gathering ---- */

static const tune_origin *origin_of(const report_data *d, const tune_record *r) {
    return r->origin >= 0 ? &d->journal.origins[r->origin] : NULL;
}

/* One journal may say twice where it comes from: the system's part of it, and the user's. */
static bool same_origin(const tune_origin *a, const tune_origin *b) {
    if (!a || !b || a == b)
        return a == b;
    return a->threads == b->threads && !strcmp(a->device, b->device) && !strcmp(a->arch, b->arch) &&
           !strcmp(a->generator, b->generator) && !strcmp(a->compiler, b->compiler);
}

static bool same_group(const report_data *d, const report_group *g, const tune_record *r) {
    return g->op == (nha_op)r->op && g->shape.batch == r->batch && g->shape.tokens == r->tokens &&
           same_origin(g->origin, origin_of(d, r));
}

static report_group *group_of(report_data *d, const tune_record *r, err *e) {
    for (int i = 0; i < d->count; i++)
        if (same_group(d, &d->groups[i], r))
            return &d->groups[i];
    report_group *grown = realloc(d->groups, (size_t)(d->count + 1) * sizeof *grown);
    if (!grown) {
        err_memory(e, "report");
        return NULL;
    }
    d->groups = grown;
    d->groups[d->count] = (report_group){
        .op = (nha_op)r->op, .shape = {.op = r->op, .batch = r->batch, .tokens = r->tokens}, .origin = origin_of(d, r)};
    return &d->groups[d->count++];
}

static int by_tile(const void *a, const void *b) {
    return strcmp(((const report_candidate *)a)->tile, ((const report_candidate *)b)->tile);
}

static report_candidate *find(const report_group *g, const char *tile) {
    const report_candidate key = {.tile = tile};
    return g->count ? bsearch(&key, g->candidates, (size_t)g->count, sizeof key, by_tile) : NULL;
}

/* The tiles a group's records name, each once, sorted. */
static bool list_candidates(report_data *d, report_group *g, err *e) {
    size_t room = 0, count = 0;
    for (size_t i = 0; i < d->journal.count; i++)
        room += d->journal.records[i].op == (int)g->op;
    report_candidate *list = calloc(room + 1, sizeof *list);
    if (!list)
        return err_memory(e, "report");
    for (size_t i = 0; i < d->journal.count; i++) {
        const tune_record *r = &d->journal.records[i];
        bool about =
            r->kind <= TUNE_RECORD_IMPLAUSIBLE && r->op == (int)g->op && same_origin(origin_of(d, r), g->origin);
        if (about && (r->kind <= TUNE_RECORD_FAILED || same_group(d, g, r)))
            list[count++].tile = r->tile;
    }
    qsort(list, count, sizeof *list, by_tile);
    g->candidates = list;
    if (count) /* avx512.t16...: a kernel for less than the machine has names what it uses */
        snprintf(g->isa, sizeof g->isa, "%.*s", (int)strcspn(list[0].tile, "."), list[0].tile);
    for (size_t i = 0; i < count; i++)
        if (g->count == 0 || strcmp(list[g->count - 1].tile, list[i].tile) != 0)
            list[g->count++] = list[i];
    return true;
}

static void take(report_data *d, report_group *g, const tune_record *r) {
    if (r->op != (int)g->op || !same_origin(origin_of(d, r), g->origin))
        return;
    report_candidate *c = r->kind <= TUNE_RECORD_IMPLAUSIBLE ? find(g, r->tile) : NULL;
    if (c && r->kind <= TUNE_RECORD_FAILED)
        c->status = r;
    if (!same_group(d, g, r))
        return;
    if (r->kind == TUNE_RECORD_DONE)
        g->legal = r->count;
    for (int k = 0; k < 4 && r->kind == TUNE_RECORD_LIMIT; k++)
        if (strcmp(r->tile, limit_names[k]) == 0 &&
            (k || !g->tiles)) { /* tiles, where there are some, are the limit of products */
            g->limit[k % 3] = r->value;
            g->tiles = g->tiles || k == 3;
        }
    if (!c)
        return;
    if (r->kind == TUNE_RECORD_QUICK && r->samples.count > 0)
        c->quick = r;
    if (r->kind == TUNE_RECORD_HEAT && r->samples.count > 0)
        c->heat = r;
    if (r->kind == TUNE_RECORD_FINAL && r->samples.count > 0)
        c->final = r;
    if (r->kind == TUNE_RECORD_IMPLAUSIBLE)
        c->refused = r;
}

static int stage_of(const report_candidate *c) {
    return c->last ? c->last->kind : 0;
}

static int by_result(const void *a, const void *b) {
    const report_candidate *x = a, *y = b;
    if (x->last && y->last && x->lost != y->lost)
        return x->lost ? 1 : -1;
    if (stage_of(x) != stage_of(y))
        return stage_of(x) > stage_of(y) ? -1 : 1;
    if (x->ratio != y->ratio)
        return x->ratio < y->ratio ? -1 : 1;
    return strcmp(x->tile, y->tile);
}

/* Whether a row of the library was tuned for this group: its name is op.tile and its range holds the shape. */
static bool is_winner(const tune_manifest_kernel *k, const gen_problem *problem, const report_group *g,
                      const report_candidate *c) {
    int64_t tasks = g->shape.batch * problem->nha.heads_kv, length = g->op == NHA_DECODE ? 1 : g->shape.tokens;
    const char *tile = strchr(k->name, '.');
    return k->rank < 100 && strcmp(k->op, gen_op_name(g->op)) == 0 && tile && strcmp(tile + 1, c->tile) == 0 &&
           tasks >= k->min_tasks && tasks <= k->max_tasks && length >= k->min_length && length <= k->max_length;
}

static void rank(report_group *g, const gen_problem *problem, const tune_manifest *manifest) {
    for (int i = 0; i < g->count; i++) {
        report_candidate *c = &g->candidates[i];
        c->last = c->final ? c->final : c->heat ? c->heat : c->quick;
        if (!c->last)
            continue;
        c->ratio = tune_paired(&c->last->samples, &c->last->base, &c->noise);
        c->us = tune_median(&c->last->samples);
        c->lost = c->status && (c->status->kind == TUNE_RECORD_REJECTED || c->status->kind == TUNE_RECORD_FAILED);
        g->timed++;
        for (size_t k = 0; manifest && k < manifest->kernel_count; k++)
            c->won = c->won || is_winner(&manifest->kernels[k], problem, g, c);
    }
    qsort(g->candidates, (size_t)g->count, sizeof *g->candidates, by_result);
    if (!g->timed)
        return;
    g->stage = g->candidates[0].lost ? 0 : g->candidates[0].last->kind;
    for (int i = 0; i < g->count && !g->winner; i++)
        if (g->candidates[i].won)
            g->winner = &g->candidates[i];
    g->default_us = tune_median(&(g->winner ? g->winner : g->candidates)->last->base);
}

static bool gather(report_data *d, const gen_problem *problem, const tune_manifest *manifest, err *e) {
    for (size_t i = 0; i < d->journal.count; i++) {
        const tune_record *r = &d->journal.records[i];
        d->verified += r->kind == TUNE_RECORD_VERIFIED;
        d->rejected += r->kind == TUNE_RECORD_REJECTED;
        d->failed += r->kind == TUNE_RECORD_FAILED;
        d->refused += r->kind == TUNE_RECORD_IMPLAUSIBLE;
        d->measurements += tune_record_timed(r->kind) && r->samples.count > 0;
        if (tune_record_timed(r->kind) && !group_of(d, r, e))
            return false;
    }
    for (int g = 0; g < d->count; g++) {
        if (!list_candidates(d, &d->groups[g], e))
            return false;
        for (size_t i = 0; i < d->journal.count; i++)
            take(d, &d->groups[g], &d->journal.records[i]);
        rank(&d->groups[g], problem, manifest);
    }
    return true;
}

bool report_data_open(const char *text, size_t size, const gen_problem *problem, const tune_manifest *manifest,
                      report_data *d, err *e) {
    memset(d, 0, sizeof *d);
    if (!tune_journal_parse(text, size, &d->journal, e))
        return false;
    if (gather(d, problem, manifest, e))
        return true;
    report_data_free(d);
    return false;
}

void report_data_free(report_data *d) {
    for (int g = 0; g < d->count; g++)
        free(d->groups[g].candidates);
    free(d->groups);
    tune_journal_close(&d->journal);
    memset(d, 0, sizeof *d);
    d->journal.fd = -1;
}

/* ---- Words ---- */

void report_units(const report_group *g, char *out, size_t size) {
    if (g->tiles)
        snprintf(out, size, "products on tiles");
    else if (gen_isa_find(g->isa))
        snprintf(out, size, "%s multiply-adds", g->isa);
    else
        snprintf(out, size, "products");
}

static const char *stage_words(int kind) {
    return kind == TUNE_RECORD_QUICK ? "first impressions" : kind == TUNE_RECORD_HEAT ? "the heat" : "the final";
}

/* The fastest other one of the last stage that holds; NULL: there is none. */
static const report_candidate *rival_of(const report_group *g, const report_candidate *winner) {
    for (int i = 0; i < g->timed; i++)
        if (&g->candidates[i] != winner && !g->candidates[i].lost && stage_of(&g->candidates[i]) == g->stage)
            return &g->candidates[i];
    return NULL;
}

/* How many took less time than the winner and are lost; the fastest of them. */
static int lost_before(const report_group *g, const report_candidate **fastest) {
    int count = 0;
    *fastest = NULL;
    for (int i = 0; i < g->timed; i++) {
        const report_candidate *c = &g->candidates[i];
        if (!c->lost || c->ratio >= (g->winner ? g->winner->ratio : 1))
            continue;
        if (!*fastest || c->ratio < (*fastest)->ratio)
            *fastest = c;
        count++;
    }
    return count;
}

static int why_it_won(const report_group *g, char *out, size_t size) {
    const report_candidate *w = g->winner, *rival = rival_of(g, w);
    if (!g->timed)
        return snprintf(out, size, "Nothing was timed: the untuned default stays.");
    if (!w && !rival)
        return snprintf(out, size, "The untuned default stays: none of the %d others that were timed holds.", g->timed);
    if (!w) {
        double least = rival->ratio * (1 - 2 * rival->noise);
        return snprintf(out, size,
                        "The untuned default stays: the fastest other candidate took %.3f +- %.3f of its time in %s, "
                        "which is %s.",
                        rival->ratio, rival->ratio * rival->noise, stage_words(g->stage),
                        rival->ratio >= 1 ? (least < 1 ? "not below it" : "more") : "within the noise of it");
    }
    int used = snprintf(out, size, "It took %.3f +- %.3f of the default's time in %s (%d paired rounds).", w->ratio,
                        w->ratio * w->noise, stage_words(w->last->kind), w->last->samples.count);
    if (!rival || used < 0 || (size_t)used >= size)
        return used;
    double apart = rival->ratio / w->ratio - 1, band = 2 * hypot(rival->noise, w->noise);
    if (fabs(apart) <= band)
        return used + snprintf(out + used, size - (size_t)used,
                               " %s is tied with it (%+.1f%%, less than the noise of %.1f%%); ties go to the default, "
                               "then to who was enumerated first.",
                               rival->tile, 100 * apart, 100 * band);
    return used + snprintf(out + used, size - (size_t)used, " The next, %s, took %.1f%% %s.", rival->tile,
                           100 * fabs(apart), apart > 0 ? "longer" : "less, within the least band of ties");
}

int report_why_won(const report_group *g, char *out, size_t size) {
    const report_candidate *fastest;
    int used = why_it_won(g, out, size), count = lost_before(g, &fastest);
    if (count == 0 || used < 0 || (size_t)used >= size)
        return used;
    return used + snprintf(out + used, size - (size_t)used,
                           " %d that had taken less time %s out, the fastest of them, %s, because: %s.", count,
                           count == 1 ? "is" : "are", fastest->tile, fastest->status->why);
}

int report_why_not(const report_group *g, const report_candidate *c, char *out, size_t size) {
    if (c->status && c->status->kind == TUNE_RECORD_REJECTED)
        return snprintf(out, size, "wrong: %s", c->status->why);
    if (c->status && c->status->kind == TUNE_RECORD_FAILED)
        return snprintf(out, size, "failed: %s", c->status->why);
    if (c->won)
        return snprintf(out, size, "won");
    if (c->status && c->status->order == 0)
        return snprintf(out, size, "the untuned default: timed beside all others");
    if (!c->last)
        return snprintf(out, size, "%s%s", c->refused ? "measuring error: " : "not timed",
                        c->refused ? c->refused->why : "");
    if (c->last->kind != g->stage)
        return snprintf(out, size, "not among the best of %s", stage_words(c->last->kind));
    double best = g->winner ? g->winner->ratio : 1, noise = g->winner ? g->winner->noise : 0;
    double apart = c->ratio / best - 1;
    bool tied = fabs(apart) <= 2 * hypot(c->noise, noise);
    return snprintf(out, size, "%s %s (%+.1f%%)",
                    tied        ? "tied with"
                    : apart > 0 ? "slower than"
                                : "too close to",
                    g->winner ? "the winner" : "the default", 100 * apart);
}
