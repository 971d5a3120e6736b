/* db.c: nhac db: the journals of this machine: list, merge, prune. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/nearest.h"
#include "cli/options.h"
#include "jit/jit.h"
#include "tuner/database.h"

static void print_age(int64_t seconds) {
    if (seconds < 0)
        printf("age unknown");
    else if (seconds < 7200)
        printf("%lld minutes old", (long long)seconds / 60);
    else if (seconds < 2 * 86400)
        printf("%lld hours old", (long long)seconds / 3600);
    else
        printf("%lld days old", (long long)seconds / 86400);
}

static void print_entry(const tune_database_entry *d) {
    int64_t newest = d->newest > 0 ? d->newest : d->origin.at;
    printf("%.12s  %s  ", d->key, d->origin.name[0] ? d->origin.name : "(does not say what of)");
    print_age(newest > 0 ? (int64_t)time(NULL) - newest : -1);
    printf("%s%s%s%s\n", d->system ? ", of the system" : "", d->stale ? ", STALE: " : "", d->stale ? d->why : "",
           d->damaged ? ", damaged" : "");
    if (d->origin.device[0])
        printf("    %s; kernels for %s, %d thread%s, compiler %s, nhac %s\n", d->origin.device, d->origin.arch,
               d->origin.threads, d->origin.threads == 1 ? "" : "s", d->origin.compiler, d->origin.nhac);
    printf("    %d verified, %d wrong, %d failed; %d timings, %d of them finals; %d refused as measuring errors",
           d->verified, d->rejected, d->failed, d->timed, d->finals, d->refused);
    if (d->damaged)
        printf("; %d damaged line%s", d->damaged, d->damaged == 1 ? "" : "s");
    if (d->foreign)
        printf("; %d line%s of another version", d->foreign, d->foreign == 1 ? "" : "s");
    printf("\n");
    for (int op = NHA_PREFILL; op <= NHA_DECODE; op++)
        if (d->best[op][0])
            printf("    %s: %s%.3f of the default, %s\n", gen_op_name(op),
                   d->ratio[op] < 1 ? "best " : "the untuned default, then ", d->ratio[op], d->best[op]);
}

static bool list(err *e) {
    tune_database db;
    if (!tune_database_open(jit_cache_dir(), &db, e))
        return false;
    int stale = 0;
    for (int i = 0; i < db.count; i++) {
        print_entry(&db.entries[i]);
        stale += db.entries[i].stale;
    }
    printf("%d journal%s in %s/journal and %s, %d stale", db.count, db.count == 1 ? "" : "s", jit_cache_dir(),
           tune_journal_system(), stale);
    if (db.unreadable)
        printf(", %d that cannot be read", db.unreadable);
    printf("\n");
    tune_database_close(&db);
    return true;
}

static bool merge(const char *const *files, int count, err *e) {
    tune_merge_outcome o;
    if (!tune_database_merge(jit_cache_dir(), files, count, &o, e))
        return false;
    printf("%d file%s: %d records new here, %d older than what is here or in another file, %d already here; %d "
           "journal%s written\n",
           o.files, o.files == 1 ? "" : "s", o.added, o.older, o.same, o.journals, o.journals == 1 ? "" : "s");
    if (o.damaged || o.foreign || o.homeless)
        printf("not taken: %d damaged line%s, %d of another version, %d that do not say where they come from\n",
               o.damaged, o.damaged == 1 ? "" : "s", o.foreign, o.homeless);
    return true;
}

static bool prune(int64_t days, err *e) {
    int removed;
    if (!tune_database_prune(jit_cache_dir(), (double)days, &removed, e))
        return false;
    printf("%d journal%s removed\n", removed, removed == 1 ? "" : "s");
    return true;
}

int cli_db(const cli_command *self, int argc, char **argv) {
    static const char *const words[] = {"list", "merge", "prune"};
    const char *names[1 + CLI_LIST_MAX];
    int64_t days = -1;
    const cli_option options[] = {{"--older-than", CLI_COUNT, &days, 0, 1000000}};
    err e = {0};
    if (!cli_parse(argc, argv, options, 1, names, 1, 1 + CLI_LIST_MAX, "list, merge or prune", &e))
        return cli_fail(self, &e);
    int files = 0;
    while (files < CLI_LIST_MAX && names[1 + files])
        files++;
    bool is_merge = !strcmp(names[0], "merge"), is_prune = !strcmp(names[0], "prune"),
         is_list = !strcmp(names[0], "list");
    if (!is_merge && !is_prune && !is_list)
        err_set(&e, ERR_USAGE, "usage", "nhac db does not know %s; did you mean %s?", names[0],
                base_nearest(names[0], words, 3));
    else if (is_merge && files == 0)
        err_set(&e, ERR_USAGE, "usage", "FILES is missing: journals, or the tuning.jsonl of libraries");
    else if (!is_merge && files > 0)
        err_set(&e, ERR_USAGE, "usage", "%s is one argument too many", names[1]);
    else if (days >= 0 && !is_prune)
        err_set(&e, ERR_USAGE, "usage", "--older-than belongs to prune");
    bool ok = !e.code && (is_list ? list(&e) : is_merge ? merge(names + 1, files, &e) : prune(days, &e));
    return ok ? 0 : cli_fail(self, &e);
}
