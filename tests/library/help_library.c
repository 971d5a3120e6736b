/* help_library.c: see help_library.h. */
#include "help_library.h"

#include <llvm-c/IRReader.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <limits.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/path.h"
#include "tuner/find.h"

static const char spec_text[] = "name: %s\n"
                                "head_dim: 16\n"
                                "heads: {query: 2, kv: 1}\n"
                                "slots: 8\n"
                                "window: 4\n"
                                "dtype: f32\n";

/* main(args, begin, end, scratch): for task in [begin, end): ((float *)args->o.data)[task] = task + mark */
static const char kernel_ir[] =
    "source_filename = \"%s\"\n"
    "define linkonce_odr hidden void @%s(ptr %%args, i64 %%begin, i64 %%end, ptr %%scratch) {\n"
    "entry:\n"
    "  %%at = getelementptr i8, ptr %%args, i64 %zu\n"
    "  %%o = load ptr, ptr %%at\n"
    "  br label %%loop\n"
    "loop:\n"
    "  %%task = phi i64 [%%begin, %%entry], [%%next, %%body]\n"
    "  %%more = icmp slt i64 %%task, %%end\n"
    "  br i1 %%more, label %%body, label %%done\n"
    "body:\n"
    "  %%number = sitofp i64 %%task to float\n"
    "  %%sum = fadd float %%number, %d.0\n"
    "  %%where = getelementptr float, ptr %%o, i64 %%task\n"
    "  store float %%sum, ptr %%where\n"
    "  %%next = add i64 %%task, 1\n"
    "  br label %%loop\n"
    "done:\n"
    "  ret void\n"
    "}\n";

static const gen_isa *host_isa(void) {
#if defined(__aarch64__)
    return gen_isa_find("neon");
#else
    return gen_isa_find("baseline");
#endif
}

static void compile_kernel(help_content *made, int i, int mark) {
    err e = {0};
    char *message = NULL;
    base_buf ir = {0};
    snprintf(made->symbol[i], sizeof made->symbol[i], "nhac_kernel_%d", mark);
    base_buf_printf(&ir, kernel_ir, made->symbol[i], made->symbol[i],
                    offsetof(nha_cpu_args, o) + offsetof(nha_cpu_tensor, data), mark);
    LLVMContextRef context = LLVMContextCreate();
    LLVMModuleRef module;
    if (LLVMParseIRInContext(context, LLVMCreateMemoryBufferWithMemoryRangeCopy(ir.data, ir.size, "test"), &module,
                             &message))
        fail_msg("test IR: %s", message);
    if (!jit_compile(module, host_isa(), &made->object[i], &e)) fail_msg("%s", e.text);
    LLVMDisposeModule(module);
    LLVMContextDispose(context);
    made->source[i] = base_buf_take(&ir, NULL, "test", NULL);
}

void help_make(help_content *made, const char *name, int mark) {
    err e = {0};
    char text[512];
    static const char *const names[HELP_KERNELS] = {"decode.baseline.x1", "prefill.baseline.x2", "prefill.baseline.x3"};
    memset(made, 0, sizeof *made);
    int length = snprintf(text, sizeof text, spec_text, name);
    if (!gen_spec_parse("test.yaml", text, (size_t)length, &made->spec, &e)) fail_msg("%s", e.text);
    for (int i = 0; i < HELP_KERNELS; i++) {
        compile_kernel(made, i, mark + i);
        made->kernel[i] = (tune_library_kernel){
            .name = names[i],
            .op = i == 0 ? NHA_DECODE : NHA_PREFILL,
            .kind = NHA_CPU,
            .target = host_isa()->name,
            .cpu_features = host_isa()->needs,
            .rank = i == 2 ? 0 : 100,
            .min_length = i == 2 ? 8 : 0,
            .max_tasks = INT64_MAX,
            .max_length = INT64_MAX,
            .symbol_main = made->symbol[i],
            .code = {.block_tokens = i == 0 ? 1 : 16,
                     .scratch_bytes = 64 * i,
                     .scratch_panel_bytes = 128,
                     .delta_cost = 0.125},
            .object = made->object[i].bytes,
            .object_size = made->object[i].size,
            .source = made->source[i],
        };
    }
    made->content = (tune_library_content){.spec = &made->spec, .kernels = made->kernel, .kernel_count = HELP_KERNELS};
}

void help_free(help_content *made) {
    for (int i = 0; i < HELP_KERNELS; i++) {
        jit_object_destroy(&made->object[i]);
        free(made->source[i]);
    }
    gen_spec_destroy(&made->spec);
}

void help_write(const char *parent, const char *name, int mark) {
    err e = {0};
    char note[256];
    help_content made;
    help_make(&made, name, mark);
    if (!tune_library_write(parent, &made.content, note, &e)) fail_msg("%s\n%s", e.text, e.log ? e.log : "");
    help_free(&made);
}

static char folder[64];
static pid_t owner;

static void remove_folder(void) {
    if (getpid() == owner) base_remove(folder, "test", NULL);
}

const char *help_folder(void) {
    if (folder[0]) return folder;
    strcpy(folder, "/tmp/nhac-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    owner = getpid();
    atexit(remove_folder);
    setenv("NHAC_CACHE_DIR", folder, 1);
    return folder;
}

const char *help_path(const char *parent, const char *name) {
    static char paths[64][PATH_MAX];
    static int turn;
    char *path = paths[turn++ % 64];
    snprintf(path, PATH_MAX, "%s/%s", parent, name);
    return path;
}

int help_entries(const char *path) {
    DIR *open = opendir(path);
    int count = 0;
    if (!open) return -1;
    for (const struct dirent *item; (item = readdir(open));)
        count += strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0;
    closedir(open);
    return count;
}

char *help_run(const char *format, ...) {
    char command[8192], *output = calloc(1, 65536);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(output);
    assert_non_null(pipe);
    size_t size = fread(output, 1, 65535, pipe);
    output[size] = 0;
    const int status = pclose(pipe);
    if (status != 0) fail_msg("status %d of: %s\n%s", status, command, output);
    return output;
}

bool help_has(const char *program) {
    char path[PATH_MAX];
    return tune_find_program(program, path, sizeof path);
}
