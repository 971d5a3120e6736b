/* library_link.h: the one step of a library that needs the system's compiler driver: .a -> .so. */
#ifndef TUNER_LIBRARY_LINK_H
#define TUNER_LIBRARY_LINK_H

#include "base/err.h"

/* Links FOLDER/libnha_C.a whole into FOLDER/libnha_C.so, which exports nha_library_C alone, depends on nothing, and has
 * relocations resolved and made read-only at loading. No shell is involved. Temporary files stay in FOLDER and are
 * removed. Errors: ERR_COMPILE with cc's text in the log, ERR_SYSTEM, ERR_MEMORY. */
bool tune_link_shared(const char *cc, const char *folder, const char *c_name, err *e);

#endif
