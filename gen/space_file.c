/* space_file.c: see space_file.h. */
#include "gen/space_file.h"

#include <stdlib.h>
#include <string.h>

#include "gen/spec_yaml.h"

static bool read_knob(const char *file, const gen_yaml *entry, gen_space_knob *knob, err *e) {
    *knob = (gen_space_knob){.name = entry->key->text, .line = entry->key->line, .column = entry->key->column};
    if (entry->kind != GEN_YAML_LIST || entry->count == 0 || entry->count > GEN_SPACE_VALUES_MAX)
        return err_at(e, ERR_INPUT, "space", file, entry->line, entry->column, "%s needs a list of 1 to %d integers", knob->name,
                      GEN_SPACE_VALUES_MAX);
    for (const gen_yaml *item = entry->first; item; item = item->next) {
        char *end = NULL;
        long v = item->kind == GEN_YAML_SCALAR ? strtol(item->text, &end, 10) : -1;
        if (v < 0 || v > GEN_SPACE_VALUE_MAX || !end || *end || end == item->text)
            return err_at(e, ERR_INPUT, "space", file, item->line, item->column, "%s needs integers from 0 to %d", knob->name,
                          GEN_SPACE_VALUE_MAX);
        knob->value[knob->count++] = (int32_t)v;
    }
    return true;
}

bool gen_space_read(const gen_embedded *files, const char *name, base_arena *arena, gen_space_file *space, err *e) {
    const gen_embedded *file = files;
    const gen_yaml *root;
    space->count = 0;
    while (file->name && strcmp(file->name, name) != 0)
        file++;
    if (!file->name)
        return err_set(e, ERR_INTERNAL, "space", "no embedded file %s", name);
    if (!gen_yaml_parse(name, file->text, file->size, "a map of knobs", arena, &root, e))
        return false;
    if (root->kind != GEN_YAML_MAP || root->count > GEN_SPACE_KNOBS_MAX)
        return err_at(e, ERR_INPUT, "space", name, root->line, root->column, "a space file is a map of 1 to %d knobs",
                      GEN_SPACE_KNOBS_MAX);
    for (const gen_yaml *entry = root->first; entry; entry = entry->next)
        if (!read_knob(name, entry, &space->knob[space->count++], e))
            return false;
    return true;
}
