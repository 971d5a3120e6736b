/* test_report.c: report.html is one well-formed page that fetches nothing, says who won and why, and takes no text of
 * the journal for markup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "tuner/journal_line.h"
#include "tuner/library_report.h"
#include "tuner/report_data.h"

static const char RECORDING[] = "bench/replay/llama3-8b.cpu.jsonl";

/* Every tag closes what was opened last. */
static void check_markup(const char *page) {
    char open[64][16];
    int depth = 0;
    for (const char *at = strchr(page, '<'); at; at = strchr(at + 1, '<')) {
        char name[16];
        bool closing = at[1] == '/';
        size_t length = strspn(at + 1 + closing, "abcdefghijklmnopqrstuvwxyz0123456789");
        const char *end = strchr(at, '>');
        assert_non_null(end);
        if (at[1] == '!')
            continue;
        if (length == 0 || length >= sizeof name)
            fail_msg("no tag: %.60s", at);
        snprintf(name, sizeof name, "%.*s", (int)length, at + 1 + closing);
        if (end[-1] == '/' || !strcmp(name, "meta") || !strcmp(name, "br"))
            continue;
        if (!closing) {
            assert_true(depth < 64);
            memcpy(open[depth++], name, sizeof name);
        } else {
            assert_true(depth > 0);
            assert_string_equal(open[--depth], name);
        }
    }
    assert_int_equal(depth, 0);
}

static int count_of(const char *page, const char *text) {
    int count = 0;
    for (const char *at = strstr(page, text); at; at = strstr(at + 1, text))
        count++;
    return count;
}

static char *write_page(const char *journal, size_t size, const char *winner) {
    err e = {0};
    tune_journal j;
    gen_spec spec;
    tune_manifest_kernel kernel = {
        .op = "decode", .isa = "avx512", .max_tasks = 1000, .max_length = 100000, .source = "src/x.ll"};
    tune_manifest manifest = {
        .name = "llama3-8b", .nhac = "0", .llvm = "19", .triple = "x86_64", .kernels = &kernel, .kernel_count = 1};
    snprintf(kernel.name, sizeof kernel.name, "decode.%s", winner);
    assert_true(tune_journal_parse(journal, size, &j, &e));
    assert_true(gen_spec_parse("journal", j.origins[0].problem, strlen(j.origins[0].problem), &spec, &e));
    const tune_library_content content = {
        .spec = &spec, .journal = journal, .journal_size = size, .how = "how <it> was made"};
    base_buf out = {0};
    if (!tune_report_write(&out, &content, &manifest, &e))
        fail_msg("%s", e.text);
    tune_journal_close(&j);
    gen_spec_destroy(&spec);
    return base_buf_take(&out, NULL, "test", &e);
}

/* The first line of a journal of kernels for a small problem. */
static void write_origin(base_buf *journal, bool bf16) {
    static char f32[] = "name: x\nhead_dim: 32\nheads: {query: 2, kv: 1}\nslots: 16\nwindow: 16\ndtype: f32\n";
    static char half[] = "name: x\nhead_dim: 32\nheads: {query: 2, kv: 1}\nslots: 16\nwindow: 16\ndtype: bf16\n";
    const tune_origin origin = {.name = "x",
                                .device = "cpu",
                                .arch = "machine",
                                .compiler = "c",
                                .nhac = "n",
                                .threads = 1,
                                .problem = bf16 ? half : f32};
    tune_line_write_origin(journal, &origin);
}

static char *write_recording(void) {
    err e = {0};
    char *text;
    size_t size;
    assert_true(base_file_read(RECORDING, TUNE_JOURNAL_BYTES_MAX, &text, &size, "test", &e));
    char *page = write_page(text, size, "avx512.sv4.rv4.e5.m4.f8192.h4.d1.r16");
    free(text);
    return page;
}

static void test_page(void **state) {
    (void)state;
    char *page = write_recording();
    check_markup(page);
    static const char *const foreign[] = {"http:", "https:", "<script", "<link", "url(", "@import", "src="};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        assert_null(strstr(page, foreign[i]));
    static const char *const said[] = {"Against the machine's limits",
                                       "First impressions against the model",
                                       "Gflop/s",
                                       "STATE_ROWS",
                                       "PREFETCH",
                                       "Never candidates",
                                       "Environment",
                                       "how &lt;it&gt; was made",
                                       "<tr class=\"won\"><td>avx512.sv4.rv4.e5.m4.f8192.h4.d1.r16</td>",
                                       "paired rounds"};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (!strstr(page, said[i]))
            fail_msg("%s is not there", said[i]);
    assert_int_equal(count_of(page, "<svg"),
                     1 + 2 + 3 + 7); /* roofline; of both ops the model and the knobs of more than one value */
    assert_int_equal(count_of(page, "class=\"best\""), 2 + 1 + 7);
    free(page);
}

