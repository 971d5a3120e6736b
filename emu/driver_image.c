/* driver_image.c: what a module image is, whether it fits the device, and the PTX that runs in place of a cubin.
 *
 * The architecture of a cubin, as found in what ptxas 13.0 writes (and NVRTC 13.0; the same), with readelf -h and -x
 * .nv.compat: e_machine 190; EI_OSABI 0x41, EI_ABIVERSION 8; e_flags 0x0600SSFF, SS = 10 * major + minor, FF 04 up to
 * sm_90 and 02 above: sm_80 0x6005004, sm_86 0x6005604, sm_89 0x6005904, sm_90 and sm_90a 0x6005a04, sm_100, 100a and
 * 100f 0x6006402, sm_120, 120a and 120f 0x6007802. The suffix is not in e_flags. `a` is attribute 9 of section
 * .nv.compat, which is 1 (records of {format, attribute, 16 bits}; format 2: the value is a byte, 3: it is all 16 bits,
 * 4: they are the number of bytes that follow). `f` differs from a plain target in no field but the command line in
 * .note.nv.tkinfo, and loads where the plain one does. Before, up to CUDA 12 (LLVM's BinaryFormat/ELF.h): EI_ABIVERSION
 * 7, the architecture in bits 0..7, `a` is 0x800. */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "emu/driver_inner.h"

enum { MACHINE_CUDA = 190, IMAGE_TEXT = 512 };

typedef struct entry {
    uint8_t *cubin;
    char *ptx;
    size_t bytes, ptx_bytes;
    int count, arch;
    bool specific;
} entry;

static entry *entries;
static size_t entry_count, entry_room;

/* ---- cubins ---- */

static bool within(size_t size, uint64_t offset, uint64_t bytes) {
    return offset <= size && bytes <= size - offset;
}

/* Attribute 9 of a .nv.compat section. */
static bool compat_specific(const uint8_t *p, size_t size) {
    while (size >= 4) {
        size_t step = p[0] == 4 ? 4 + ((size_t)p[2] | (size_t)p[3] << 8) : 4;
        if (p[0] == 2 && p[1] == 9)
            return p[2] == 1;
        if (p[0] < 1 || p[0] > 4 || step > size)
            return false;
        p += step;
        size -= step;
    }
    return false;
}

static bool section_at(const uint8_t *p, size_t bytes, const Elf64_Ehdr *h, size_t i, Elf64_Shdr *s) {
    if (!within(bytes, h->e_shoff, (uint64_t)h->e_shnum * sizeof *s) || i >= h->e_shnum)
        return false;
    memcpy(s, p + h->e_shoff + i * sizeof *s, sizeof *s);
    return s->sh_type == SHT_NOBITS || within(bytes, s->sh_offset, s->sh_size);
}

static bool has_compat_specific(const uint8_t *p, size_t bytes, const Elf64_Ehdr *h) {
    static const char wanted[] = ".nv.compat";
    Elf64_Shdr names, s;
    if (h->e_shentsize != sizeof s || !section_at(p, bytes, h, h->e_shstrndx, &names) || names.sh_type == SHT_NOBITS)
        return false;
    for (size_t i = 0; i < h->e_shnum; i++)
        if (section_at(p, bytes, h, i, &s) && s.sh_type != SHT_NOBITS &&
            within(names.sh_size, s.sh_name, sizeof wanted) &&
            memcmp(p + names.sh_offset + s.sh_name, wanted, sizeof wanted) == 0)
            return compat_specific(p + s.sh_offset, s.sh_size);
    return false;
}

/* From the header alone: *specific as far as e_flags tell. */
static bool header_arch(const Elf64_Ehdr *h, int *arch, bool *specific) {
    if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0 || h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_machine != MACHINE_CUDA)
        return false;
    bool old = h->e_ident[EI_ABIVERSION] < 8;
    *arch = (int)(old ? h->e_flags & 0xff : h->e_flags >> 8 & 0xff);
    *specific = old && h->e_flags & 0x800;
    return true;
}

