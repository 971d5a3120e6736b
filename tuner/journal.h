/* journal.h: every verification and measurement, on disk when it is made. JSON lines, one record a line, each with its
 * own checksum, appended with a single write and synced. A torn or damaged line is ignored; the next run takes up what
 * is there. $NHAC_CACHE_DIR/journal/KEY.jsonl; KEY is the hash of everything that decides the records. */
#ifndef TUNER_JOURNAL_H
#define TUNER_JOURNAL_H

#include "base/buf.h"
#include "gen/problem.h"
#include "tuner/measure.h"

enum { TUNE_JOURNAL_BYTES_MAX = 256 << 20, TUNE_JOURNAL_VERSION = 1 };

/* X(enumerator, spelling) */
#define TUNE_RECORD_LIST(X)                                                                                            \
    X(TUNE_RECORD_VERIFIED, "verified") /* matched the oracle */                                                       \
    X(TUNE_RECORD_REJECTED, "rejected") /* did not; `why` */                                                           \
    X(TUNE_RECORD_FAILED, "failed")     /* did not compile, load or run; `why` */                                      \
    X(TUNE_RECORD_QUICK, "quick")       /* timed for a first impression, beside the default */                         \
    X(TUNE_RECORD_FINAL, "final")       /* timed again among the best */                                               \
    X(TUNE_RECORD_DONE, "done")         /* the search of this op ended; `seconds` it was given */

typedef enum tune_record_kind {
#define TUNE_RECORD_ENUM_(name, text) name,
    TUNE_RECORD_LIST(TUNE_RECORD_ENUM_)
#undef TUNE_RECORD_ENUM_
        TUNE_RECORD_KINDS
} tune_record_kind;

typedef struct tune_record {
    int kind;       /* tune_record_kind: "record" in the line */
    int op;         /* nha_op */
    char tile[160]; /* gen_tile_string; "" for done */
    char why[256];
    int64_t batch, tokens;             /* quick, final: the shape tuned for */
    int64_t timed_batch, timed_tokens; /* of what was timed: less where the shape itself takes too long */
    int threads;
    double seconds;       /* done: budget of the op that was used up, or 0 where the space was exhausted */
    bool exhausted;       /* done: every legal candidate has been looked at */
    tune_samples samples; /* "us" */
    tune_samples base;    /* "default_us": of the default, in the same rounds */
} tune_record;

typedef struct tune_journal {
    int fd; /* -1: records are not written (parsed from text) */
    char path[4096];
    tune_record *records; /* owned, in the order of the file */
    size_t count, capacity;
    int damaged;                        /* lines that were ignored */
    base_buf text;                      /* the intact lines, as in the file */
    const char *verified_by, *timed_by; /* static; written into records */
} tune_journal;

/* KEY of a problem on a device. `device`: tune_device.describe; `generator`: hash of what renders the kernels; threads:
 * of the timing. */
void tune_journal_key(const gen_problem *problem, const char *device, const char *generator, const char *compiler,
                      int threads, char key[65]);
/* Opens, making folder and file, and reads what is there. Any number of processes may append to one journal. Errors:
 * ERR_SYSTEM (unwritable folder, full disk), ERR_MEMORY. On failure needs no close. */
bool tune_journal_open(const char *folder, const char *key, tune_journal *journal, err *e);
/* Reads lines from memory; `journal` can then be searched, not added to. Errors: ERR_MEMORY. */
bool tune_journal_parse(const char *text, size_t size, tune_journal *journal, err *e);
void tune_journal_close(tune_journal *journal);

/* Appends a record; on return it is on disk and can be found. Errors: ERR_SYSTEM, ERR_MEMORY. */
bool tune_journal_add(tune_journal *journal, const tune_record *record, err *e);
/* The latest record of that kind, op and tile; NULL if there is none. Borrowed until the next add. */
const tune_record *tune_journal_find(const tune_journal *journal, int kind, nha_op op, const char *tile);
/* The latest one (quick or final) for that shape too. */
const tune_record *tune_journal_timed(const tune_journal *journal, int kind, nha_op op, const char *tile, int64_t batch,
                                      int64_t tokens);
const char *tune_record_name(int kind);

#endif