/* The journal's texts may be anything. */
static void test_hostile(void **state) {
    (void)state;
    err e = {0};
    base_buf journal = {0};
    tune_origin origin = {
        .name = "x",
        .device = "</td><script>",
        .arch = "avx2\"<",
        .compiler = "&",
        .nhac = "<b>",
        .threads = 1,
        .problem = (char *)(uintptr_t) "name: x\nhead_dim: 32\nheads: {query: 2, kv: 1}\nslots: 16\nwindow: 16\n"
                                       "dtype: f32\n"};
    tune_line_write_origin(&journal, &origin);
    static const char *const tiles[] = {"<i>", "</svg>", "a&b", "\"quoted\""};
    for (int i = 0; i < 4; i++) {
        tune_record r = {
            .kind = TUNE_RECORD_VERIFIED, .op = NHA_PREFILL, .order = i, .knob = {{"<k>", i}}, .knob_count = 1};
        snprintf(r.tile, sizeof r.tile, "%s", tiles[i]);
        tune_line_write(&journal, &r, "cpu", "cpu");
        r.kind = TUNE_RECORD_QUICK;
        r.batch = 1;
        r.tokens = 64;
        r.predicted = i == 3 ? 1e300 : 1e-300;
        r.samples = (tune_samples){.us = {i ? 1e-300 : 1e300, 2}, .count = 2};
        r.base = (tune_samples){.us = {1, i == 2 ? 0 : 2}, .count = 2};
        tune_line_write(&journal, &r, "cpu", "cpu");
        r.kind = i % 2 ? TUNE_RECORD_REJECTED : TUNE_RECORD_IMPLAUSIBLE;
        snprintf(r.why, sizeof r.why, "<script>alert(%d)</script>", i);
        tune_line_write(&journal, &r, "cpu", "cpu");
        r.kind = TUNE_RECORD_LIMIT;
        r.value = i % 2 ? 1e300 : 1e-300;
        snprintf(r.tile, sizeof r.tile, "%s", i % 2 ? "read" : i ? "tiles" : "fma");
        tune_line_write(&journal, &r, "cpu", "cpu");
    }
    assert_true(base_buf_ok(&journal, "test", &e));
    char *page = write_page(journal.data, journal.size, "<i>");
    check_markup(page);
    assert_null(strstr(page, "<script"));
    free(page);
    base_buf_free(&journal);
}

/* The words: tied, separated, or nothing timed. */
static void test_words(void **state) {
    (void)state;
    char text[1024];
    tune_record a = {.kind = TUNE_RECORD_FINAL, .samples = {.count = 9}}, b = a;
    report_candidate list[2] = {{.tile = "a", .last = &a, .ratio = 0.8, .noise = 0.001, .won = true},
                                {.tile = "b", .last = &b, .ratio = 0.9, .noise = 0.001}};
    report_group g = {.candidates = list, .count = 2, .timed = 2, .stage = TUNE_RECORD_FINAL, .winner = &list[0]};
    report_why_won(&g, text, sizeof text);
    assert_non_null(strstr(text, "b, took 12.5% longer"));
    list[1].ratio = 0.801;
    report_why_won(&g, text, sizeof text);
    assert_non_null(strstr(text, "b is tied with it"));
    report_why_not(&g, &list[1], text, sizeof text);
    assert_non_null(strstr(text, "tied with the winner"));
    list[0].won = false;
    g.winner = NULL;
    list[0].ratio = list[1].ratio = 1.05;
    report_why_won(&g, text, sizeof text);
    assert_non_null(strstr(text, "The untuned default stays"));
    g.timed = g.count = 0;
    report_why_won(&g, text, sizeof text);
    assert_non_null(strstr(text, "Nothing was timed"));
}