bool emu_driver_cubin_arch(const void *cubin, size_t bytes, int *arch, bool *specific) {
    Elf64_Ehdr h;
    if (bytes < sizeof h)
        return false;
    memcpy(&h, cubin, sizeof h);
    if (!header_arch(&h, arch, specific))
        return false;
    *specific = *specific || has_compat_specific(cubin, bytes, &h);
    return true;
}

/* ---- the registry ---- */

static entry *find(const void *cubin, size_t bytes) {
    for (size_t i = 0; i < entry_count; i++)
        if (entries[i].bytes == bytes && memcmp(entries[i].cubin, cubin, bytes) == 0)
            return &entries[i];
    return NULL;
}

/* The entry whose bytes the image starts with. Its length is not known: nothing is read past the first difference. */
static const entry *find_image(const uint8_t *image) {
    for (size_t i = 0; i < entry_count; i++) {
        size_t k = 0;
        while (k < entries[i].bytes && entries[i].cubin[k] == image[k])
            k++;
        if (k == entries[i].bytes)
            return &entries[i];
    }
    return NULL;
}

static bool add(const void *cubin, size_t bytes, const char *ptx, size_t ptx_bytes) {
    entry e = {.bytes = bytes, .ptx_bytes = ptx_bytes, .count = 1};
    if (!emu_driver_cubin_arch(cubin, bytes, &e.arch, &e.specific))
        return false;
    if (entry_count == entry_room) {
        size_t room = entry_room ? 2 * entry_room : 16;
        entry *grown = realloc(entries, room * sizeof *grown);
        if (!grown)
            return false;
        entries = grown;
        entry_room = room;
    }
    e.cubin = malloc(bytes);
    e.ptx = malloc(ptx_bytes + 1);
    if (!e.cubin || !e.ptx) {
        free(e.cubin);
        free(e.ptx);
        return false;
    }
    memcpy(e.cubin, cubin, bytes);
    memcpy(e.ptx, ptx, ptx_bytes);
    e.ptx[ptx_bytes] = 0;
    entries[entry_count++] = e;
    return true;
}

bool emu_driver_register(const void *cubin, size_t bytes, const char *ptx, size_t ptx_bytes) {
    emu_driver_lock();
    entry *e = find(cubin, bytes);
    bool ok = e ? e->count++, true : add(cubin, bytes, ptx, ptx_bytes);
    emu_driver_unlock();
    return ok;
}

bool emu_driver_forget(const void *cubin, size_t bytes) {
    emu_driver_lock();
    entry *e = find(cubin, bytes);
    if (e && --e->count == 0) {
        free(e->cubin);
        free(e->ptx);
        *e = entries[--entry_count];
        if (entry_count == 0) {
            free(entries);
            entries = NULL;
            entry_room = 0;
        }
    }
    emu_driver_unlock();
    return e != NULL;
}

/* ---- PTX ---- */

/* The word after a directive at the start of a line; comments before it are skipped. NULL: there is none. */
static const char *directive(const char *text, const char *name) {
    size_t n = strlen(name);
    for (const char *p = text; *p;) {
        if (strncmp(p, "//", 2) == 0) {
            p += strcspn(p, "\n");
        } else if (strncmp(p, "/*", 2) == 0) {
            const char *end = strstr(p + 2, "*/");
            if (!end)
                return NULL;
            p = end + 2;
        } else if (strncmp(p, name, n) == 0 && (p[n] == ' ' || p[n] == '\t')) {
            return p + n + strspn(p + n, " \t");
        } else if (*p == '{') {
            return NULL; /* directives of the module come before its functions */
        } else {
            p++;
        }
    }
    return NULL;
}

/* PTX version (10 * major + minor) that a driver reads: release notes of the PTX ISA. */
static int newest_ptx(int driver) {
    int major = driver / 1000, minor = driver % 1000 / 10;
    if (major < 11)
        return 0;
    if (major == 11)
        return 70 + minor;
    if (major == 12) /* 12.6 brought none, so that 12.8 has 8.7 */
        return 80 + (minor <= 5 ? minor : minor == 6 ? 5 : minor - 1);
    return 90 + 10 * (major - 13) + minor;
}

