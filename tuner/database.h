/* database.h: the journals of a machine, as a whole: where each comes from, what is in it, whether what it was made
 * with is still what is here. */
#ifndef TUNER_DATABASE_H
#define TUNER_DATABASE_H

#include "gen/spec.h"
#include "tuner/device.h"
#include "tuner/journal.h"
#include "tuner/progress.h"

/* Everything a journal's key is made of, for a problem on an arch. `device`: tune_device.describe. origin->problem is
 * malloc'd, the caller's to free. Errors: those of the generator, ERR_MISSING where the compiler is not here. */
bool tune_database_origin(const gen_spec *spec, const tune_arch *arch, const char *device, int threads,
                          tune_origin *origin, char key[65], err *e);

/* What differs between a journal's origin and that of new measurements of the same problem on the same kind of device,
 * as words ("the compiler was 18.1.8"); false: nothing. A journal of another problem, device, arch or number of threads
 * is not stale, it is another journal. */
bool tune_database_differs(const tune_origin *old, const tune_origin *current, char *why, size_t size);

/* Says on `progress` which journals hold measurements of the same problem that are not used because something else has
 * changed. Whatever cannot be read is passed over. `key`: of `current`. */
void tune_database_note_stale(const char *folder, const tune_origin *current, const char *key, tune_progress *progress);

typedef struct tune_database_entry {
    char key[65];       /* the file's name without .jsonl */
    bool system;        /* of the system's database */
    tune_origin origin; /* zeroed but for `at` where the journal does not say */
    int verified, rejected, failed, timed, refused, finals;
    int damaged, foreign;
    int64_t newest;    /* when the latest record was made; 0: unknown */
    char best[2][160]; /* by op: the tile of the least ratio in the last stage that was reached; "" where none */
    double ratio[2];
    bool stale;
    char why[160]; /* stale: what differs */
} tune_database_entry;

typedef struct tune_database {
    tune_database_entry *entries; /* owned; by name of the problem, then device, then newest first */
    int count;
    int unreadable; /* files that could not be read at all */
} tune_database;

/* Reads every journal under `folder`/journal and of the system's database. An entry is stale where its lines are of
 * another version, or where this nhac, its compilers or this machine's devices would file the same measurements under
 * another key. A missing folder is an empty database. Errors: ERR_MEMORY, ERR_SYSTEM. */
bool tune_database_open(const char *folder, tune_database *db, err *e);
void tune_database_close(tune_database *db);

typedef struct tune_merge_outcome {
    int files, journals;    /* read; written */
    int added, older, same; /* records: new here; superseded by a newer one here; already here */
    int damaged, foreign;
    int homeless; /* records before any line that says where they come from: not mergeable */
} tune_merge_outcome;

/* Brings the records of journal files (or copies of them: a library's tuning.jsonl) into `folder`/journal. Per key, op,
 * kind, shape and tile the newest valid record wins; each journal is replaced whole. Errors: ERR_INPUT for a file that
 * cannot be read, ERR_SYSTEM (also where a run of tune has the journal open, whose lines would be lost), ERR_MEMORY;
 * journals that were written before stay. */
bool tune_database_merge(const char *folder, const char *const *files, int count, tune_merge_outcome *outcome, err *e);

/* Removes the user's journals that are stale (tune_database_open), and those whose newest record is older than `days`
 * if that is not negative. What a run of tune has open stays. *removed counts them. */
bool tune_database_prune(const char *folder, double days, int *removed, err *e);

#endif