/* Who was fastest and then faulted is neither the winner nor its rival, and the page says what became of it. */
static void test_lost(void **state) {
    (void)state;
    static const double times[] = {5, 6, 8, 9}; /* of the default's 10 */
    static const char *const tiles[] = {"avx2.a", "avx2.b", "avx2.c", "avx2.d"};
    for (int lost = 2; lost <= 4; lost += 2) {
        err e = {0};
        base_buf journal = {0};
        write_origin(&journal, false);
        for (int i = 0; i < 4; i++) {
            tune_record r = {.kind = TUNE_RECORD_VERIFIED, .op = NHA_DECODE, .order = i + 1};
            snprintf(r.tile, sizeof r.tile, "%s", tiles[i]);
            tune_line_write(&journal, &r, "cpu", "cpu");
            r.kind = i < lost ? TUNE_RECORD_FINAL : TUNE_RECORD_HEAT;
            r.batch = r.tokens = r.timed_batch = r.timed_tokens = 1;
            r.samples = (tune_samples){.us = {times[i], times[i]}, .count = 2};
            r.base = (tune_samples){.us = {10, 10}, .count = 2};
            tune_line_write(&journal, &r, "cpu", "cpu");
            r.kind = TUNE_RECORD_FAILED;
            snprintf(r.why, sizeof r.why, "made up to fault");
            if (i < lost)
                tune_line_write(&journal, &r, "cpu", "cpu");
        }
        assert_true(base_buf_ok(&journal, "test", &e));
        char *page = write_page(journal.data, journal.size, lost == 4 ? "none" : "avx2.c");
        static const char *const two[] = {
            "<b>avx2.c</b>", "in the heat (2 paired rounds). The next, avx2.d, took 12.5% longer",
            "2 that had taken less time are out, the fastest of them, avx2.a, because: made up to fault."};
        static const char *const all[] = {"<b>the untuned default</b>", "none of the 4 others that were timed holds",
                                          "4 that had taken less time are out, the fastest of them, avx2.a,"};
        for (int i = 0; i < 3; i++)
            if (!strstr(page, lost == 4 ? all[i] : two[i]))
                fail_msg("no \"%s\"", lost == 4 ? all[i] : two[i]);
        assert_int_equal(count_of(page, "failed: made up to fault"), lost);
        check_markup(page);
        free(page);
        base_buf_free(&journal);
    }
}

/* Whatever order they were measured in: where products run on tiles, those are their limit, and the page says so. */
static void test_tiles(void **state) {
    (void)state;
    static const char *const orders[][4] = {
        {"fma", "read", "update", NULL}, {"tiles", "read", "update", "fma"}, {"fma", "read", "update", "tiles"}};
    static const char *const roofs[] = {"235 Gflop/s of amx multiply-adds", "2180 Gflop/s of products on tiles",
                                        "2180 Gflop/s of products on tiles"};
    for (int o = 0; o < 3; o++) {
        err e = {0};
        base_buf journal = {0};
        write_origin(&journal, true);
        tune_record r = {.kind = TUNE_RECORD_FINAL,
                         .op = NHA_PREFILL,
                         .batch = 1,
                         .tokens = 64,
                         .timed_batch = 1,
                         .timed_tokens = 64,
                         .tile = "amx.t32.p3.e4",
                         .samples = {.us = {9, 9}, .count = 2},
                         .base = {.us = {10, 10}, .count = 2}};
        tune_line_write(&journal, &r, "cpu", "cpu");
        for (int k = 0; k < 4 && orders[o][k]; k++) {
            const char *name = orders[o][k];
            r = (tune_record){.kind = TUNE_RECORD_LIMIT, .op = NHA_PREFILL, .batch = 1, .tokens = 64, .threads = 1};
            r.value = !strcmp(name, "tiles") ? 2180 : !strcmp(name, "fma") ? 235 : 20;
            snprintf(r.tile, sizeof r.tile, "%s", name);
            tune_line_write(&journal, &r, "cpu", "cpu");
        }
        assert_true(base_buf_ok(&journal, "test", &e));
        char *page = write_page(journal.data, journal.size, "amx.t32.p3.e4");
        if (!strstr(page, roofs[o]))
            fail_msg("no \"%s\" in case %d", roofs[o], o);
        assert_non_null(strstr(page, "batch 1 x 64 tokens, amx</h3>")); /* the kernels' ISA, not the machine's */
        free(page);
        base_buf_free(&journal);
    }
}

/* ---- Labels of the roofline ---- */

typedef struct box {
    double left, top, right, bottom;
} box;

static double number_after(const char *at, const char *name) {
    const char *found = strstr(at, name);
    assert_non_null(found);
    return strtod(found + strlen(name), NULL);
}

/* What the points and the labels of the page's roofline cover; a letter of its 11 px font is taken to be 6.5 px wide on
 * average, as a browser shows these words at most. */