/* Does code for `arch` run on the device? `suffix`: 'a', 'f' or 0. Cubins need the same major, PTX any device not
 * below. */
static bool fits(const emu_driver_device *d, int arch, char suffix, bool cubin) {
    int device = 10 * d->major + d->minor;
    if (suffix == 'a')
        return arch == device;
    if (suffix == 'f' || cubin)
        return arch / 10 == d->major && arch <= device;
    return arch <= device;
}

static int parse_ptx(const char *text, size_t length, emu_module **m, char *log) {
    emu_error e;
    *m = emu_module_parse(text, length, &e);
    if (*m)
        return CU_SUCCESS;
    snprintf(log, IMAGE_TEXT, "ptx:%d: %.480s", e.line, e.text);
    return strcmp(e.text, "out of memory") == 0 ? CU_OUT_OF_MEMORY : CU_INVALID_PTX;
}

static int load_ptx(const driver_context *c, const char *text, emu_module **m, int *arch, char *log) {
    const char *version = directive(text, ".version"), *target = directive(text, ".target");
    int major = 0, minor = 0, used = 0;
    if (!version || sscanf(version, "%2d.%2d", &major, &minor) != 2) {
        snprintf(log, IMAGE_TEXT, "the image is neither a CUDA ELF file nor PTX: no .version");
        return CU_INVALID_IMAGE;
    }
    if (10 * major + minor > newest_ptx(emu_driver.options.driver_version)) {
        snprintf(log, IMAGE_TEXT, "PTX %d.%d is newer than driver %d reads", major, minor,
                 emu_driver.options.driver_version);
        return CU_UNSUPPORTED_PTX_VERSION;
    }
    if (!target || sscanf(target, "sm_%3d%n", arch, &used) != 1 || *arch < 10) {
        snprintf(log, IMAGE_TEXT, "the PTX has no .target sm_NN");
        return CU_INVALID_PTX;
    }
    char suffix = target[used] == 'a' || target[used] == 'f' ? target[used] : 0;
    if (!fits(&c->device, *arch, suffix, false)) {
        snprintf(log, IMAGE_TEXT, "PTX for sm_%d%.1s does not run on a device of capability %d.%d", *arch, &suffix,
                 c->device.major, c->device.minor);
        return CU_NO_BINARY_FOR_GPU;
    }
    return parse_ptx(text, strlen(text), m, log);
}

static int load_cubin(const driver_context *c, const uint8_t *image, emu_module **m, int *arch, char *log) {
    Elf64_Ehdr h;
    bool specific;
    memcpy(&h, image, sizeof h);
    const entry *e = find_image(image);
    if (!header_arch(&h, arch, &specific)) {
        snprintf(log, IMAGE_TEXT, "the image is an ELF file, but not a cubin: machine %d", h.e_machine);
        return CU_INVALID_IMAGE;
    }
    specific = e ? e->specific : specific;
    if (!fits(&c->device, *arch, specific ? 'a' : 0, true)) {
        snprintf(log, IMAGE_TEXT, "a cubin for sm_%d%s does not run on a device of capability %d.%d", *arch,
                 specific ? "a" : "", c->device.major, c->device.minor);
        return CU_NO_BINARY_FOR_GPU;
    }
    if (!e) {
        snprintf(log, IMAGE_TEXT, "the PTX of this cubin (sm_%d) is not known to the emulator", *arch);
        return CU_INVALID_IMAGE;
    }
    int result = parse_ptx(e->ptx, e->ptx_bytes, m, log);
    return result == CU_INVALID_PTX ? CU_INVALID_IMAGE : result;
}

/* The length of an image is not known, as in the real driver: one that starts as an ELF file has at least an ELF
 * header, any other ends with a zero. */
int emu_driver_image(const driver_context *c, const void *image, emu_module **m, int *arch, char *log) {
    const uint8_t *p = image;
    if (p[0] == ELFMAG0 && p[1] == ELFMAG1 && p[2] == ELFMAG2 && p[3] == ELFMAG3)
        return load_cubin(c, p, m, arch, log);
    return load_ptx(c, image, m, arch, log);
}
