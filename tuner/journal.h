/* journal.h: every verification and measurement, on disk when it is made. JSON lines, one record a line, each with its
 * own checksum, appended with a single write and synced. A torn or damaged line is ignored; the next run takes up what
 * is there. $NHAC_CACHE_DIR/journal/KEY.jsonl; KEY is the hash of everything that decides the records, and the first
 * line says in words what that was (tune_origin). */
#ifndef TUNER_JOURNAL_H
#define TUNER_JOURNAL_H

#include "base/buf.h"
#include "gen/problem.h"
#include "tuner/measure.h"

enum { TUNE_JOURNAL_BYTES_MAX = 256 << 20, TUNE_JOURNAL_VERSION = 2, TUNE_RECORD_KNOBS_MAX = 16 };

/* X(enumerator, spelling) */
#define TUNE_RECORD_LIST(X)                                                                                            \
    X(TUNE_RECORD_VERIFIED, "verified")       /* matched the oracle */                                                 \
    X(TUNE_RECORD_REJECTED, "rejected")       /* did not; `why` */                                                     \
    X(TUNE_RECORD_FAILED, "failed")           /* did not compile, load or run; `why` */                                \
    X(TUNE_RECORD_QUICK, "quick")             /* timed for a first impression, beside the default */                   \
    X(TUNE_RECORD_HEAT, "heat")               /* timed again among the best, on the shape itself */                    \
    X(TUNE_RECORD_FINAL, "final")             /* and again among the best of those */                                  \
    X(TUNE_RECORD_IMPLAUSIBLE, "implausible") /* a time no machine could reach: refused as a measuring error; `why` */ \
    X(TUNE_RECORD_PRUNED, "pruned")           /* `tile` is why, `count` tiles were never candidates */                 \
    X(TUNE_RECORD_LIMIT, "limit") /* `tile` names it: "fma" or "tiles", "read", "update"; `value` in Gflop/s, GB/s */  \
    X(TUNE_RECORD_DONE, "done")   /* the search of this op ended; `seconds` it was given */

typedef enum tune_record_kind {
#define TUNE_RECORD_ENUM_(name, text) name,
    TUNE_RECORD_LIST(TUNE_RECORD_ENUM_)
#undef TUNE_RECORD_ENUM_
        TUNE_RECORD_KINDS
} tune_record_kind;
/* Whether records of a kind hold samples. */
static inline bool tune_record_timed(int kind) {
    return kind == TUNE_RECORD_QUICK || kind == TUNE_RECORD_HEAT || kind == TUNE_RECORD_FINAL;
}

typedef struct tune_record {
    int kind;       /* tune_record_kind: "record" in the line */
    int op;         /* nha_op */
    int origin;     /* index in tune_journal.origins; -1: the journal has no line that says where it comes from */
    int64_t at;     /* seconds since 1970 when it was made; 0 when adding: now */
    char tile[160]; /* tune_candidate.string; "" for done */
    char why[256];
    struct {
        char name[32];
        int32_t value;
    } knob[TUNE_RECORD_KNOBS_MAX]; /* verified, rejected, failed: the tile as the space files spell it */
    int knob_count;
    int order;                         /* ... and its place in the enumeration; 0: the untuned default */
    int64_t batch, tokens;             /* timed kinds, limit, implausible, done: the shape tuned for */
    int64_t timed_batch, timed_tokens; /* of what was timed: less where the shape itself takes too long */
    int threads;
    double seconds;       /* done: budget of the op; verified, rejected, failed: spent compiling and verifying */
    double predicted;     /* quick: the time relative to the default that the model expected; 0: it was not asked */
    double value;         /* limit */
    int64_t count;        /* pruned: tiles; done: legal candidates */
    bool exhausted;       /* done: nothing is left that would be looked at */
    tune_samples samples; /* "us" */
    tune_samples base;    /* "default_us": of the default, in the same rounds */
} tune_record;

/* What a journal's key is made of, in words. */
typedef struct tune_origin {
    char name[GEN_NAME_MAX + 1];      /* of the problem */
    char device[256];                 /* tune_device.describe */
    char arch[32];                    /* ISA or target: "avx512", "sm_90" */
    char generator[65], compiler[64]; /* hash of what renders the kernels; version */
    char nhac[16];                    /* version */
    int threads;
    int64_t at;    /* when the journal was begun */
    char *problem; /* canonical spec; owned by the journal; NULL: not known */
} tune_origin;

typedef struct tune_journal {
    int fd; /* -1: in memory alone: parsed from text, or zeroed but for this */
    char path[4096];
    tune_record *records; /* owned, in the order of the file */
    size_t count, capacity;
    tune_origin *origins; /* owned; one unless texts of several journals were joined */
    int origin_count;
    int damaged;                        /* lines that were ignored */
    int foreign;                        /* intact lines of another TUNE_JOURNAL_VERSION, ignored too */
    int system_origins;                 /* of the first ones in origins: the system's */
    size_t system;                      /* the first `system` records come from the system's database */
    base_buf text;                      /* the intact lines, as in the file */
    const char *verified_by, *timed_by; /* static; written into records */
} tune_journal;

/* KEY of a problem on a device. `device`: tune_device.describe; `generator`: hash of what renders the kernels; threads:
 * of the timing. */
void tune_journal_key(const gen_problem *problem, const char *device, const char *generator, const char *compiler,
                      int threads, char key[65]);
/* $NHAC_SYSTEM_DB, else /usr/share/nhac/db: holds KEY.jsonl files, read and never written. */
const char *tune_journal_system(void);
/* Opens, making folder and file, and reads what is there: first the system's journal of that key, if there is one, then
 * the user's, whose later records count. Any number of processes may append to one journal: its file is locked, shared,
 * until it is closed, and who replaces or removes it (tune_journal_lock) is waited for. Errors: ERR_SYSTEM (unwritable
 * folder, full disk), ERR_MEMORY. On failure needs no close. */
bool tune_journal_open(const char *folder, const char *key, tune_journal *journal, err *e);
/* Locks the journal's file at `path`, so that it can be replaced or removed and no line of another process is lost; an
 * empty one is made where there is none, and removed by unlock if it is still empty. Does not wait: ERR_SYSTEM where a
 * process has it open. */
bool tune_journal_lock(const char *path, int *fd, err *e);
/* fd -1 is allowed. */
void tune_journal_unlock(const char *path, int fd);
/* Writes the line that says where the records come from, unless it is there. Everything of `origin` is borrowed. */
bool tune_journal_describe(tune_journal *journal, const tune_origin *origin, err *e);
/* Reads lines from memory; what is added then stays in memory. Errors: ERR_MEMORY. */
bool tune_journal_parse(const char *text, size_t size, tune_journal *journal, err *e);
void tune_journal_close(tune_journal *journal);

/* Appends a record; on return it is on disk and can be found. Errors: ERR_SYSTEM, ERR_MEMORY. */
bool tune_journal_add(tune_journal *journal, const tune_record *record, err *e);
/* The latest record of that kind, op and tile; NULL if there is none. Borrowed until the next add. */
const tune_record *tune_journal_find(const tune_journal *journal, int kind, nha_op op, const char *tile);
/* The latest one for that shape too. */
const tune_record *tune_journal_timed(const tune_journal *journal, int kind, nha_op op, const char *tile, int64_t batch,
                                      int64_t tokens);
const char *tune_record_name(int kind);

#endif
