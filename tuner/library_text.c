/* library_text.c: each text as it will look, with the few words that vary filled in.
 * All paths are relative to the files themselves, so that the folder can be moved. */
#include "tuner/library_text.h"

#include <string.h>

/* The names of the enumerations of nha.h, as the header says them. */
static const char *const dtype_names[] = {"NHA_F32", "NHA_F16", "NHA_BF16"};
static const char *const rope_names[] = {"NHA_ROPE_NONE", "NHA_ROPE_GIVEN", "NHA_ROPE_NEOX", "NHA_ROPE_GPTJ"};
static const char *const map_names[] = {"NHA_MAP_IDENTITY", "NHA_MAP_SILU", "NHA_MAP_RELU"};

static void upper_name(const char *from, char to[GEN_NAME_MAX + 1]) {
    size_t i = 0;
    for (; from[i] && i < GEN_NAME_MAX; i++) to[i] = (char)(from[i] >= 'a' && from[i] <= 'z' ? from[i] - 32 : from[i]);
    to[i] = 0;
}

void tune_text_header(base_buf *out, const gen_problem *problem, const bool ops[3]) {
    const nha_problem *p = &problem->nha;
    char upper[GEN_NAME_MAX + 1];
    upper_name(problem->c_name, upper);
    base_buf_printf(out,
                    "/* nha_%s.h: kernels of \"%s\". Made by nhac " NHA_VERSION "; do not edit.\n"
                    " * Link libnha_%s and libnha; include path: that of nha.h.\n"
                    " *\n",
                    problem->c_name, problem->name, problem->c_name);
    base_buf_printf(out, " *   operations  ");
    for (int op = 0, first = 1; op < 3; op++)
        if (ops[op]) {
            base_buf_printf(out, "%s%s", first ? "" : ", ", gen_op_name(op));
            first = 0;
        }
    base_buf_printf(out,
                    "\n"
                    " *   tensors     q [.,.,%d,%d], k [.,.,%d,%d], v [.,.,%d,%d], o [.,.,%d,%d], %s\n",
                    p->heads_q, p->head_dim_qk, p->heads_kv, p->head_dim_qk, p->heads_kv, p->head_dim_v, p->heads_q,
                    p->head_dim_v, gen_dtype_name(p->dtype));
    if (p->slots > 0)
        base_buf_printf(out,
                        " *   gate        [.,.,%d,%d], %s, %s\n"
                        " *   memory      hk [.,%d,%d,%d], hv [.,%d,%d,%d], f32\n",
                        p->heads_kv, p->slots, gen_dtype_name(p->gate_dtype),
                        p->gate_input == NHA_GATE_LOG ? "natural log" : "logits", p->heads_kv, p->slots, p->head_dim_qk,
                        p->heads_kv, p->slots, p->head_dim_v);
    base_buf_printf(out,
                    " */\n"
                    "#ifndef NHA_%s_H\n"
                    "#define NHA_%s_H\n"
                    "\n"
                    "#include \"nha.h\"\n"
                    "\n"
                    "#if NHA_ABI_VERSION != %d\n"
                    "#error \"nha_%s.h was made for another ABI of libnha\"\n"
                    "#endif\n"
                    "\n",
                    upper, upper, NHA_ABI_VERSION, problem->c_name);
#define DEFINE(name, format, value) base_buf_printf(out, "#define NHA_%s_" name " " format "\n", upper, value)
    DEFINE("HEAD_DIM_QK", "%d", p->head_dim_qk);
    DEFINE("HEAD_DIM_V", "%d", p->head_dim_v);
    DEFINE("HEADS_Q", "%d", p->heads_q);
    DEFINE("HEADS_KV", "%d", p->heads_kv);
    DEFINE("SLOTS", "%d", p->slots);
    DEFINE("WINDOW", "INT64_C(%lld)", (long long)p->window);
    DEFINE("SLOT_LAG", "INT64_C(%lld)", (long long)p->slot_lag);
    DEFINE("SCALE", "%.17g", p->scale);
    DEFINE("DTYPE", "%s", dtype_names[p->dtype]);
    DEFINE("GATE_DTYPE", "%s", dtype_names[p->gate_dtype]);
    DEFINE("GATE_INPUT", "%s", p->gate_input == NHA_GATE_LOG ? "NHA_GATE_LOG" : "NHA_GATE_LOGIT");
    DEFINE("GATE_NORMALIZER", "%.17g", p->gate_normalizer);
    DEFINE("GATE_S_GIVEN", "%d", p->gate_s_given);
    DEFINE("ROPE", "%s", rope_names[p->rope]);
    DEFINE("SLOT_MAP", "%s", map_names[p->slot_map]);
    DEFINE("VALUE_MAP", "%s", map_names[p->value_map]);
#undef DEFINE
    base_buf_printf(out,
                    "\n"
                    "#ifdef __cplusplus\n"
                    "extern \"C\" {\n"
                    "#endif\n"
                    "\n"
                    "extern const nha_library nha_library_%s;\n"
                    "\n"
                    "#ifdef __cplusplus\n"
                    "}\n"
                    "#endif\n"
                    "#endif\n",
                    problem->c_name);
}

static void cmake_target(base_buf *out, const char *c_name, const char *kind, const char *type, const char *ending) {
    base_buf_printf(out,
                    "\nif(NOT TARGET nha_%s::%s)\n"
                    "  add_library(nha_%s::%s %s IMPORTED)\n"
                    "  set_target_properties(nha_%s::%s PROPERTIES\n"
                    "    IMPORTED_LOCATION \"${CMAKE_CURRENT_LIST_DIR}/libnha_%s.%s\"\n"
                    "    INTERFACE_INCLUDE_DIRECTORIES \"${CMAKE_CURRENT_LIST_DIR}\")\n"
                    "endif()\n",
                    c_name, kind, c_name, kind, type, c_name, kind, c_name, ending);
}

void tune_text_cmake(base_buf *out, const gen_problem *problem, bool shared) {
    base_buf_printf(out,
                    "# find_package(nha_%s CONFIG): nha_%s::static%s. Made by nhac " NHA_VERSION "; do not edit.\n"
                    "# libnha is separate: link it after these.\n",
                    problem->c_name, problem->c_name, shared ? " and ::shared" : "");
    cmake_target(out, problem->c_name, "static", "STATIC", "a");
    if (shared) cmake_target(out, problem->c_name, "shared", "SHARED", "so");
}

void tune_text_pkgconfig(base_buf *out, const gen_problem *problem) {
    base_buf_printf(out,
                    "# Made by nhac " NHA_VERSION "; do not edit. libnha is separate: link it after this.\n"
                    "prefix=${pcfiledir}\n"
                    "\n"
                    "Name: nha_%s\n"
                    "Description: Native Hybrid Attention kernels of \"%s\"\n"
                    "Version: " NHA_VERSION "\n"
                    "Cflags: -I${prefix}\n"
                    "Libs: ${prefix}/libnha_%s.a\n",
                    problem->c_name, problem->name, problem->c_name);
}
