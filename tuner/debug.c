/* debug.c: reads NHAC_DEBUG, a comma-separated list. */
#include "tuner/debug.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *help;
} switches[] = {
#define SWITCH_(name, text, help) {text, help},
    TUNE_DEBUG_LIST(SWITCH_)
#undef SWITCH_
};

const char *tune_debug_name(int which) {
    return switches[which].name;
}
const char *tune_debug_help(int which) {
    return switches[which].help;
}

/* Length of the word at *at, which moves past it and the comma; false at the end. */
static bool next_word(const char **at, const char **word, size_t *length) {
    if (!*at || !**at)
        return false;
    *word = *at;
    *length = strcspn(*at, ",");
    *at += *length + ((*at)[*length] == ',');
    return true;
}

bool tune_debug(tune_debug_switch which) {
    const char *at = getenv("NHAC_DEBUG"), *word;
    size_t length;
    while (next_word(&at, &word, &length))
        if (strlen(switches[which].name) == length && strncmp(word, switches[which].name, length) == 0)
            return true;
    return false;
}

bool tune_debug_unknown(char *out, unsigned size) {
    const char *at = getenv("NHAC_DEBUG"), *word;
    size_t length;
    while (next_word(&at, &word, &length)) {
        bool known = length == 0;
        for (int i = 0; i < TUNE_DEBUG_COUNT; i++)
            known = known || (strlen(switches[i].name) == length && strncmp(word, switches[i].name, length) == 0);
        if (known)
            continue;
        snprintf(out, size, "%.*s", (int)length, word);
        return true;
    }
    return false;
}
