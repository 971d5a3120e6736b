/* options.h: command lines, by table. Each command lists its options as rows; parsing knows nothing else.
 * A wrong command line is one line on stderr, then the command's usage; exit status 2. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdint.h>

#include "base/err.h"

typedef enum cli_kind {
    CLI_FLAG,   /* bool: no value */
    CLI_TEXT,   /* const char *: borrowed from argv */
    CLI_LIST,   /* cli_list: may be repeated */
    CLI_COUNT,  /* int64_t: min..max */
    CLI_SECONDS /* double: 0 < s */
} cli_kind;

enum { CLI_LIST_MAX = 64 };

typedef struct cli_list {
    const char *item[CLI_LIST_MAX];
    int count;
} cli_list;

typedef struct cli_option {
    const char *name; /* "--budget"; value as "--budget 60" or "--budget=60" */
    cli_kind kind;
    void *value;      /* of the kind's type; holds the default before parsing */
    int64_t min, max; /* of a count */
} cli_option;

typedef struct cli_command {
    const char *name;
    const char *usage;   /* the arguments, one line */
    const char *purpose; /* one line for the list of commands */
    int (*run)(const struct cli_command *self, int argc,
               char **argv); /* argv[0]: the first argument; returns the exit status */
} cli_command;

/* Splits argv into options and at most `most` positional arguments (borrowed); at least `least`, called `names` in
 * messages. "--" ends the options. Errors: ERR_USAGE, naming the nearest option. */
bool cli_parse(int argc, char **argv, const cli_option *options, int option_count, const char **positional, int least,
               int most, const char *names, err *e);
/* Prints the error (and the usage, if the command line was wrong), clears it; returns the exit status. */
int cli_fail(const cli_command *self, err *e);

int cli_doctor(const cli_command *self, int argc, char **argv);
int cli_gen(const cli_command *self, int argc, char **argv);
int cli_build(const cli_command *self, int argc, char **argv);
int cli_tune(const cli_command *self, int argc, char **argv);
int cli_run(const cli_command *self, int argc, char **argv);
int cli_verify(const cli_command *self, int argc, char **argv);
int cli_bench(const cli_command *self, int argc, char **argv);
int cli_show(const cli_command *self, int argc, char **argv);
int cli_db(const cli_command *self, int argc, char **argv);
int cli_emu(const cli_command *self, int argc, char **argv);

#endif
