/* help_mutants.c: see help_mutants.h. */
#include "tests/templates/help_mutants.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FILES_MAX = 64, CASES_MAX = 8 };

/* The embedded files with one edit; *edited is to be freed. False where `from` does not stand there exactly once. */
static bool edit(const help_mutant *mutant, gen_embedded *files, char **edited) {
    int i = 0, hits = 0;
    for (; gen_embedded_files[i].name; i++) {
        assert_true(i + 1 < FILES_MAX);
        files[i] = gen_embedded_files[i];
        if (strcmp(files[i].name, mutant->file) != 0)
            continue;
        const char *text = files[i].text, *at = strstr(text, mutant->from);
        if (!at || strstr(at + 1, mutant->from))
            continue;
        hits++;
        size_t before = (size_t)(at - text), length = strlen(mutant->from), added = strlen(mutant->to);
        *edited = malloc(files[i].size + added + 1);
        assert_non_null(*edited);
        memcpy(*edited, text, before);
        memcpy(*edited + before, mutant->to, added);
        strcpy(*edited + before + added, at + length);
        files[i].text = *edited;
        files[i].size = strlen(*edited);
    }
    files[i] = (gen_embedded){NULL, NULL, 0};
    return hits == 1;
}

/* Whether all runs pass; else what the first one that does not says. */
static bool survives(const help_kernel *kernel, const verify_truth *truths, int count, err *e) {
    for (int async = EMU_ASYNC_LATE; async <= EMU_ASYNC_EAGER; async++)
        for (int i = 0; i < count; i++) {
            help_run_options options = {.seed = (uint64_t)(i + 1), .async = (emu_async)async, .skip = -1};
            if (truths[i].test.spec.cached && truths[i].test.spec.sequences > 1)
                options.skip = 1;
            if (!help_kernel_run(kernel, &truths[i], &options, NULL, NULL, e))
                return false;
        }
    return true;
}

void help_mutants_run(nha_op op, const gen_problem *problem, const tune_case_spec *cases, int case_count,
                      const help_mutant *mutants, int count) {
    jit_nvrtc *nvrtc = help_open_nvrtc();
    verify_truth truths[CASES_MAX];
    help_kernel kernel;
    err e = {0};
    int failed = 0;
    assert_true(case_count <= CASES_MAX);
    for (int i = 0; i < case_count; i++)
        assert_true(verify_truth_create(problem, &cases[i], 1, &truths[i], NULL));
    bool ok = help_kernel_create(nvrtc, gen_embedded_files, problem, op, "sm_80", NULL, &kernel, &e);
    if (!ok || !survives(&kernel, truths, case_count, &e))
        err_print(stderr, &e), failed++;
    if (ok)
        help_kernel_destroy(&kernel);
    err_clear(&e);
    for (int i = 0; i < count; i++) {
        gen_embedded files[FILES_MAX];
        char *edited = NULL;
        const char *verdict = NULL;
        if (!edit(&mutants[i], files, &edited))
            verdict = "its text does not stand in the template exactly once";
        else if (!help_kernel_create(nvrtc, files, problem, op, "sm_80", NULL, &kernel, &e))
            verdict = "it does not compile";
        else {
            if (survives(&kernel, truths, case_count, &e))
                verdict = "NOBODY NOTICED";
            else
                print_message("%s: %s\n", mutants[i].what, e.text);
            help_kernel_destroy(&kernel);
        }
        if (verdict) {
            print_error("%s: %s\n", mutants[i].what, verdict);
            err_print(stderr, &e);
            failed++;
        }
        err_clear(&e);
        free(edited);
    }
    for (int i = 0; i < case_count; i++)
        verify_truth_destroy(&truths[i]);
    jit_nvrtc_close(nvrtc);
    assert_int_equal(failed, 0);
}
