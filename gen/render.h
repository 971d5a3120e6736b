/* render.h: partial preprocessing of CUDA templates: knobs become constants, conditions over knobs
 * are decided, parts are inlined; all else, comments included, stays as it was written.
 *
 * The language. A knob is declared at file scope, before its first use, in the template or in a part (in several files
 * only with the same default):
 *
 *     #ifndef CHUNK
 *     #define CHUNK 64 // tokens a chunk; values 32, 64, 128
 *     #endif
 *
 * Its default decides its type:
 *     64, 64u, 64ll, 64ull    constexpr int, unsigned, long long, unsigned long long
 *     0.5f, 0.5               constexpr float, double
 *     nha_kernel              a word: an identifier that is put in the place of the knob's name (kernel names, types)
 *     1ull, 2ull              a list of literals, put in the place of the knob's name (tables)
 * `#define DTYPE_BF16 2` outside such a block is a fixed constant: an integer that cannot be given, and that is left
 * out where nothing that is rendered names it.
 * `#if`, `#elif`, `#else`, `#endif` take integer expressions over knobs and fixed constants. `#include "part.cuh"`
 * names a file of templates/ and is inlined once, where it first stands in a live branch. `#pragma once` goes, `#pragma
 * unroll` stays. `#error "text"` in a live branch refuses the rendering. Everything else that a preprocessor would act
 * on is an error with its place: function-like macros, other definitions, `##`, line continuations, __CUDA_ARCH__,
 * `std::`, and `if constexpr` on what derives from knobs.
 *
 * Definitions at file scope such as `constexpr int THREADS = WARPS * 32;` are evaluated where integer arithmetic over
 * knobs and earlier constants suffices: the layout reads them, so that they are written once. Likewise
 * `static_assert(CONDITION, "reason")`: one that fails refuses the tile with its reason. */
#ifndef GEN_RENDER_H
#define GEN_RENDER_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "gen/embedded.h"

enum {
    GEN_RENDER_BYTES_MAX = 4 << 20, /* of a rendered file, and of a source */
    GEN_RENDER_DEPTH_MAX = 32,      /* nesting of parts, of conditions, of parentheses */
    GEN_RENDER_NAMES_MAX = 4096     /* knobs and constants */
};

/* A knob's value, as a literal of its type ("64", "0.0883883461f"), a word or a list. Borrowed. */
typedef struct gen_given {
    const char *name, *text;
    bool optional; /* no error where the template has no knob of that name */
} gen_given;

typedef enum gen_value_kind {
    GEN_VALUE_INTEGER, /* `value`; of type `type` */
    GEN_VALUE_FLOAT,   /* `text` alone */
    GEN_VALUE_WORD,
    GEN_VALUE_LIST
} gen_value_kind;

typedef enum gen_origin {
    GEN_ORIGIN_KNOB,  /* #ifndef block */
    GEN_ORIGIN_FIXED, /* #define outside one */
    GEN_ORIGIN_DERIVED /* constexpr; kind FLOAT and no text where the value is not known to the renderer */
} gen_origin;

typedef struct gen_constant {
    const char *name, *text; /* text: of a knob, the value as rendered */
    const char *standard;    /* of a knob, its default's text */
    const char *comment;     /* of a knob, what stands behind `//`, or "" */
    const char *type;        /* C++ type, static; "" for words and lists */
    const char *file;        /* where it is declared */
    gen_origin origin;
    gen_value_kind kind;
    bool known;    /* integer whose value is in `value` */
    int64_t value; /* unsigned long long: its bits */
    bool used;     /* its name stands in the rendered text, beside its definition */
    size_t at, bytes; /* a fixed constant's definition in the text while it is made; private */
} gen_constant;

typedef struct gen_rendered {
    base_arena arena;
    char *text; /* malloc'd, NUL-terminated; without the header that gen/cuda puts before it */
    size_t size;
    gen_constant *constants; /* in order of declaration; in the arena */
    int constant_count;
    char hash[65];       /* SHA-256 of the sources that took part: template and parts, names and bytes */
    const char *refusal; /* the first static_assert that failed or #error that is live, its text; NULL: none */
} gen_rendered;

/* Renders the file `name` of a table that ends as gen_embedded_files does. Deterministic; thread-safe. Errors:
 * ERR_INPUT with file, line and column of the source for what is outside the language, a value that does not fit, a
 * given knob that is not declared; ERR_MEMORY. On failure *out needs no destroy. */
bool gen_render(const gen_embedded *files, const char *name, const gen_given *given, int given_count, gen_rendered *out,
                err *e);
void gen_rendered_destroy(gen_rendered *r);
/* NULL if there is no such knob or constant. */
const gen_constant *gen_rendered_find(const gen_rendered *r, const char *name);
/* Value of a known integer constant; `absent` if it is not there or not known. */
int64_t gen_rendered_integer(const gen_rendered *r, const char *name, int64_t absent);

#endif
