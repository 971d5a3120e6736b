/* open.h: a library and the device its kernels run on, for the commands that run them. */
#ifndef CLI_OPEN_H
#define CLI_OPEN_H

#include "tuner/device.h"
#include "tuner/library.h"

typedef struct cli_opened {
    tune_library library;
    tune_device *device;
    bool adopted;
} cli_opened;

/* Opens both. `compiles`: the command will compile for a GPU: NVRTC then starts before the driver does. `device` NULL: the CPU if the library has kernels for it, else the first GPU that runs one, else the
 * emulator; "emu" alone emulates the target of the library's first CUDA kernel. Errors: those of tune_library_open and
 * tune_device_open; ERR_MISSING where the library has nothing for the device. On failure *opened needs no close. */
bool cli_open(const char *folder, const char *device, bool compiles, cli_opened *opened, err *e);
void cli_close(cli_opened *opened);

/* --isa of a command line. NULL is allowed everywhere. ERR_USAGE with the nearest name if there is no such ISA. */
bool cli_isa_known(const char *isa, err *e);
/* Whether the opened device and library have it: ERR_USAGE where the device is no CPU, ERR_MISSING where this CPU lacks its
 * instructions or where the library has no kernel of it for any op. An op without one runs on the best below. */
bool cli_isa_there(const cli_opened *opened, const char *isa, err *e);

#endif