static void read_boxes(const char *page, box *points, int *point_count, box *labels, int *label_count, box *frame) {
    const char *at = strstr(page, ">Roofline"), *end;
    assert_non_null(at);
    end = strstr(at, "</svg>");
    const char *rect = strstr(at, "class=\"frame\"");
    *frame = (box){.left = number_after(rect, " x=\""), .top = number_after(rect, " y=\"")};
    frame->right = frame->left + number_after(rect, "width=\"");
    frame->bottom = frame->top + number_after(rect, "height=\"");
    *point_count = *label_count = 0;
    for (const char *c = strstr(at, "<circle"); c && c < end; c = strstr(c + 1, "<circle")) {
        double x = number_after(c, "cx=\""), y = number_after(c, "cy=\""), r = number_after(c, " r=\"");
        assert_true(*point_count < 64);
        points[(*point_count)++] = (box){x - r, y - r, x + r, y + r};
    }
    for (const char *t = strstr(at, "<text class=\"label\""); t && t < end;
         t = strstr(t + 1, "<text class=\"label\"")) {
        const char *words = strchr(t, '>') + 1;
        double x = number_after(t, " x=\""), y = number_after(t, " y=\""), width = 6.5 * (double)strcspn(words, "<");
        bool ends = strncmp(strstr(t, "anchor=\"") + 8, "end", 3) == 0;
        bool begins = strncmp(strstr(t, "anchor=\"") + 8, "start", 5) == 0;
        double left = ends ? x - width : begins ? x : x - width / 2;
        assert_true(*label_count < 64);
        labels[(*label_count)++] = (box){left, y - 9, left + width, y + 3};
    }
}

static bool intersect(const box *a, const box *b) {
    return a->left < b->right && b->left < a->right && a->top < b->bottom && b->top < a->bottom;
}

static int check_labels(const char *page) {
    box points[64], labels[64], frame;
    int point_count, label_count;
    read_boxes(page, points, &point_count, labels, &label_count, &frame);
    assert_true(point_count > 0);
    for (int i = 0; i < label_count; i++) {
        assert_true(labels[i].left > frame.left && labels[i].right < frame.right);
        assert_true(labels[i].top > frame.top && labels[i].bottom < frame.bottom);
        for (int k = 0; k < point_count; k++)
            assert_false(intersect(&labels[i], &points[k]));
        for (int k = 0; k < i; k++)
            assert_false(intersect(&labels[i], &labels[k]));
    }
    return label_count;
}

/* No label lies over a point or another label, or leaves the frame: of a real recording, and of many shapes whose
 * points lie as good as on each other. */
static void test_labels(void **state) {
    (void)state;
    err e = {0};
    char *page = write_recording();
    assert_int_equal(check_labels(page), 2 + 2 + 2); /* shapes, roofs of products, of memory */
    assert_non_null(strstr(page, ">prefill 1x4096<"));
    assert_non_null(strstr(page, ">decode 64x1<"));
    free(page);
    base_buf journal = {0};
    write_origin(&journal, false);
    for (int i = 0; i < 16; i++) {
        tune_record r = {.kind = TUNE_RECORD_FINAL, .op = NHA_DECODE, .tile = "avx2.a", .batch = 64 + i, .tokens = 1};
        r.timed_batch = r.batch;
        r.timed_tokens = 1;
        r.samples = (tune_samples){.us = {9 + 0.1 * i, 9 + 0.1 * i}, .count = 2};
        r.base = (tune_samples){.us = {10, 10}, .count = 2};
        tune_line_write(&journal, &r, "cpu", "cpu");
        for (int k = 0; k < 3; k++) {
            static const char *const names[] = {"fma", "read", "update"};
            r = (tune_record){.kind = TUNE_RECORD_LIMIT, .op = NHA_DECODE, .batch = 64 + i, .tokens = 1, .threads = 1};
            r.value = (k ? 20 : 235) * (1 + 0.01 * i);
            snprintf(r.tile, sizeof r.tile, "%s", names[k]);
            tune_line_write(&journal, &r, "cpu", "cpu");
        }
    }
    assert_true(base_buf_ok(&journal, "test", &e));
    page = write_page(journal.data, journal.size, "avx2.a");
    assert_true(check_labels(page) > 8);
    check_markup(page);
    free(page);
    base_buf_free(&journal);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_page),  cmocka_unit_test(test_hostile),
                                       cmocka_unit_test(test_words), cmocka_unit_test(test_tiles),
                                       cmocka_unit_test(test_lost),  cmocka_unit_test(test_labels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
