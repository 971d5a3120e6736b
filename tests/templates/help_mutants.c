/* help_mutants.c: see help_mutants.h. */
#include "tests/templates/help_mutants.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/path.h"
#include "gen/embedded.h"
#include "gen/spec.h"

enum { OUTPUT_MAX = 1 << 16, PATH_BYTES = 512 };

static char folder[] = "/tmp/nhac-mutants-XXXXXX";

static const char *in_folder(const char *name) {
    static char paths[4][PATH_BYTES];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, PATH_BYTES, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const char *text, size_t size) {
    err e = {0};
    if (!base_file_write(path, text, size, "test", &e))
        fail_msg("%s", e.text);
}

/* A spec of the problem with this op alone, for sm_80. */
static void write_spec(const gen_problem *problem, nha_op op) {
    char *text = NULL;
    size_t size = 0;
    gen_spec spec = {.target_count = 1, .shape_count = 1, .budget = 10};
    gen_problem_copy(&spec.problem, problem);
    spec.ops[op] = true;
    strcpy(spec.targets[0], "sm_80");
    spec.shapes[0] = (gen_shape){.op = (int)op, .batch = 1, .tokens = op == NHA_DECODE ? 1 : 64};
    FILE *stream = open_memstream(&text, &size);
    assert_non_null(stream);
    gen_spec_write(stream, &spec);
    assert_int_equal(fclose(stream), 0);
    write_file(in_folder("mutant.yaml"), text, size);
    free(text);
}

/* The file of the mutant with its edit, alone in the folder of templates. False where `from` does not stand there
 * exactly once. */
static bool write_template(const help_mutant *mutant) {
    const gen_embedded *file = gen_embedded_files;
    while (file->name && strcmp(file->name, mutant->file) != 0)
        file++;
    const char *at = file->name ? strstr(file->text, mutant->from) : NULL;
    if (!at || strstr(at + 1, mutant->from))
        return false;
    size_t before = (size_t)(at - file->text), length = strlen(mutant->from), added = strlen(mutant->to);
    char *edited = malloc(file->size + added + 1);
    assert_non_null(edited);
    memcpy(edited, file->text, before);
    memcpy(edited + before, mutant->to, added);
    strcpy(edited + before + added, at + length);
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/templates/%s", folder, mutant->file);
    write_file(path, edited, strlen(edited));
    free(edited);
    return true;
}

/* Exit status of `nhac build` with the folder's templates; what it said goes to `said`. */
static int build(char said[OUTPUT_MAX]) {
    char command[4 * PATH_BYTES];
    snprintf(command, sizeof command, "NHAC_TEMPLATES=%s/templates \"$NHAC\" build %s/mutant.yaml -o %s/out 2>&1",
             folder, folder, folder);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    said[fread(said, 1, OUTPUT_MAX - 1, pipe)] = 0;
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void remove_made(const char *name) {
    if (base_exists(in_folder(name)))
        base_remove(in_folder(name), "test", NULL);
}

/* NULL, or what is wrong with how the mutant was taken. */
static const char *judge(const help_mutant *mutant, char said[OUTPUT_MAX]) {
    said[0] = 0;
    if (!write_template(mutant))
        return "its text does not stand in the template exactly once";
    int status = build(said);
    if (status == 0)
        return "NOBODY NOTICED";
    if (status != 1 || strstr(said, "NVRTC"))
        return "it is refused for another reason";
    return base_exists(in_folder("out/mutant")) ? "it is refused, but a library is there" : NULL;
}

void help_mutants_run(nha_op op, const gen_problem *problem, const help_mutant *mutants, int count) {
    static char said[OUTPUT_MAX];
    int failed = 0;
    jit_nvrtc_close(help_nvrtc()); /* skips where there is none */
    assert_non_null(mkdtemp(folder));
    err e = {0};
    assert_true(base_mkdirs(in_folder("templates"), "test", &e));
    write_spec(problem, op);
    if (build(said) != 0) {
        print_error("the template as it is: %s\n", said);
        failed++;
    }
    remove_made("out");
    for (int i = 0; i < count; i++) {
        const char *verdict = judge(&mutants[i], said);
        const char *why = strstr(said, "error: ");
        if (verdict)
            print_error("%s: %s\n%s", mutants[i].what, verdict, said);
        else
            print_message("%s: %s", mutants[i].what, why ? why : said);
        failed += verdict != NULL;
        remove_made("templates"); /* of this mutant */
        assert_true(base_mkdirs(in_folder("templates"), "test", &e));
        remove_made("out");
    }
    base_remove(folder, "test", NULL);
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    assert_int_equal(failed, 0);
}
