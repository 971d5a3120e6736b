/* debug.h: what NHAC_DEBUG=spec,prune,... prints to stderr. One variable, one table. */
#ifndef TUNER_DEBUG_H
#define TUNER_DEBUG_H

#include <stdbool.h>

/* X(enumerator, spelling, what it prints) */
#define TUNE_DEBUG_LIST(X)                                                                                             \
    X(TUNE_DEBUG_SPEC, "spec", "the problem that a spec was read as")                                                  \
    X(TUNE_DEBUG_PRUNE, "prune", "how many tiles each constraint rejected")                                            \
    X(TUNE_DEBUG_SOURCE, "source", "the IR of every kernel that is written to a library")                              \
    X(TUNE_DEBUG_TIME, "time", "seconds each stage of a command took")

typedef enum tune_debug_switch {
#define TUNE_DEBUG_ENUM_(name, text, help) name,
    TUNE_DEBUG_LIST(TUNE_DEBUG_ENUM_)
#undef TUNE_DEBUG_ENUM_
        TUNE_DEBUG_COUNT
} tune_debug_switch;

/* Whether the environment asks for it. */
bool tune_debug(tune_debug_switch which);
const char *tune_debug_name(int which);
const char *tune_debug_help(int which);
/* First word of NHAC_DEBUG that is no switch, copied into out; false if there is none. */
bool tune_debug_unknown(char *out, unsigned size);

#endif
