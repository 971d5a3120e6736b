/* manifest.c: manifest.yaml, written by hand-made lines and read by libyaml's events against tables of keys.
 * The shape is fixed (a mapping with two lists of mappings): no recursion, and no bound is needed but the counts. */
#include "tuner/manifest.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* ---- The keys ---- */

typedef enum key_type { KEY_TEXT, KEY_INTEGER, KEY_NUMBER, KEY_PATH, KEY_HASH, KEY_LIST } key_type;

typedef struct key {
    const char *name;
    key_type type;
    size_t offset, size; /* of the member */
} key;

#define ROW(type, owner, member, name)                                                                                 \
    { name, type, offsetof(owner, member), sizeof(((owner *)0)->member) }
#define TOP(type, member)    ROW(type, tune_manifest, member, #member)
#define KERNEL(type, member) ROW(type, tune_manifest_kernel, member, #member)
#define FILES(type, member)  ROW(type, tune_manifest_file, member, #member)

static const key top_keys[] = {
    TOP(KEY_INTEGER, format), /* first, so that another version's file is told by its number, not by its keys */
    TOP(KEY_TEXT, nhac),
    TOP(KEY_TEXT, llvm),
    TOP(KEY_TEXT, nvrtc),
    TOP(KEY_INTEGER, abi),
    TOP(KEY_TEXT, triple),
    TOP(KEY_TEXT, name),
    TOP(KEY_TEXT, c_name),
    ROW(KEY_LIST, tune_manifest, kernels, "kernels"),
    ROW(KEY_LIST, tune_manifest, kernels, "cuda_kernels"),
    ROW(KEY_LIST, tune_manifest, files, "files"),
};
#define EVERY_KERNEL                                                                                                   \
    KERNEL(KEY_TEXT, name), KERNEL(KEY_TEXT, op), KERNEL(KEY_TEXT, isa), KERNEL(KEY_INTEGER, rank),                    \
        KERNEL(KEY_INTEGER, min_tasks), KERNEL(KEY_INTEGER, max_tasks), KERNEL(KEY_INTEGER, min_length),               \
        KERNEL(KEY_INTEGER, max_length), KERNEL(KEY_PATH, source), KERNEL(KEY_HASH, sha256)
