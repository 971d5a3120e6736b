/* spec_yaml.c: libyaml's events to a tree. Bounds are checked event by event, before anything is kept; an alias bomb
 * ends at its first anchor. */
#include "gen/spec_yaml.h"

#include <string.h>
#include <yaml.h>

typedef struct yaml_reader {
    yaml_parser_t parser;
    const char *path, *text;
    size_t size;
    base_arena *arena;
    int nodes;
    err *e;
} yaml_reader;

static bool fail_at(yaml_reader *r, int line, int column, const char *text) {
    return err_at(r->e, ERR_INPUT, "spec", r->path, line, column, "%s", text);
}

static bool fail_mark(yaml_reader *r, yaml_mark_t mark, const char *text) {
    return fail_at(r, (int)mark.line + 1, (int)mark.column + 1, text);
}

/* libyaml's own complaint. The reader (bad UTF-8, control characters) knows a byte offset alone. */
static bool fail_parser(yaml_reader *r) {
    const yaml_parser_t *p = &r->parser;
    char text[256];
    if (p->error == YAML_MEMORY_ERROR) return err_memory(r->e, "spec");
    snprintf(text, sizeof text, "not YAML: %s%s%s%s", p->problem ? p->problem : "it cannot be read",
             p->context ? " (" : "", p->context ? p->context : "", p->context ? ")" : "");
    if (p->error != YAML_READER_ERROR) return fail_mark(r, p->problem_mark, text);
    int line = 1, column = 1;
    for (size_t i = 0; i < p->problem_offset && i < r->size; i++) {
        column += ((unsigned char)r->text[i] & 0xc0) != 0x80; /* characters, as libyaml counts */
        if (r->text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return fail_at(r, line, column, text);
}

static bool refuse(yaml_reader *r, const yaml_event_t *event, const yaml_char_t *anchor, const yaml_char_t *tag) {
    if (anchor) return fail_mark(r, event->start_mark, "anchors are not available in a spec: write the value out");
    if (tag) return fail_mark(r, event->start_mark, "tags are not available in a spec: write the plain value");
    return true;
}

/* Copies an event into a node; false where the event has no place in a spec. */
static bool fill(yaml_reader *r, const yaml_event_t *event, gen_yaml *node) {
    node->line = (int)event->start_mark.line + 1;
    node->column = (int)event->start_mark.column + 1;
    if (event->type == YAML_ALIAS_EVENT)
        return fail_mark(r, event->start_mark, "aliases are not available in a spec: write the value out");
    if (event->type == YAML_SEQUENCE_START_EVENT) {
        node->kind = GEN_YAML_LIST;
        return refuse(r, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
    }
    if (event->type == YAML_MAPPING_START_EVENT) {
        node->kind = GEN_YAML_MAP;
        return refuse(r, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
    }
    if (event->type != YAML_SCALAR_EVENT) return fail_mark(r, event->start_mark, "not YAML: a value was expected");
    const char *value = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (!refuse(r, event, event->data.scalar.anchor, event->data.scalar.tag)) return false;
    if (memchr(value, 0, length)) return fail_mark(r, event->start_mark, "a NUL character in a text");
    node->kind = GEN_YAML_SCALAR;
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = base_arena_copy(r->arena, value, length);
    return node->text ? true : err_memory(r->e, "spec");
}

/* Next event to a node. *end: the event closes a list or map instead, and *out is NULL. */
static bool next_node(yaml_reader *r, gen_yaml **out, bool *end) {
    yaml_event_t event;
    *out = NULL;
    if (!yaml_parser_parse(&r->parser, &event)) return fail_parser(r);
    *end = event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
    bool ok = true;
    if (!*end) {
        if (++r->nodes > GEN_YAML_NODES_MAX) {
            ok = fail_mark(r, event.start_mark, "too many values for a spec");
        } else {
            *out = base_arena_alloc(r->arena, sizeof **out);
            ok = *out ? fill(r, &event, *out) : err_memory(r->e, "spec");
        }
    }
    yaml_event_delete(&event);
    return ok;
}

/* Members of a list or map up to its end. */
static bool read_members(yaml_reader *r, gen_yaml *parent, int depth) {
    const gen_yaml **link = &parent->first;
    if (depth >= GEN_YAML_DEPTH_MAX) return fail_at(r, parent->line, parent->column, "nested too deeply for a spec");
    for (;;) {
        gen_yaml *key = NULL, *value;
        bool end;
        if (!next_node(r, &value, &end)) return false;
        if (end) return true;
        if (parent->kind == GEN_YAML_MAP) {
            key = value;
            if (key->kind != GEN_YAML_SCALAR) return fail_at(r, key->line, key->column, "a key is one plain word");
            if (!next_node(r, &value, &end)) return false;
            if (end) return fail_at(r, key->line, key->column, "a key without a value");
        }
        if (value->kind != GEN_YAML_SCALAR && !read_members(r, value, depth + 1)) return false;
        value->key = key;
        *link = value;
        link = &value->next;
        parent->count++;
    }
}

/* The next event must be of this type. */
static bool expect(yaml_reader *r, yaml_event_type_t type, const char *otherwise) {
    yaml_event_t event;
    if (!yaml_parser_parse(&r->parser, &event)) return fail_parser(r);
    bool ok = event.type == type ? true : fail_mark(r, event.start_mark, otherwise);
    yaml_event_delete(&event);
    return ok;
}

static bool read_document(yaml_reader *r, const char *expected, const gen_yaml **root) {
    yaml_event_t event;
    gen_yaml *node;
    bool end;
    if (!expect(r, YAML_STREAM_START_EVENT, "not YAML")) return false;
    if (!yaml_parser_parse(&r->parser, &event)) return fail_parser(r);
    yaml_event_type_t type = event.type;
    yaml_event_delete(&event);
    if (type != YAML_DOCUMENT_START_EVENT)
        return err_at(r->e, ERR_INPUT, "spec", r->path, 1, 1, "the file is empty: expected %s", expected);
    if (!next_node(r, &node, &end)) return false;
    if (node->kind != GEN_YAML_SCALAR && !read_members(r, node, 0)) return false;
    *root = node;
    return expect(r, YAML_DOCUMENT_END_EVENT, "not YAML: the document has no end") &&
           expect(r, YAML_STREAM_END_EVENT, "a second document: a spec is one");
}

bool gen_yaml_parse(const char *path, const char *text, size_t size, const char *expected, base_arena *arena,
                    const gen_yaml **root, err *e) {
    yaml_reader r = {.path = path, .text = text, .size = size, .arena = arena, .e = e};
    if (!yaml_parser_initialize(&r.parser)) return err_memory(e, "spec");
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
    bool ok = read_document(&r, expected, root);
    yaml_parser_delete(&r.parser);
    return ok;
}
