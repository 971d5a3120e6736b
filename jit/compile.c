/* compile.c: module -> relocatable object, through the cache. The key covers everything that decides the bytes;
 * what comes back, fresh or cached, has been checked to stand alone. */
#include <llvm-c/BitWriter.h>
#include <llvm/Config/llvm-config.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "jit/elf.h"
#include "jit/emit.h"
#include "jit/jit.h"
#include "runtime/nha.h"

static char llvm_version[32];

static void llvm_version_once(void) {
#if LLVM_VERSION_MAJOR >= 17
    unsigned major, minor, patch;
    LLVMGetVersion(&major, &minor, &patch);
    snprintf(llvm_version, sizeof llvm_version, "%u.%u.%u", major, minor, patch);
#else
    snprintf(llvm_version, sizeof llvm_version, "%s", LLVM_VERSION_STRING);
#endif
}

const char *jit_llvm_version(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, llvm_version_once);
    return llvm_version;
}

/* What the cache keeps: this, then the object. Little-endian machines only, as all the rest. */
typedef struct cached_header {
    char magic[8];
    int32_t spills, loop_spills;
} cached_header;
static const char cached_magic[8] = "nhacobj";

/* key = SHA-256 of (IR as bitcode, isa's triple, cpu and features, flags, LLVM's version, nhac's version). */
static bool make_key(LLVMModuleRef module, const gen_isa *isa, char key[BASE_SHA256_HEX]) {
    base_sha256 hash;
    base_sha256_init(&hash);
    base_sha256_add_text(&hash, "nhac object");
    base_sha256_add_text(&hash, NHA_VERSION);
    base_sha256_add_text(&hash, jit_llvm_version());
    base_sha256_add_text(&hash, JIT_EMIT_FLAGS);
    base_sha256_add_text(&hash, isa->triple);
    base_sha256_add_text(&hash, isa->cpu);
    base_sha256_add_text(&hash, isa->features);
    LLVMMemoryBufferRef ir = LLVMWriteBitcodeToMemoryBuffer(module); /* names included; six times as fast as text */
    if (!ir) return false;
    base_sha256_add(&hash, LLVMGetBufferStart(ir), LLVMGetBufferSize(ir));
    LLVMDisposeMemoryBuffer(ir);
    base_sha256_end_hex(&hash, key);
    return true;
}

/* An object that may stand in a library: a stack that is not executable, and nothing undefined. */
static bool check_object(const void *bytes, size_t size, err *e) {
    jit_elf elf;
    if (!jit_elf_open(bytes, size, &elf, e)) return false;
    if (!jit_elf_plain_stack(&elf))
        return err_set(e, ERR_COMPILE, "compile",
                       "the object has no .note.GNU-stack section: its stack would be executable");
    const char *undefined = jit_elf_undefined(&elf);
    if (undefined)
        return err_set(e, ERR_COMPILE, "compile", "the kernel calls %s, which no library provides", undefined);
    return true;
}

/* Takes the object out of the cache; false: a miss. */
static bool from_cache(jit_object *object) {
    cached_header header;
    void *entry;
    size_t size;
    if (!jit_cache_get(object->key, &entry, &size)) return false;
    bool ok = size > sizeof header;
    if (ok) {
        memcpy(&header, entry, sizeof header);
        size -= sizeof header;
        memmove(entry, (char *)entry + sizeof header, size); /* keeps malloc's alignment for the object */
        ok = memcmp(header.magic, cached_magic, sizeof cached_magic) == 0 && check_object(entry, size, NULL);
    }
    if (!ok) {
        free(entry);
        return false;
    }
    object->bytes = entry;
    object->size = size;
    object->spills = header.spills;
    object->loop_spills = header.loop_spills;
    object->cached = true;
    return true;
}

static void to_cache(const jit_object *object) {
    cached_header header = {.spills = object->spills, .loop_spills = object->loop_spills};
    memcpy(header.magic, cached_magic, sizeof cached_magic);
    char *entry = malloc(sizeof header + object->size);
    if (!entry) return; /* only costs time */
    memcpy(entry, &header, sizeof header);
    memcpy(entry + sizeof header, object->bytes, object->size);
    jit_cache_put(object->key, entry, sizeof header + object->size);
    free(entry);
}

static bool emit_object(LLVMModuleRef module, const gen_isa *isa, jit_object *object, err *e) {
    jit_emitted out;
    if (!jit_emit(module, isa, LLVMObjectFile, &out, e)) return false;
    if (!check_object(out.bytes, out.size, e)) {
        free(out.bytes);
        return false;
    }
    object->bytes = out.bytes;
    object->size = out.size;
    object->spills = out.spills;
    object->loop_spills = out.loop_spills;
    return true;
}

bool jit_compile(LLVMModuleRef module, const gen_isa *isa, jit_object *object, err *e) {
    *object = (jit_object){0};
    if (!jit_verify(module, e)) return false;
    if (!make_key(module, isa, object->key)) return err_memory(e, "compile");
    if (from_cache(object)) return true;
    const char *no_jit = getenv("NHAC_NO_JIT");
    if (no_jit && strcmp(no_jit, "1") == 0)
        return err_set(e, ERR_MISSING, "compile",
                       "NHAC_NO_JIT=1 forbids compiling, and the cache has no object %s in %s", object->key,
                       jit_cache_dir());
    if (!emit_object(module, isa, object, e)) return false;
    to_cache(object);
    return true;
}

void jit_object_destroy(jit_object *object) {
    free(object->bytes);
    *object = (jit_object){0};
}

char *jit_assembly(LLVMModuleRef module, const gen_isa *isa, err *e) {
    jit_emitted out;
    return jit_verify(module, e) && jit_emit(module, isa, LLVMAssemblyFile, &out, e) ? out.bytes : NULL;
}
