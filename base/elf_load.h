/* elf_load.h: puts an ELF relocatable object that holds data alone into memory, as elf_object.h writes it: constants
 * that point to one another. Nothing of it can run. The bytes are hostile until they have been checked. */
#ifndef BASE_ELF_LOAD_H
#define BASE_ELF_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A private, read-only mapping; at least one zero byte follows the last section. Zeroed: nothing is loaded. */
typedef struct elf_image {
    void *base;
    size_t size;
    const void *symbol; /* what the symbol that was asked for stands for */
} elf_image;

#define ELF_IMAGE_BYTES_MAX ((uint64_t)1 << 31)

/* Whether an ELF object has instructions (a section that is executable and not empty). Errors: ERR_INPUT for bytes that
 * are no 64-bit little-endian relocatable object with an intact section table. */
bool elf_object_has_code(const void *bytes, size_t size, bool *code, err *e);

/* Copies what the object wants in memory, fills in its pointers, and finds the global symbol `name`. `machine`: of
 * <elf.h>, that of this program. bytes need no alignment and are not needed afterwards. Every header, symbol and
 * pointer is checked: pointers lead into the section they name (or just behind it), to no other object. Pointers that
 * the object gives as plain numbers are not seen here: elf_image_holds finds them. Errors: ERR_INPUT (no such object,
 * damaged, with code, for another machine, without the symbol), ERR_MEMORY; then *image is zeroed. Thread-safe. */
bool elf_load(const void *bytes, size_t size, int machine, const char *name, elf_image *image, err *e);
/* Unmaps it; *image is zeroed. A zeroed image is allowed. */
void elf_unload(elf_image *image);

/* Whether `count` things of `each` > 0 bytes at `at`, a multiple of `align`, lie in the image. */
bool elf_image_holds(const elf_image *image, const void *at, uint64_t count, size_t each, size_t align);
/* Whether a string begins in the image; its NUL is then there too. */
bool elf_image_holds_text(const elf_image *image, const char *text);

#endif
