/* test_open.c: hostile library folders: missing, half-written, damaged, of another version, writable by others; fuzzed
 * manifests and archives. Every one is refused with a clear text or read as it is; nothing crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/path.h"
#include "help_library.h"
#include "tuner/library_ar.h"

static const char *parent, *path;

static void refused(unsigned flags, const char *text) {
    err e = {0};
    tune_library library;
    assert_false(tune_library_open(path, flags, &library, &e));
    if (e.code != ERR_INPUT) fail_msg("code %d: %s", e.code, e.text);
    if (text && !strstr(e.text, text)) fail_msg("\"%s\" is not in \"%s\"", text, e.text);
    assert_null(strchr(e.text, '\n'));
    err_clear(&e);
}

static void accepted(unsigned flags) {
    err e = {0};
    tune_library library;
    if (!tune_library_open(path, flags, &library, &e)) fail_msg("%s", e.text);
    tune_library_close(&library);
}

static char *slurp(const char *name, size_t *size) {
    err e = {0};
    char *data;
    if (!base_file_read(help_path(path, name), 1 << 20, &data, size, "test", &e)) fail_msg("%s", e.text);
    return data;
}

static void put(const char *name, const void *data, size_t size) {
    assert_true(base_file_write(help_path(path, name), data, size, "test", NULL));
}

static void missing_folders(void **state) {
    (void)state;
    const char *good = path;
    path = help_path(parent, "nowhere");
    refused(0, "there is no such library folder");
    path = help_path(good, "manifest.yaml");
    refused(0, "it is no folder");
    path = help_path(good, "src");
    refused(0, "it has no manifest.yaml");
    path = "";
    refused(0, NULL);
    path = good;
    accepted(0);
}

static void missing_and_cut_files(void **state) {
    (void)state;
    static const char *const files[] = {"libnha_tiny.a",
                                        "libnha_tiny.so",
                                        "nha_tiny.h",
                                        "spec.yaml",
                                        "report.html",
                                        "tuning.jsonl",
                                        "src/decode.baseline.x1.ll",
                                        "nha_tiny.pc"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t size;
        char *data = slurp(files[i], &size);
        assert_int_equal(unlink(help_path(path, files[i])), 0);
        refused(0, "is missing: the library is half-written");
        assert_int_equal(mkdir(help_path(path, files[i]), 0700), 0);
        refused(0, "is missing");
        assert_int_equal(rmdir(help_path(path, files[i])), 0);
        put(files[i], data, size + 1);
        refused(0, "instead of");
        if (size) {
            put(files[i], data, size / 2);
            refused(0, "the library is half-written or damaged");
        }
        put(files[i], data, size);
        free(data);
    }
    accepted(0);
}

static void changed_bytes(void **state) {
    (void)state;
    static const struct {
        const char *file;
        unsigned flags;
    } cases[] = {{"libnha_tiny.so", 0}, {"libnha_tiny.a", TUNE_OPEN_ARCHIVE}, {"spec.yaml", TUNE_OPEN_NO_CODE}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size;
        char *data = slurp(cases[i].file, &size);
        for (size_t at = 0; at < size; at += size / 7 + 1) {
            data[at] ^= 1;
            put(cases[i].file, data, size);
            refused(cases[i].flags, "is damaged: its checksum");
            data[at] ^= 1;
        }
        put(cases[i].file, data, size);
        free(data);
    }
    accepted(0);
}

static void writable_by_others(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        const char *file = help_path(path, way ? "libnha_tiny.a" : "libnha_tiny.so");
        assert_int_equal(chmod(file, 0646), 0);
        refused(way ? TUNE_OPEN_ARCHIVE : 0, "others can write it");
        if (geteuid() == 0) {
            assert_int_equal(chmod(file, 0644), 0);
            assert_int_equal(chown(file, 12345, (gid_t)-1), 0);
            refused(way ? TUNE_OPEN_ARCHIVE : 0, "others can write it");
            assert_int_equal(chown(file, 0, (gid_t)-1), 0);
        }
        assert_int_equal(chmod(file, 0644), 0);
        accepted(way ? TUNE_OPEN_ARCHIVE : 0);
    }
}

/* Replaces `from` by `to` in the manifest, expects a refusal, and puts it back. */
static void edited_manifest(const char *from, const char *to, const char *text) {
    size_t size;
    char *data = slurp("manifest.yaml", &size), *at = strstr(data, from), *edited = malloc(size + strlen(to) + 1);
    if (!at) fail_msg("\"%s\" is not in the manifest", from);
    const size_t before = (size_t)(at - data), after = before + strlen(from);
    memcpy(edited, data, before);
    strcpy(edited + before, to);
    memcpy(edited + before + strlen(to), data + after, size - after);
    put("manifest.yaml", edited, size + strlen(to) - strlen(from));
    refused(0, text);
    put("manifest.yaml", data, size);
    free(data);
    free(edited);
}

