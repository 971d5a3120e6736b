/* driver_inner.h: shared inside the emulated driver: its one state, the table of handles, and what a call goes through.
 * Every emu_cu function is: emu_driver_enter (takes the lock), its work, emu_driver_leave (gives the lock back). */
#ifndef EMU_DRIVER_INNER_H
#define EMU_DRIVER_INNER_H

#include "emu/driver.h"

/* X(name without CUDA_ERROR_, CUresult, text): those that the emulated driver returns, and those that callers inject.
 */
#define CU_RESULT_LIST(X)                                                                                              \
    X(INVALID_VALUE, 1, "invalid argument")                                                                            \
    X(OUT_OF_MEMORY, 2, "out of memory")                                                                               \
    X(NOT_INITIALIZED, 3, "initialization error")                                                                      \
    X(DEINITIALIZED, 4, "driver shutting down")                                                                        \
    X(DEVICE_UNAVAILABLE, 46, "CUDA-capable device(s) is/are busy or unavailable")                                     \
    X(NO_DEVICE, 100, "no CUDA-capable device is detected")                                                            \
    X(INVALID_DEVICE, 101, "invalid device ordinal")                                                                   \
    X(INVALID_IMAGE, 200, "device kernel image is invalid")                                                            \
    X(INVALID_CONTEXT, 201, "invalid device context")                                                                  \
    X(NO_BINARY_FOR_GPU, 209, "no kernel image is available for execution on the device")                              \
    X(ECC_UNCORRECTABLE, 214, "uncorrectable ECC error encountered")                                                   \
    X(INVALID_PTX, 218, "a PTX JIT compilation failed")                                                                \
    X(UNSUPPORTED_PTX_VERSION, 222, "the provided PTX was compiled with an unsupported toolchain.")                    \
    X(INVALID_HANDLE, 400, "invalid resource handle")                                                                  \
    X(ILLEGAL_STATE, 401, "the operation cannot be performed in the present state")                                    \
    X(NOT_FOUND, 500, "named symbol not found")                                                                        \
    X(NOT_READY, 600, "device not ready")                                                                              \
    X(ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")                                                \
    X(LAUNCH_OUT_OF_RESOURCES, 701, "too many resources requested for launch")                                         \
    X(LAUNCH_TIMEOUT, 702, "the launch timed out and was terminated")                                                  \
    X(HARDWARE_STACK_ERROR, 714, "hardware stack error")                                                               \
    X(ILLEGAL_INSTRUCTION, 715, "an illegal instruction was encountered")                                              \
    X(MISALIGNED_ADDRESS, 716, "misaligned address")                                                                   \
    X(LAUNCH_FAILED, 719, "unspecified launch failure")                                                                \
    X(NOT_SUPPORTED, 801, "operation not supported")                                                                   \
    X(STREAM_CAPTURE_UNSUPPORTED, 900, "operation not permitted when stream is capturing")                             \
    X(STREAM_CAPTURE_INVALIDATED, 901, "operation failed due to a previous error during capture")                      \
    X(STREAM_CAPTURE_IMPLICIT, 906, "operation would make the legacy stream depend on a capturing blocking stream")    \
    X(CAPTURED_EVENT, 907, "operation not permitted on an event last recorded in a capturing stream")                  \
    X(STREAM_CAPTURE_WRONG_THREAD, 908, "attempt to terminate a thread-local capture sequence from another thread")    \
    X(UNKNOWN, 999, "unknown error")

enum {
    CU_SUCCESS = 0,
#define CU_ENUM_(name, value, text) CU_##name = value,
    CU_RESULT_LIST(CU_ENUM_)
#undef CU_ENUM_
};

typedef enum driver_function {
#define CU_ENUM_(name, parameters, arguments) DRIVER_##name,
    EMU_DRIVER_LIST(CU_ENUM_)
#undef CU_ENUM_
        DRIVER_FUNCTIONS
} driver_function;

/* ---- objects behind handles ---- */

typedef enum driver_kind {
    KIND_MODULE,
    KIND_FUNCTION,
    KIND_STREAM,
    KIND_GRAPH,
    KIND_EXECUTABLE,
    KIND_EVENT
} driver_kind;

/* The first member of each object. Handles are numbers that never come back. */
typedef struct driver_object {
    uintptr_t handle;
    driver_kind kind;
    int device; /* its primary context owns the object */
} driver_object;

typedef struct driver_module {
    driver_object object;
    emu_module *module;
    int arch; /* of the code: 10 * major + minor */
} driver_module;

typedef struct driver_fn {
    driver_object object;
    uintptr_t module;
    const emu_kernel *kernel;
    int max_dynamic; /* bytes of dynamic shared memory that a launch may ask for */
} driver_fn;

typedef enum node_kind { NODE_KERNEL, NODE_COPY_IN, NODE_COPY_OUT, NODE_COPY, NODE_SET } node_kind;

/* One thing that a stream does. */
typedef struct driver_node {
    node_kind kind;
    uintptr_t function; /* NODE_KERNEL */
    uint32_t grid[3], block[3], shared;
    uint8_t *params; /* the parameter block, owned */
    size_t param_bytes;
    uint64_t to, from; /* the others; host addresses too */
    size_t bytes;
    uint8_t value;
} driver_node;

typedef struct node_list {
    driver_node *nodes;
    size_t count, room;
} node_list;

typedef enum capture_status { CAPTURE_NONE, CAPTURE_ACTIVE, CAPTURE_INVALIDATED } capture_status;
enum { CAPTURE_GLOBAL, CAPTURE_THREAD_LOCAL, CAPTURE_RELAXED }; /* CUstreamCaptureMode */

typedef struct driver_stream {
    driver_object object;
    bool blocking;   /* waits for the legacy stream, and it for this one */
    uint64_t thread; /* the per-thread stream of this thread; 0: made by cuStreamCreate */
    capture_status status;
    int mode;
    uint64_t capture_thread;
    node_list captured;
} driver_stream;

typedef struct driver_graph { /* KIND_GRAPH and KIND_EXECUTABLE */
    driver_object object;
    node_list list;
} driver_graph;

typedef struct driver_event {
    driver_object object;
    unsigned flags;
    bool recorded, captured;
    double time_ms;
} driver_event;

/* ---- the state ---- */

typedef struct driver_context { /* the primary context of a device */
    emu_driver_device device;
    int ordinal;
    int retained;
    int sticky;  /* what every call returns; 0: sound */
    int pending; /* becomes sticky at the next call that waits */
    emu_machine *machine;
    size_t used; /* bytes */
} driver_context;

typedef struct driver_state {
    bool configured, initialized;
    emu_driver_options options;
    driver_context contexts[EMU_DRIVER_DEVICES_MAX];
    int device_count;
    driver_object **objects; /* by handle, which only grow */
    size_t object_count, object_room;
    uintptr_t last_handle;
    char *report;
    uint64_t report_count;
    emu_counters counters;
} driver_state;

/* Guarded by the lock that emu_driver_enter takes. */
extern driver_state emu_driver;

/* What a call needs before it may run. */
typedef enum driver_need {
    NEED_NOTHING,
    NEED_INIT,
    NEED_CONTEXT, /* a current context, without a sticky error */
    NEED_WAIT     /* the same; it waits for the device, so that a pending fault becomes sticky */
} driver_need;

/* ---- driver.c ---- */
void emu_driver_lock(void);
void emu_driver_unlock(void);
/* Takes the lock, always. Failures that wait for this function, cuInit, the context: CU_SUCCESS where the call may go
 * on. *context (may be NULL) gets the current one, or NULL. */
int emu_driver_enter(driver_function f, driver_need need, driver_context **context);
/* Gives the lock back; returns `result`. */
int emu_driver_leave(int result);
/* Fills devices and options with the defaults where nothing was configured. */
void emu_driver_defaults(void);

/* ---- driver_object.c ---- */
/* Zeroed, `bytes` long, with a new handle; NULL: out of memory. */
void *emu_driver_make(driver_kind kind, int device, size_t bytes);
/* The object behind the handle; NULL: none, of another kind, or another context's (c NULL: of any). */
void *emu_driver_find(const void *handle, driver_kind kind, const driver_context *c);
/* Frees the object and what it owns: functions with their module. */
void emu_driver_drop(driver_object *o);
/* Ends all that belongs to the context. */
void emu_driver_drop_all(driver_context *c);
/* The next object of the kind in the context after *at (start from 0), or NULL. */
void *emu_driver_next(driver_kind kind, const driver_context *c, size_t *at);

/* ---- driver_report.c ---- */
void emu_driver_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Keeps the reports of a launch as text. */
void emu_driver_keep(const emu_module *m, const char *kernel, const emu_result *r);
void emu_driver_forget_report(void);

/* ---- driver_context.c ---- */
uint64_t emu_driver_thread(void);
/* The current context of the calling thread; NULL: none, or it was released. */
driver_context *emu_driver_current(void);

/* ---- driver_image.c ---- */
/* Parses an image for the device of the context. *m is the caller's; `log` (512 bytes) gets a sentence where it fails.
 */
int emu_driver_image(const driver_context *c, const void *image, emu_module **m, int *arch, char *log);

/* ---- driver_launch.c, driver_memory.c ---- */
int emu_driver_run_kernel(driver_context *c, const driver_node *n);
/* Every kind but NODE_KERNEL. */
int emu_driver_run_copy(driver_context *c, const driver_node *n);
/* Something went wrong on the device: the context has a sticky error from now on, or from the next wait. Returns what
 * the call that started it returns. */
int emu_driver_fault(driver_context *c, int result);
/* Are these bytes inside an allocation of the context? */
bool emu_driver_inside(const driver_context *c, uint64_t address, size_t bytes);

/* ---- driver_graph.c ---- */
void emu_driver_list_free(node_list *l);
/* Appends copies of the nodes; false: out of memory, with *l as it was. */
bool emu_driver_list_append(node_list *l, const driver_node *nodes, size_t count);
/* Runs the nodes in order, up to the first that fails. */
int emu_driver_run(driver_context *c, const driver_node *nodes, size_t count);

/* ---- driver_stream.c ---- */
/* Runs the nodes on the stream, or adds copies of them to what it captures. */
int emu_driver_submit(driver_context *c, void *stream, const driver_node *nodes, size_t count);
/* *s: the stream behind a handle, NULL for the legacy one. A wrong handle: INVALID_HANDLE. */
int emu_driver_stream(driver_context *c, void *handle, driver_stream **s);
/* For calls that may synchronise: 900 where a capture forbids them, which invalidates it. `everywhere`: one in any mode
 * and thread of the context does. */
int emu_driver_unsafe(const driver_context *c, bool everywhere);

#endif
