/* library_text.h: the small texts of a library folder: C header, CMake package, pkg-config file. */
#ifndef TUNER_LIBRARY_TEXT_H
#define TUNER_LIBRARY_TEXT_H

#include "base/buf.h"
#include "tuner/library.h"

/* nha_C.h: the problem as macros and the library's one symbol. */
void tune_text_header(base_buf *out, const gen_problem *problem, const bool ops[3]);
/* nha_CConfig.cmake: targets nha_C::static and, if `shared`, nha_C::shared; found relative to the file itself. */
void tune_text_cmake(base_buf *out, const gen_problem *problem, bool shared);
/* nha_C.pc: found relative to the file itself; links the static library. */
void tune_text_pkgconfig(base_buf *out, const gen_problem *problem);
#endif
