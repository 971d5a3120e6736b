/* library_ar.c: writes and reads ar archives: "!<arch>\n", then members: a 60-byte text header and bytes, padded to
 * even. First "/": the index (count and offsets as big-endian 32-bit numbers, then names); then "//": names over 15
 * letters. */
#include "tuner/library_ar.h"

#include <ar.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "jit/elf.h"

enum { SHORT_NAME = 15, HEADER_BYTES = 60 };

static void add_header(base_buf *out, const char *name, size_t size) {
    char text[HEADER_BYTES + 24];
    /* Name, date, owner, group, mode, size; all but name and size as `ar D` writes them. */
    snprintf(text, sizeof text, "%-16.16s%-12s%-6s%-6s%-8s%-10zu`\n", name, "0", "0", "0", "644", size);
    base_buf_add(out, text, HEADER_BYTES);
}

static void add_big32(base_buf *out, uint64_t value) {
    const unsigned char bytes[4] = {(unsigned char)(value >> 24), (unsigned char)(value >> 16),
                                    (unsigned char)(value >> 8), (unsigned char)value};
    base_buf_add(out, bytes, sizeof bytes);
}

static size_t even(size_t n) {
    return n + (n & 1);
}

/* Appends the names a member defines for others to `names`, each with its NUL, and the member's number per name to
 * `owners`. */
static bool add_symbols(base_buf *names, base_buf *owners, const tune_ar_member *member, size_t number, err *e) {
    jit_elf elf;
    jit_elf_symbol symbol;
    if (!jit_elf_open(member->bytes, member->size, &elf, NULL))
        return err_set(e, ERR_INTERNAL, "library", "%s is not an ELF object", member->name);
    for (size_t i = 1; i < elf.symbols; i++) {
        if (!jit_elf_symbol_at(&elf, i, &symbol, e)) return false;
        if (!symbol.defined || symbol.local || !symbol.name[0]) continue;
        base_buf_add(names, symbol.name, strlen(symbol.name) + 1);
        base_buf_add(owners, &number, sizeof number);
    }
    return true;
}

bool tune_ar_write(base_buf *out, const tune_ar_member *members, size_t count, err *e) {
    bool ok = false;
    base_buf names = {0}, owners = {0}, longs = {0};
    size_t *offsets = calloc(count + 1, sizeof *offsets);
    if (!offsets) return err_memory(e, "library");
    for (size_t i = 0; i < count; i++) {
        if (!add_symbols(&names, &owners, &members[i], i, e)) goto done;
        if (strlen(members[i].name) > SHORT_NAME) base_buf_printf(&longs, "%s/\n", members[i].name);
    }
    if (!base_buf_ok(&names, "library", e) || !base_buf_ok(&owners, "library", e) || !base_buf_ok(&longs, "library", e))
        goto done;

    const size_t symbols = owners.size / sizeof(size_t), index_size = 4 + 4 * symbols + names.size;
    uint64_t at = SARMAG + HEADER_BYTES + even(index_size) + (longs.size ? HEADER_BYTES + even(longs.size) : 0);
    for (size_t i = 0; i < count; i++) {
        offsets[i] = at;
        at += HEADER_BYTES + even(members[i].size);
    }
    if (at > UINT32_MAX) {
        err_set(e, ERR_INTERNAL, "library", "a static library over 4 GiB");
        goto done;
    }
    base_buf_add(out, ARMAG, SARMAG);
    add_header(out, "/", even(index_size));
    add_big32(out, symbols);
    for (size_t i = 0; i < symbols; i++) {
        size_t owner;
        memcpy(&owner, owners.data + i * sizeof owner, sizeof owner);
        add_big32(out, offsets[owner]);
    }
    base_buf_add(out, names.data, names.size);
    if (index_size & 1) base_buf_add(out, "", 1);
    if (longs.size) {
        add_header(out, "//", longs.size);
        base_buf_add(out, longs.data, longs.size);
        if (longs.size & 1) base_buf_char(out, '\n');
    }
    size_t long_at = 0;
    for (size_t i = 0; i < count; i++) {
        char name[32];
        const size_t length = strlen(members[i].name);
        if (length > SHORT_NAME) {
            snprintf(name, sizeof name, "/%zu", long_at);
            long_at += length + 2;
        } else {
            snprintf(name, sizeof name, "%s/", members[i].name);
        }
        add_header(out, name, members[i].size);
        base_buf_add(out, members[i].bytes, members[i].size);
        if (members[i].size & 1) base_buf_char(out, '\n');
    }
    ok = base_buf_ok(out, "library", e);

done:
    base_buf_free(&names);
    base_buf_free(&owners);
    base_buf_free(&longs);
    free(offsets);
    return ok;
}

/* A decimal number that fills the first letters of a field and is followed by blanks. */
static bool field_number(const char *field, size_t width, size_t *value) {
    size_t i = 0, n = 0;
    for (; i < width && field[i] >= '0' && field[i] <= '9'; i++) n = n * 10 + (size_t)(field[i] - '0');
    if (i == 0) return false;
    for (; i < width; i++)
        if (field[i] != ' ') return false;
    *value = n; /* at most 15 digits: no overflow */
    return true;
}

/* The member's name: "short/" in the header, or "/offset" of the name table. */
static bool member_name(const struct ar_hdr *header, const char *longs, size_t longs_size, char name[64]) {
    const char *from = header->ar_name;
    size_t most = sizeof header->ar_name, offset;
    if (from[0] == '/') {
        if (!field_number(from + 1, most - 1, &offset) || offset >= longs_size) return false;
        from = longs + offset;
        most = longs_size - offset;
    }
    const char *slash = memchr(from, '/', most);
    if (!slash || slash == from || slash - from >= 64) return false;
    memcpy(name, from, (size_t)(slash - from));
    name[slash - from] = 0;
    return true;
}

bool tune_ar_read(const void *bytes, size_t size, tune_ar_member *members, size_t most, size_t *count, err *e) {
    const char *at = bytes, *longs = NULL;
    size_t left = size, longs_size = 0;
    *count = 0;
    if (left < SARMAG || memcmp(at, ARMAG, SARMAG) != 0) return err_set(e, ERR_INPUT, "library", "not an ar archive");
    at += SARMAG;
    left -= SARMAG;
    while (left > 0) {
        struct ar_hdr header;
        size_t body;
        if (left < sizeof header) return err_set(e, ERR_INPUT, "library", "the archive is cut off");
        memcpy(&header, at, sizeof header);
        at += sizeof header;
        left -= sizeof header;
        if (memcmp(header.ar_fmag, ARFMAG, sizeof header.ar_fmag) != 0 ||
            !field_number(header.ar_size, sizeof header.ar_size, &body) || body > left)
            return err_set(e, ERR_INPUT, "library", "member %zu of the archive is damaged", *count);
        if (memcmp(header.ar_name, "// ", 3) == 0) {
            longs = at;
            longs_size = body;
        } else if (memcmp(header.ar_name, "/ ", 2) != 0) {
            if (*count == most) return err_set(e, ERR_INPUT, "library", "the archive has more than %zu members", most);
            tune_ar_member *member = &members[*count];
            if (!member_name(&header, longs, longs_size, member->name))
                return err_set(e, ERR_INPUT, "library", "member %zu of the archive has no proper name", *count);
            member->bytes = at;
            member->size = body;
            ++*count;
        }
        const size_t step = even(body) < left ? even(body) : left;
        at += step;
        left -= step;
    }
    return true;
}