static const key cpu_keys[] = {
    EVERY_KERNEL,
    KERNEL(KEY_TEXT, symbol_main),
    KERNEL(KEY_TEXT, symbol_delta),
    KERNEL(KEY_TEXT, symbol_scan),
    KERNEL(KEY_TEXT, object),
    KERNEL(KEY_INTEGER, spills),
    KERNEL(KEY_INTEGER, loop_spills),
    KERNEL(KEY_INTEGER, block_tokens),
    KERNEL(KEY_INTEGER, scratch_bytes),
    KERNEL(KEY_INTEGER, scratch_panel_bytes),
    KERNEL(KEY_NUMBER, delta_cost),
};
#define LAUNCH(member)                                                                                                 \
    ROW(KEY_TEXT, tune_manifest_kernel, member.entry, #member "_entry"),                                               \
        ROW(KEY_INTEGER, tune_manifest_kernel, member.threads, #member "_threads"),                                    \
        ROW(KEY_INTEGER, tune_manifest_kernel, member.shared_bytes, #member "_shared_bytes"),                          \
        ROW(KEY_INTEGER, tune_manifest_kernel, member.registers, #member "_registers"),                                \
        ROW(KEY_INTEGER, tune_manifest_kernel, member.stack_bytes, #member "_stack_bytes"),                            \
        ROW(KEY_INTEGER, tune_manifest_kernel, member.spill_bytes, #member "_spill_bytes")
static const key cuda_keys[] = {
    EVERY_KERNEL,
    KERNEL(KEY_PATH, ptx),
    KERNEL(KEY_PATH, cubin),
    LAUNCH(main),
    LAUNCH(second),
    KERNEL(KEY_INTEGER, workspace_bytes),
    KERNEL(KEY_INTEGER, workspace_window_bytes),
};
static const key file_keys[] = {FILES(KEY_PATH, path), FILES(KEY_INTEGER, size), FILES(KEY_HASH, sha256)};

enum {
    TOP_KEYS = sizeof top_keys / sizeof top_keys[0],
    CPU_KEYS = sizeof cpu_keys / sizeof cpu_keys[0],
    CUDA_KEYS = sizeof cuda_keys / sizeof cuda_keys[0],
    FILE_KEYS = sizeof file_keys / sizeof file_keys[0],
};

/* ---- Writing ---- */

/* The members of one mapping, a key a line, `first` before the first line and `next` before the others. */
static void write_members(base_buf *out, const key *keys, size_t count, const void *owner, const char *first,
                          const char *next) {
    for (size_t i = 0; i < count; i++) {
        const char *member = (const char *)owner + keys[i].offset;
        int64_t integer;
        double number;
        if (keys[i].type == KEY_LIST) continue;
        base_buf_printf(out, "%s%s: ", i ? next : first, keys[i].name);
        if (keys[i].type == KEY_INTEGER) {
            memcpy(&integer, member, sizeof integer);
            base_buf_printf(out, "%lld\n", (long long)integer);
        } else if (keys[i].type == KEY_NUMBER) {
            memcpy(&number, member, sizeof number);
            base_buf_printf(out, "%.17g\n", number);
        } else {
            base_buf_printf(out, "\"%s\"\n", member);
        }
    }
}

static void write_kernels(base_buf *out, const tune_manifest *manifest, const char *list, bool cuda) {
    size_t count = 0;
    for (size_t i = 0; i < manifest->kernel_count; i++) count += manifest->kernels[i].cuda == cuda;
    base_buf_printf(out, count ? "%s:\n" : "%s: []\n", list);
    for (size_t i = 0; i < manifest->kernel_count; i++)
        if (manifest->kernels[i].cuda == cuda)
            write_members(out, cuda ? cuda_keys : cpu_keys, cuda ? CUDA_KEYS : CPU_KEYS, &manifest->kernels[i], "  - ",
                          "    ");
}

void tune_manifest_write(base_buf *out, const tune_manifest *manifest) {
    write_members(out, top_keys, TOP_KEYS, manifest, "", "");
    write_kernels(out, manifest, "kernels", false);
    write_kernels(out, manifest, "cuda_kernels", true);
    base_buf_text(out, manifest->file_count ? "files:\n" : "files: []\n");
    for (size_t i = 0; i < manifest->file_count; i++)
        write_members(out, file_keys, FILE_KEYS, &manifest->files[i], "  - ", "    ");
}

/* ---- Reading ---- */

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    const char *path;
    err *e;
} reader;

static bool bad(reader *r, const char *text, const char *detail) {
    const yaml_mark_t at = r->event.start_mark;
    return err_at(r->e, ERR_INPUT, "library", r->path, (int)at.line + 1, (int)at.column + 1, "%s%s", text, detail);
}

/* The next event. Anchors and aliases have no place in a manifest. */
static bool next(reader *r) {
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        memset(&r->event, 0, sizeof r->event);
        if (r->parser.error == YAML_MEMORY_ERROR) return err_memory(r->e, "library");
        return err_at(r->e, ERR_INPUT, "library", r->path, (int)r->parser.problem_mark.line + 1,
                      (int)r->parser.problem_mark.column + 1, "not YAML: %s",
                      r->parser.problem ? r->parser.problem : "unreadable bytes");
    }
    const bool anchored = r->event.type == YAML_ALIAS_EVENT ||
                          (r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.anchor) ||
                          (r->event.type == YAML_MAPPING_START_EVENT && r->event.data.mapping_start.anchor) ||
                          (r->event.type == YAML_SEQUENCE_START_EVENT && r->event.data.sequence_start.anchor);
    return anchored ? bad(r, "anchors and aliases are not allowed in a manifest", "") : true;
}

static bool plain_text(const char *text, const char *also) {
    for (; *text; text++)
        if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || (*text >= '0' && *text <= '9') ||
              strchr(also, *text)))
            return false;
    return true;
}

/* A path that stays in the folder: parts of plain letters that do not begin with a dot. */
static bool plain_path(const char *path) {
    if (!plain_text(path, "._-/")) return false;
    for (const char *part = path;; part = strchr(part, '/') + 1) {
        if (*part == 0 || *part == '.' || *part == '/') return false;
        if (!strchr(part, '/')) return true;
    }
}

static bool read_value(reader *r, const key *k, void *owner) {
    char *member = (char *)owner + k->offset, *end;
    if (r->event.type != YAML_SCALAR_EVENT) return bad(r, "a single value is expected for ", k->name);
    const char *text = (const char *)r->event.data.scalar.value;
    const size_t length = r->event.data.scalar.length;
    if (strlen(text) != length) return bad(r, "a NUL byte in ", k->name);
    errno = 0;
    if (k->type == KEY_INTEGER) {
        const long long value = strtoll(text, &end, 10);
        if (!length || *end || errno || value < 0) return bad(r, "not a whole number from 0 up: ", k->name);
        memcpy(member, &(int64_t){value}, sizeof(int64_t));
        return true;
    }
    if (k->type == KEY_NUMBER) {
        const double value = strtod(text, &end);
        if (!length || *end || !isfinite(value)) return bad(r, "not a number: ", k->name);
        memcpy(member, &value, sizeof value);
        return true;
    }
    if (length >= k->size) return bad(r, "too long: ", k->name);
    if (k->type == KEY_PATH && !plain_path(text)) return bad(r, "not a path within the library: ", k->name);
    if (k->type == KEY_HASH && (length != 64 || strspn(text, "0123456789abcdef") != 64))
        return bad(r, "not 64 hexadecimal digits: ", k->name);
    if (k->type == KEY_TEXT && !plain_text(text, "._-+$")) return bad(r, "letters that do not belong in ", k->name);
    memcpy(member, text, length + 1);
    return true;
}

typedef bool (*read_list)(reader *r, const key *k, void *owner);

/* The members of a mapping whose start is the current event, up to its end. Each key once and none missing. */
static bool read_mapping(reader *r, const key *keys, size_t count, void *owner, read_list list) {
    uint64_t seen = 0;
    if (r->event.type != YAML_MAPPING_START_EVENT) return bad(r, "a mapping is expected", "");
    for (;;) {
        if (!next(r)) return false;
        if (r->event.type == YAML_MAPPING_END_EVENT) break;
        if (r->event.type != YAML_SCALAR_EVENT) return bad(r, "a key is expected", "");
        const char *name = (const char *)r->event.data.scalar.value;
        size_t i = 0;
        while (i < count && strcmp(keys[i].name, name) != 0) i++;
        if (i == count) return bad(r, "unknown key: made by another version of nhac, or damaged", "");
        if (seen & (UINT64_C(1) << i)) return bad(r, "key given twice: ", keys[i].name);
        seen |= UINT64_C(1) << i;
        if (!next(r)) return false;
        if (!(keys[i].type == KEY_LIST ? list(r, &keys[i], owner) : read_value(r, &keys[i], owner))) return false;
        if (keys != top_keys) continue;
        tune_manifest *manifest = owner;
        if (!(seen & 1)) return bad(r, "the first key of a manifest is `format`", "");
        if (manifest->format != TUNE_MANIFEST_FORMAT) {
            char detail[96];
            snprintf(detail, sizeof detail, "%lld; this nhac reads format %d: build the library again",
                     (long long)manifest->format, TUNE_MANIFEST_FORMAT);
            return bad(r, "a library of another version, format ", detail);
        }
    }
    for (size_t i = 0; i < count; i++)
        if (!(seen & (UINT64_C(1) << i))) return bad(r, "missing key: ", keys[i].name);
    return true;
}

/* A list of mappings, appended to an array of *count items that grows. */
static bool read_items(reader *r, const key *keys, size_t key_count, size_t item_size, size_t most, void **items,
                       size_t *count) {
    size_t capacity = *count;
    if (r->event.type != YAML_SEQUENCE_START_EVENT) return bad(r, "a list is expected", "");
    for (;;) {
        if (!next(r)) return false;
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return true;
        if (*count == most) return bad(r, "the list is too long", "");
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            void *grown = realloc(*items, capacity * item_size);
            if (!grown) return err_memory(r->e, "library");
            *items = grown;
        }
        void *item = (char *)*items + *count * item_size;
        memset(item, 0, item_size);
        ++*count;
        if (!read_mapping(r, keys, key_count, item, NULL)) return false;
    }
}

static bool read_top_list(reader *r, const key *k, void *owner) {
    tune_manifest *manifest = owner;
    void *items = NULL;
    bool ok;
    if (strcmp(k->name, "files") != 0) {
        const bool cuda = strcmp(k->name, "cuda_kernels") == 0;
        size_t first = manifest->kernel_count;
        items = manifest->kernels;
        ok = read_items(r, cuda ? cuda_keys : cpu_keys, cuda ? CUDA_KEYS : CPU_KEYS, sizeof *manifest->kernels,
                        TUNE_MANIFEST_KERNELS_MAX, &items, &manifest->kernel_count);
        manifest->kernels = items;
        for (size_t i = first; i < manifest->kernel_count; i++) manifest->kernels[i].cuda = cuda;
    } else {
        ok = read_items(r, file_keys, FILE_KEYS, sizeof *manifest->files, TUNE_MANIFEST_FILES_MAX, &items,
                        &manifest->file_count);
        manifest->files = items;
    }
    return ok;
}

static bool read_document(reader *r, tune_manifest *manifest) {
    if (!next(r) || !next(r)) return false; /* the stream begins */
    if (r->event.type == YAML_STREAM_END_EVENT) return bad(r, "the manifest is empty", "");
    if (!next(r)) return false; /* after the document's start */
    if (!read_mapping(r, top_keys, TOP_KEYS, manifest, read_top_list)) return false;
    if (!next(r) || !next(r)) return false; /* the document's end */
    return r->event.type == YAML_STREAM_END_EVENT ? true : bad(r, "one document is expected", "");
}

bool tune_manifest_parse(const char *path, const char *text, size_t size, tune_manifest *manifest, err *e) {
    reader r = {.path = path, .e = e};
    *manifest = (tune_manifest){0};
    if (!yaml_parser_initialize(&r.parser)) return err_memory(e, "library");
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
    const bool ok = read_document(&r, manifest);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    if (!ok) tune_manifest_destroy(manifest);
    return ok;
}

void tune_manifest_destroy(tune_manifest *manifest) {
    free(manifest->kernels);
    free(manifest->files);
    *manifest = (tune_manifest){0};
}

const tune_manifest_file *tune_manifest_find(const tune_manifest *manifest, const char *path) {
    for (size_t i = 0; i < manifest->file_count; i++)
        if (strcmp(manifest->files[i].path, path) == 0) return &manifest->files[i];
    return NULL;
}
