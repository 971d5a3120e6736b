/* nvrtc_child.c: see nvrtc_child.h. Four processes: nhac; the helper, which waits for requests; for each request a
 * supervisor, which says so if the fourth, the compiler, dies. Requests come as a file in memory, answers go to a pipe.
 * The library is loaded once, by nhac: the others share its pages. */
#include "jit/nvrtc_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"

enum { TEXT_BYTES_MAX = 256 << 20, STRINGS_MAX = 2048, DIED = -1 };

typedef struct answer_header {
    int64_t result, log, ptx, cubin; /* NVRTC's result, bytes of each text; DIED: `log` is the signal, or 0 */
} answer_header;

/* Of a request; behind it as many strings: name, source, options, then name and text of each header. */
typedef struct request_header {
    int32_t options, headers, seconds;
} request_header;

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

/* ---- The compiler's process ---- */

/* One text of the program; empty where NVRTC has none. */
static char *take(int (*size_of)(jit_nvrtc_program, size_t *), int (*get)(jit_nvrtc_program, char *),
                  jit_nvrtc_program program, int64_t *size) {
    size_t bytes = 0;
    *size = 0;
    if (size_of(program, &bytes) != 0 || bytes == 0 || bytes > TEXT_BYTES_MAX)
        return NULL;
    char *text = malloc(bytes);
    if (!text || get(program, text) != 0) {
        free(text);
        return NULL;
    }
    *size = (int64_t)bytes;
    return text;
}

/* strings: name, source, options, names and texts of headers. What is allocated goes with the process. */
static bool compile(const jit_nvrtc *n, const request_header *request, const char *const *strings, int fd) {
    static const char *texts[STRINGS_MAX], *names[STRINGS_MAX];
    jit_nvrtc_program program = NULL;
    answer_header header = {0};
    char *log = NULL, *ptx = NULL, *cubin = NULL;
    for (int i = 0; i < request->headers; i++) {
        names[i] = strings[2 + request->options + 2 * i];
        texts[i] = strings[2 + request->options + 2 * i + 1];
    }
    header.result = n->CreateProgram(&program, strings[1], strings[0], request->headers, texts, names);
    if (header.result == 0) {
        header.result = n->CompileProgram(program, request->options, strings + 2);
        log = take(n->GetProgramLogSize, n->GetProgramLog, program, &header.log);
    }
    if (header.result == 0) {
        ptx = take(n->GetPTXSize, n->GetPTX, program, &header.ptx);
        cubin = take(n->GetCUBINSize, n->GetCUBIN, program, &header.cubin);
    }
    return write_all(fd, &header, sizeof header) && write_all(fd, log, (size_t)header.log) &&
           write_all(fd, ptx, (size_t)header.ptx) && write_all(fd, cubin, (size_t)header.cubin);
}

static _Noreturn void compiler(const jit_nvrtc *n, int memory, int fd) {
    static const char *strings[STRINGS_MAX];
    static const int deaths[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    const struct rlimit no_core = {0, 0};
    struct stat info;
    request_header request;
    for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++)
        signal(deaths[i], SIG_DFL); /* whatever nhac's process does with them, here they end the compile */
    setrlimit(RLIMIT_CORE, &no_core);
    int score =
        open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); /* where memory runs out, this process goes first */
    if (score >= 0) {
        write_all(score, "1000", 4);
        close(score);
    }
    if (fstat(memory, &info) != 0 || info.st_size < (off_t)sizeof request)
        _exit(1);
    const char *at = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, memory, 0), *end = at + info.st_size;
    if (at == MAP_FAILED)
        _exit(1);
    memcpy(&request, at, sizeof request);
    at += sizeof request;
    signal(SIGALRM, SIG_DFL);
    alarm((unsigned)request.seconds);
    for (int i = 0; i < 2 + request.options + 2 * request.headers; i++) {
        const char *nul = memchr(at, 0, (size_t)(end - at));
        if (!nul)
            _exit(1);
        strings[i] = at;
        at = nul + 1;
    }
    _exit(compile(n, &request, strings, fd) ? 0 : 1);
}

/* ---- Helper and supervisor ---- */

/* Two descriptors of one message; false at the end of the socket: nhac is gone. */
static bool receive(int socket, int fds[2]) {
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control;
    char byte;
    for (;;) {
        struct iovec io = {&byte, 1};
        struct msghdr message = {
            .msg_iov = &io, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control};
        ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR)
            continue;
        const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
        if (n <= 0)
            return false;
        if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(2 * sizeof(int)))
            continue;
        memcpy(fds, CMSG_DATA(c), 2 * sizeof(int));
        return true;
    }
}

static _Noreturn void supervisor(const jit_nvrtc *n, int memory, int fd) {
    int status = 0;
    signal(SIGCHLD, SIG_DFL);
    pid_t pid = fork();
    if (pid == 0)
        compiler(n, memory, fd);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        answer_header died = {.result = DIED, .log = pid > 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0};
        write_all(fd, &died, sizeof died);
    }
    _exit(0);
}

static _Noreturn void helper(const jit_nvrtc *n, int socket) {
    int fds[2];
    signal(SIGCHLD, SIG_IGN); /* supervisors are not waited for */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* nhac decides what Ctrl-C ends */
    signal(SIGTERM, SIG_DFL);
    /* The files and locks that nhac holds are not ours to keep. */
    syscall(SYS_close_range, 3, socket - 1, 0);
    syscall(SYS_close_range, socket + 1, ~0u, 0);
    while (receive(socket, fds)) {
        pid_t pid = fork();
        if (pid == 0) {
            close(socket);
            supervisor(n, fds[0], fds[1]);
        }
        close(fds[0]);
        close(fds[1]);
    }
    _exit(0);
}

