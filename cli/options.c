/* options.c: see options.h. */
#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"

static const cli_option *find(const cli_option *options, int count, const char *name, size_t length) {
    for (int i = 0; i < count; i++)
        if (strlen(options[i].name) == length && strncmp(options[i].name, name, length) == 0)
            return &options[i];
    return NULL;
}

static bool unknown(const char *argument, const cli_option *options, int count, err *e) {
    const char *names[32];
    size_t known = 0;
    for (int i = 0; i < count && known < 32; i++)
        names[known++] = options[i].name;
    if (known == 0)
        return err_set(e, ERR_USAGE, "usage", "there is no option %s", argument);
    return err_set(e, ERR_USAGE, "usage", "there is no option %s; did you mean %s?", argument,
                   base_nearest(argument, names, known));
}

static bool take(const cli_option *option, const char *text, err *e) {
    char *end = NULL;
    errno = 0;
    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->value = true;
        return true;
    case CLI_TEXT:
        if (!text[0])
            return err_set(e, ERR_USAGE, "usage", "%s needs a value", option->name);
        *(const char **)option->value = text;
        return true;
    case CLI_LIST: {
        cli_list *list = option->value;
        if (list->count == CLI_LIST_MAX)
            return err_set(e, ERR_USAGE, "usage", "%s is given more than %d times", option->name, CLI_LIST_MAX);
        list->item[list->count++] = text;
        return true;
    }
    case CLI_COUNT: {
        long long n = strtoll(text, &end, 10);
        if (end == text || *end || errno || n < option->min || n > option->max)
            return err_set(e, ERR_USAGE, "usage", "%s is a whole number from %lld to %lld, not %s", option->name,
                           (long long)option->min, (long long)option->max, text);
        *(int64_t *)option->value = n;
        return true;
    }
    case CLI_SECONDS: {
        double seconds = strtod(text, &end);
        if (end == text || *end || !isfinite(seconds) || seconds <= 0 || seconds > 1e7)
            return err_set(e, ERR_USAGE, "usage", "%s is a number of seconds above 0, not %s", option->name, text);
        *(double *)option->value = seconds;
        return true;
    }
    }
    return err_set(e, ERR_INTERNAL, "usage", "%s has no kind", option->name);
}

bool cli_parse(int argc, char **argv, const cli_option *options, int option_count, const char **positional, int least,
               int most, const char *names, err *e) {
    int count = 0;
    bool only_names = false;
    for (int i = 0; i < argc; i++) {
        char *argument = argv[i];
        if (!only_names && strcmp(argument, "--") == 0) {
            only_names = true;
            continue;
        }
        if (only_names || argument[0] != '-' || !argument[1]) {
            if (count == most)
                return err_set(e, ERR_USAGE, "usage", "%s is one argument too many", argument);
            positional[count++] = argument;
            continue;
        }
        size_t length = strcspn(argument, "=");
        const cli_option *option = find(options, option_count, argument, length);
        if (!option)
            return unknown(argument, options, option_count, e);
        char *value = argument[length] ? argument + length + 1 : NULL;
        if (option->kind == CLI_FLAG && value)
            return err_set(e, ERR_USAGE, "usage", "%s takes no value", option->name);
        if (option->kind != CLI_FLAG && !value) {
            if (i + 1 == argc)
                return err_set(e, ERR_USAGE, "usage", "%s needs a value", option->name);
            value = argv[++i];
        }
        if (!take(option, value, e))
            return false;
    }
    for (int i = count; i < most; i++)
        positional[i] = NULL;
    if (count < least)
        return err_set(e, ERR_USAGE, "usage", "%s is missing", names);
    return true;
}

int cli_fail(const cli_command *self, err *e) {
    int status = err_exit_status(e);
    bool usage = e->code == ERR_USAGE;
    err_print(stderr, e);
    if (usage)
        fprintf(stderr, "usage: nhac %s%s%s\n", self->name, self->usage[0] ? " " : "", self->usage);
    err_clear(e);
    return status ? status : 1;
}