static void wrong_manifests(void **state) {
    (void)state;
    edited_manifest("format: 2", "format: 3", "another version, format 3");
    edited_manifest("format: 2\n", "", "the first key of a manifest is `format`");
    edited_manifest("format: 2", "format: 2\nformat: 2", "key given twice: format");
    edited_manifest("nhac: \"" NHA_VERSION "\"", "nhac: \"9.9.9\"", "another version: nhac 9.9.9");
    edited_manifest("abi: 2", "abi: 7", "another version");
    edited_manifest("llvm: ", "lvm: ", "unknown key");
    edited_manifest("rank: 0", "rank: -1", "not a whole number");
    edited_manifest("rank: 0", "rank: 99999999999999999999", "not a whole number");
    edited_manifest("rank: 0", "rank: [0]", "a single value is expected for rank");
    edited_manifest("rank: 0", "rank: \"\"", "not a whole number");
    edited_manifest("delta_cost: 0.125", "delta_cost: nan", "not a number");
    edited_manifest("path: \"nha_tiny.h\"", "path: \"../nha_tiny.h\"", "not a path within the library");
    edited_manifest("path: \"nha_tiny.h\"", "path: \"/etc/passwd\"", "not a path within the library");
    edited_manifest("path: \"nha_tiny.h\"", "path: \"src//x\"", "not a path within the library");
    edited_manifest("path: \"nha_tiny.h\"", "path: \"a\\0b\"", "a NUL byte in path");
    edited_manifest("path: \"libnha_tiny.a\"", "path: \"nha_tiny.h\"", "does not list libnha_tiny.a");
    edited_manifest("name: \"tiny\"", "name: \"tinier\"", "different names");
    edited_manifest("name: \"tiny\"", "name: \"a name with spaces\"", "letters that do not belong");
    edited_manifest("kernels:", "kernels: &a", "anchors and aliases");
    edited_manifest("name: \"tiny\"", "name: *a", NULL);
    edited_manifest("files:", "files: 3\nmore:", "a list is expected");
    edited_manifest("abi: 2", "abi: 2\n--- ", NULL);
    accepted(0);
}

static void cut_manifests(void **state) {
    (void)state;
    size_t size;
    char *data = slurp("manifest.yaml", &size);
    for (size_t cut = 0; cut + 2 < size; cut += 37) { /* without its last digits and quote it is never whole */
        put("manifest.yaml", data, cut);
        refused(0, NULL);
    }
    put("manifest.yaml", "\0\xff\xfe garbage", 11);
    refused(0, NULL);
    char *large = calloc(1, TUNE_MANIFEST_BYTES_MAX + 1);
    put("manifest.yaml", large, TUNE_MANIFEST_BYTES_MAX + 1);
    refused(0, NULL);
    free(large);
    put("manifest.yaml", data, size);
    free(data);
    accepted(0);
}

static unsigned seed = 7;

static unsigned draw(unsigned below) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static void fuzzed_manifests(void **state) {
    (void)state;
    size_t size;
    char *data = slurp("manifest.yaml", &size), *copy = malloc(size + 1);
    static const char marks[] = "{}[]:,-&*\"'\n #";
    unsigned failed = 0;
    for (int round = 0; round < 2000; round++) {
        tune_manifest manifest;
        memcpy(copy, data, size);
        for (unsigned i = draw(4); i < 4; i++) copy[draw((unsigned)size)] = draw(2) ? (char)draw(256) : marks[draw(15)];
        if (tune_manifest_parse("fuzz", copy, size - draw(2) * draw((unsigned)size), &manifest, NULL)) {
            base_buf text = {0};
            tune_manifest again;
            tune_manifest_write(&text, &manifest); /* what was read can be written and read */
            assert_true(tune_manifest_parse("again", text.data, text.size, &again, NULL));
            assert_int_equal(again.file_count, manifest.file_count);
            tune_manifest_destroy(&again);
            tune_manifest_destroy(&manifest);
            base_buf_free(&text);
        } else {
            failed++;
        }
    }
    assert_true(failed > 500);
    free(copy);
    free(data);
}

static void fuzzed_archives(void **state) {
    (void)state;
    enum { MOST = 8 };
    size_t size, count;
    tune_ar_member members[MOST];
    char *data = slurp("libnha_tiny.a", &size), *copy = malloc(size + 1);
    assert_true(tune_ar_read(data, size, members, MOST, &count, NULL));
    assert_int_equal(count, 1 + HELP_KERNELS);
    assert_string_equal(members[0].name, "table.o");
    for (size_t i = 0; i < count; i++) assert_memory_equal(members[i].bytes, "\177ELF", 4);
    err e = {0};
    assert_false(tune_ar_read(data, size, members, 2, &count, &e));
    assert_int_equal(e.code, ERR_INPUT);
    err_clear(&e);
    for (int round = 0; round < 5000; round++) {
        memcpy(copy, data, size);
        /* Headers are text at few places: hit them often. */
        for (int i = 0; i < 3; i++)
            copy[draw(2) ? draw(160) : draw((unsigned)size)] = (char)(draw(2) ? draw(256) : '0' + draw(10));
        const size_t cut = size - draw(2) * draw((unsigned)size);
        char *exact = malloc(cut ? cut : 1); /* so that a sanitizer sees every byte past the end */
        memcpy(exact, copy, cut);
        if (tune_ar_read(exact, cut, members, MOST, &count, NULL))
            for (size_t i = 0; i < count; i++) {
                assert_true((const char *)members[i].bytes + members[i].size <= exact + cut);
                assert_true(strlen(members[i].name) > 0);
            }
        free(exact);
    }
    free(copy);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_folders),    cmocka_unit_test(missing_and_cut_files), cmocka_unit_test(changed_bytes),
        cmocka_unit_test(writable_by_others), cmocka_unit_test(wrong_manifests),       cmocka_unit_test(cut_manifests),
        cmocka_unit_test(fuzzed_manifests),   cmocka_unit_test(fuzzed_archives),
    };
    static char folder[PATH_MAX], library[PATH_MAX + 8];
    snprintf(folder, sizeof folder, "%s/open", help_folder());
    snprintf(library, sizeof library, "%s/tiny", folder);
    parent = folder;
    path = library;
    help_write(parent, "tiny", 100);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