bool jit_nvrtc_helper_start(jit_nvrtc *nvrtc, err *e) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return err_set(e, ERR_SYSTEM, "compile", "no socket for NVRTC's processes: %s", strerror(errno));
    nvrtc->helper = fork();
    if (nvrtc->helper == 0)
        helper(nvrtc, ends[1]);
    int why = errno;
    close(ends[1]);
    nvrtc->socket = ends[0];
    if (nvrtc->helper > 0)
        return true;
    jit_nvrtc_helper_stop(nvrtc);
    return err_set(e, ERR_SYSTEM, "compile", "no process for NVRTC: %s", strerror(why));
}

void jit_nvrtc_helper_stop(jit_nvrtc *nvrtc) {
    if (nvrtc->socket >= 0)
        close(nvrtc->socket);
    nvrtc->socket = -1;
    while (nvrtc->helper > 0 && waitpid(nvrtc->helper, NULL, 0) < 0 && errno == EINTR)
        ;
    nvrtc->helper = 0;
}

/* ---- nhac ---- */

static int seconds_of(const jit_cuda_request *request) {
    return request->seconds > 0 ? request->seconds : JIT_NVRTC_SECONDS;
}

/* The request as a file in memory; -1 on failure, with errno. */
static int pack(const jit_cuda_request *request, const char *const *options, int option_count) {
    request_header header = {.options = option_count, .headers = request->header_count, .seconds = seconds_of(request)};
    base_buf b = {0};
    base_buf_add(&b, &header, sizeof header);
    base_buf_add(&b, request->name, strlen(request->name) + 1);
    base_buf_add(&b, request->source, strlen(request->source) + 1);
    for (int i = 0; i < option_count; i++)
        base_buf_add(&b, options[i], strlen(options[i]) + 1);
    for (int i = 0; i < request->header_count; i++) {
        base_buf_add(&b, request->headers[i].name, strlen(request->headers[i].name) + 1);
        base_buf_add(&b, request->headers[i].text, strlen(request->headers[i].text) + 1);
    }
    errno = ENOMEM;
    int memory = b.failed ? -1 : memfd_create("nhac-nvrtc", MFD_CLOEXEC);
    if (memory >= 0 && !write_all(memory, b.data, b.size)) {
        close(memory);
        memory = -1;
    }
    base_buf_free(&b);
    return memory;
}

static bool post(int socket, int memory, int fd) {
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    char byte = 1;
    struct iovec io = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &io, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(c), (int[2]){memory, fd}, 2 * sizeof(int));
    ssize_t n;
    do
        n = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

/* Sends the request; the descriptor its answer is read from, or -1 with errno. */
static int start(const jit_nvrtc *n, const jit_cuda_request *request, const char *const *options, int option_count) {
    int ends[2], why;
    int memory = pack(request, options, option_count);
    if (memory < 0)
        return -1;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        why = errno;
        close(memory);
        errno = why;
        return -1;
    }
    bool ok = post(n->socket, memory, ends[1]);
    why = errno;
    close(memory);
    close(ends[1]);
    if (ok)
        return ends[0];
    close(ends[0]);
    errno = why;
    return -1;
}

static bool read_text(int fd, int64_t size, char **text, size_t *bytes) {
    if (size < 0 || size > TEXT_BYTES_MAX || !(*text = malloc((size_t)size + 1)))
        return false;
    (*text)[size] = 0;
    *bytes = (size_t)size;
    return read_all(fd, *text, (size_t)size);
}

bool jit_nvrtc_child_run(const jit_nvrtc *nvrtc, const jit_cuda_request *request, const char *const *options,
                         int option_count, jit_nvrtc_answer *answer, err *e) {
    answer_header header = {.result = DIED};
    *answer = (jit_nvrtc_answer){0};
    if (option_count < 0 || request->header_count < 0 ||
        2 + (int64_t)option_count + 2 * (int64_t)request->header_count > STRINGS_MAX)
        return err_set(e, ERR_INTERNAL, "compile", "too many options or headers for NVRTC");
    int fd = start(nvrtc, request, options, option_count);
    if (fd < 0)
        return err_set(e, ERR_SYSTEM, "compile", "the process that runs NVRTC cannot be reached: %s", strerror(errno));
    bool ok = read_all(fd, &header, sizeof header) && header.result != DIED &&
              read_text(fd, header.log, &answer->log, &answer->log_size) &&
              read_text(fd, header.ptx, &answer->ptx, &answer->ptx_size) &&
              read_text(fd, header.cubin, &answer->cubin, &answer->cubin_size);
    close(fd);
    if (ok) {
        answer->result = (int)header.result;
        return true;
    }
    jit_nvrtc_answer_free(answer);
    int number = header.result == DIED && header.log > 0 && header.log < NSIG ? (int)header.log : 0;
    if (number == SIGKILL)
        return err_set(e, ERR_MEMORY, "compile",
                       "NVRTC was killed while compiling %.200s, as the system does when memory runs out",
                       request->name);
    if (number == SIGALRM)
        return err_set(e, ERR_COMPILE, "compile", "NVRTC took more than %d s for %.200s", seconds_of(request),
                       request->name);
    if (number)
        return err_set(e, ERR_COMPILE, "compile", "NVRTC crashed (signal %d) while compiling %.200s", number,
                       request->name);
    return err_set(e, ERR_COMPILE, "compile", "NVRTC ended without an answer while compiling %.200s", request->name);
}

void jit_nvrtc_answer_free(jit_nvrtc_answer *answer) {
    free(answer->log);
    free(answer->ptx);
    free(answer->cubin);
    *answer = (jit_nvrtc_answer){0};
}
