/* nvrtc_child.c: NVRTC in a child process, its answer through a pipe. The child shares the library that the parent has
 * loaded, so that starting it costs a fork; it calls NVRTC, writes, and ends without running the parent's exit handlers. */
#include "jit/nvrtc_child.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_BYTES_MAX = 256 << 20 };

typedef struct answer_header {
    int64_t result, log, ptx, cubin; /* NVRTC's result, bytes of each text */
} answer_header;

static bool write_all(int fd, const void *from, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, (const char *)from + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static bool read_all(int fd, void *to, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = read(fd, (char *)to + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* ---- In the child ---- */

/* One text of the program; empty where NVRTC has none. */
static char *take(int (*size_of)(jit_nvrtc_program, size_t *), int (*get)(jit_nvrtc_program, char *), jit_nvrtc_program program,
                  int64_t *size) {
    size_t bytes = 0;
    *size = 0;
    if (size_of(program, &bytes) != 0 || bytes == 0 || bytes > ANSWER_BYTES_MAX)
        return NULL;
    char *text = malloc(bytes);
    if (!text || get(program, text) != 0) {
        free(text);
        return NULL;
    }
    *size = (int64_t)bytes;
    return text;
}

static bool answer_with(const jit_nvrtc *n, const jit_cuda_request *request, const char *const *options, int option_count,
                        int fd) {
    const char **texts = calloc((size_t)request->header_count + 1, sizeof *texts);
    const char **names = calloc((size_t)request->header_count + 1, sizeof *names);
    jit_nvrtc_program program = NULL;
    answer_header header = {.result = JIT_NVRTC_OUT_OF_MEMORY};
    char *log = NULL, *ptx = NULL, *cubin = NULL;
    for (int i = 0; texts && names && i < request->header_count; i++) {
        texts[i] = request->headers[i].text;
        names[i] = request->headers[i].name;
    }
    if (texts && names)
        header.result = n->CreateProgram(&program, request->source, request->name, request->header_count, texts, names);
    if (header.result == 0) {
        header.result = n->CompileProgram(program, option_count, options);
        log = take(n->GetProgramLogSize, n->GetProgramLog, program, &header.log);
    }
    if (header.result == 0) {
        ptx = take(n->GetPTXSize, n->GetPTX, program, &header.ptx);
        cubin = take(n->GetCUBINSize, n->GetCUBIN, program, &header.cubin);
    }
    return write_all(fd, &header, sizeof header) && write_all(fd, log, (size_t)header.log) &&
           write_all(fd, ptx, (size_t)header.ptx) && write_all(fd, cubin, (size_t)header.cubin);
}

static _Noreturn void child(const jit_nvrtc *n, const jit_cuda_request *request, const char *const *options, int option_count,
                            int fd, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); /* memory runs out: this process goes first */
    if (score >= 0) {
        write_all(score, "1000", 4);
        close(score);
    }
    _exit(answer_with(n, request, options, option_count, fd) ? 0 : 1);
}

/* ---- In the parent ---- */

/* Held from pipe to close: a child that is made at the same time must not hold the writing end of this one's pipe. */
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;

static pid_t start(const jit_nvrtc *n, const jit_cuda_request *request, const char *const *options, int option_count, int *fd) {
    int ends[2];
    pid_t parent = getpid(), pid = -1;
    pthread_mutex_lock(&start_lock);
    if (pipe2(ends, O_CLOEXEC) == 0) {
        pid = fork();
        if (pid == 0) {
            close(ends[0]);
            child(n, request, options, option_count, ends[1], parent);
        }
        int why = errno;
        close(ends[1]);
        if (pid < 0)
            close(ends[0]);
        errno = why;
        *fd = ends[0];
    }
    pthread_mutex_unlock(&start_lock);
    return pid;
}

static bool read_text(int fd, int64_t size, char **text, size_t *bytes) {
    if (size < 0 || size > ANSWER_BYTES_MAX || !(*text = malloc((size_t)size + 1)))
        return false;
    (*text)[size] = 0;
    *bytes = (size_t)size;
    return read_all(fd, *text, (size_t)size);
}

bool jit_nvrtc_child_run(const jit_nvrtc *nvrtc, const jit_cuda_request *request, const char *const *options,
                         int option_count, jit_nvrtc_answer *answer, err *e) {
    int fd, status = 0;
    answer_header header;
    *answer = (jit_nvrtc_answer){0};
    pid_t pid = start(nvrtc, request, options, option_count, &fd);
    if (pid < 0)
        return err_set(e, ERR_SYSTEM, "compile", "no process for NVRTC: %s", strerror(errno));
    bool ok = read_all(fd, &header, sizeof header) && read_text(fd, header.log, &answer->log, &answer->log_size) &&
              read_text(fd, header.ptx, &answer->ptx, &answer->ptx_size) &&
              read_text(fd, header.cubin, &answer->cubin, &answer->cubin_size);
    close(fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (ok) {
        answer->result = (int)header.result;
        return true;
    }
    jit_nvrtc_answer_free(answer);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return err_set(e, ERR_MEMORY, "compile", "NVRTC was killed while compiling %.200s, as the system does when memory runs out",
                       request->name);
    if (WIFSIGNALED(status))
        return err_set(e, ERR_COMPILE, "compile", "NVRTC crashed (%s) while compiling %.200s", strsignal(WTERMSIG(status)),
                       request->name);
    return err_set(e, ERR_COMPILE, "compile", "NVRTC ended without an answer while compiling %.200s", request->name);
}

void jit_nvrtc_answer_free(jit_nvrtc_answer *answer) {
    free(answer->log);
    free(answer->ptx);
    free(answer->cubin);
    *answer = (jit_nvrtc_answer){0};
}
