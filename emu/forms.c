/* forms.c: every opcode that the emulator knows: who builds it, its types, the modifiers that choose its executor (in
 * the order of the executor's key), and the modifiers accepted as hints or read by the builder. All else is an error.
 */
#include "emu/parse.h"

#include <string.h>

#define INTS   "u16 s16 u32 s32 u64 s64"
#define HALVES "f16 f16x2 bf16 bf16x2"
#define BITS   "b16 b32 b64"
#define ALL    "u8 s8 b8 " INTS " " BITS " f16 f16x2 bf16 bf16x2 f32 f64"
#define CACHE                                                                                                          \
    "ca cg cs lu cv wb wt cop L1::evict_normal L1::evict_unchanged L1::evict_first L1::evict_last L1::no_allocate "    \
    "L2::64B L2::128B L2::256B L2::cache_hint L2::evict_normal L2::evict_first L2::evict_last"
#define SPACES "global shared shared::cta local const param param::entry param::func"
#define ORDER  "weak volatile relaxed acquire release acq_rel sc cta cluster gpu sys mmio"

static const form forms[] = {
    {"add", emu_build_alu, EMU_CLASS_INT, INTS " f32 f64 f32x2 " HALVES, "cc sat rz rm rp", "rn ftz"},
    {"sub", emu_build_alu, EMU_CLASS_INT, INTS " f32 f64 f32x2 " HALVES, "cc sat rz rm rp", "rn ftz"},
    {"addc", emu_build_carry, EMU_CLASS_INT, "u32 s32 u64 s64", "cc", ""},
    {"subc", emu_build_carry, EMU_CLASS_INT, "u32 s32 u64 s64", "cc", ""},
    {"mul", emu_build_alu, EMU_CLASS_INT, INTS " f32 f64 f32x2 " HALVES, "wide hi lo sat rz rm rp", "rn ftz"},
    {"mad", emu_build_alu, EMU_CLASS_INT, INTS " f32 f64", "wide hi lo cc sat rz rm rp", "rn ftz"},
    {"madc", emu_build_carry, EMU_CLASS_INT, "u32 s32 u64 s64", "hi lo cc", ""},
    {"fma", emu_build_alu, EMU_CLASS_F32, "f32 f64 f32x2 " HALVES, "relu sat rz rm rp", "rn ftz"},
    {"mul24", emu_build_alu, EMU_CLASS_INT, "u32 s32", "lo", ""},
    {"mad24", emu_build_mad24, EMU_CLASS_INT, "u32 s32", "lo", ""},
    {"sad", emu_build_alu, EMU_CLASS_INT, "u16 u32 s32 u64 s64", "", ""},
    {"div", emu_build_alu, EMU_CLASS_INT, INTS " f32 f64", "rz rm rp", "rn full approx ftz"},
    {"rem", emu_build_alu, EMU_CLASS_INT, INTS, "", ""},
    {"abs", emu_build_alu, EMU_CLASS_INT, "s16 s32 s64 f32 f64 " HALVES, "", "ftz"},
    {"neg", emu_build_alu, EMU_CLASS_INT, "s16 s32 s64 f32 f64 " HALVES, "", "ftz"},
    {"min", emu_build_minmax, EMU_CLASS_INT, INTS " f32 f64 " HALVES, "NaN relu", "ftz"},
    {"max", emu_build_minmax, EMU_CLASS_INT, INTS " f32 f64 " HALVES, "NaN relu", "ftz"},
    {"popc", emu_build_alu, EMU_CLASS_INT, "b32 b64", "", ""},
    {"clz", emu_build_alu, EMU_CLASS_INT, "b32 b64", "", ""},
    {"brev", emu_build_alu, EMU_CLASS_INT, "b32 b64", "", ""},
    {"bfind", emu_build_alu, EMU_CLASS_INT, "u32 s32 u64 s64", "shiftamt", ""},
    {"bfe", emu_build_alu, EMU_CLASS_INT, "u32 s32 u64 s64", "", ""},
    {"bfi", emu_build_bfi, EMU_CLASS_INT, "b32 b64", "", ""},
    {"bmsk", emu_build_alu, EMU_CLASS_INT, "b32", "clamp wrap", ""},
    {"szext", emu_build_alu, EMU_CLASS_INT, "u32 s32", "clamp wrap", ""},
    {"dp4a", emu_build_alu, EMU_CLASS_INT, "u32 s32", "", ""},
    {"dp2a", emu_build_alu, EMU_CLASS_INT, "u32 s32", "lo hi", ""},
    {"prmt", emu_build_alu, EMU_CLASS_INT, "b32", "f4e b4e rc8 ecl ecr rc16", ""},
    {"shf", emu_build_alu, EMU_CLASS_INT, "b32", "l r wrap clamp", ""},
    {"shl", emu_build_alu, EMU_CLASS_INT, BITS, "", ""},
    {"shr", emu_build_alu, EMU_CLASS_INT, BITS " " INTS, "", ""},
    {"and", emu_build_alu, EMU_CLASS_INT, BITS " pred", "", ""},
    {"or", emu_build_alu, EMU_CLASS_INT, BITS " pred", "", ""},
    {"xor", emu_build_alu, EMU_CLASS_INT, BITS " pred", "", ""},
    {"not", emu_build_alu, EMU_CLASS_INT, BITS " pred", "", ""},
    {"cnot", emu_build_alu, EMU_CLASS_INT, BITS, "", ""},
    {"lop3", emu_build_lop3, EMU_CLASS_INT, "b32", "", ""},
    {"rcp", emu_build_alu, EMU_CLASS_SPECIAL, "f32 f64", "rz rm rp", "rn approx ftz"},
    {"sqrt", emu_build_alu, EMU_CLASS_SPECIAL, "f32 f64", "rz rm rp", "rn approx ftz"},
    {"rsqrt", emu_build_alu, EMU_CLASS_SPECIAL, "f32 f64", "approx", "ftz"},
    {"ex2", emu_build_alu, EMU_CLASS_SPECIAL, "f32 " HALVES, "approx", "ftz"},
    {"lg2", emu_build_alu, EMU_CLASS_SPECIAL, "f32", "approx", "ftz"},
    {"sin", emu_build_alu, EMU_CLASS_SPECIAL, "f32", "approx", "ftz"},
    {"cos", emu_build_alu, EMU_CLASS_SPECIAL, "f32", "approx", "ftz"},
    {"tanh", emu_build_alu, EMU_CLASS_SPECIAL, "f32 " HALVES, "approx", ""},
    {"copysign", emu_build_alu, EMU_CLASS_F32, "f32 f64", "", ""},
    {"testp", emu_build_testp, EMU_CLASS_F32, "f32 f64", "finite infinite number notanumber normal subnormal", ""},
    {"setp", emu_build_setp, EMU_CLASS_INT, BITS " " INTS " f32 f64 f16 bf16",
     "eq ne lt le gt ge lo ls hi hs equ neu ltu leu gtu geu num nan", "and or xor ftz"},
    {"set", emu_build_set, EMU_CLASS_INT, BITS " " INTS " f32 f64",
     "eq ne lt le gt ge lo ls hi hs equ neu ltu leu gtu geu num nan", "and or xor ftz"},
    {"selp", emu_build_selp, EMU_CLASS_MOVE, BITS " " INTS " f32 f64 f16 bf16", "", ""},
    {"slct", emu_build_slct, EMU_CLASS_MOVE, BITS " " INTS " f32 f64", "", "ftz"},
    {"mov", emu_build_mov, EMU_CLASS_MOVE, ALL " b128 pred", "", ""},
    {"cvt", emu_build_cvt, EMU_CLASS_CONVERT, "u8 s8 " INTS " f32 f64 tf32 e4m3x2 e5m2x2 " HALVES,
     "rn rz rm rp rna rni rzi rmi rpi relu satfinite", "ftz sat"},
    {"cvta", emu_build_cvta, EMU_CLASS_MOVE, "u32 u64", "", "to " SPACES},
    {"isspacep", emu_build_isspacep, EMU_CLASS_MOVE, "", "", SPACES},
    {"ld", emu_build_load, EMU_CLASS_GENERIC, ALL " b128", "", SPACES " nc v2 v4 v8 unified " ORDER " " CACHE},
    {"ldu", emu_build_load, EMU_CLASS_GENERIC, ALL " b128", "", "global v2 v4"},
    {"st", emu_build_store, EMU_CLASS_GENERIC, ALL " b128", "", SPACES " v2 v4 v8 " ORDER " " CACHE},
    {"atom", emu_build_atom, EMU_CLASS_ATOMIC, BITS " u32 s32 u64 s64 f32 f64 " HALVES, "",
     "global shared shared::cta add min max inc dec and or xor exch cas noftz " ORDER " L2::cache_hint"},
    {"red", emu_build_red, EMU_CLASS_ATOMIC, BITS " u32 s32 u64 s64 f32 f64 " HALVES, "",
     "global shared shared::cta add min max inc dec and or xor noftz v2 v4 v8 " ORDER " L2::cache_hint"},
    {"prefetch", emu_build_prefetch, EMU_CLASS_GLOBAL, "", "", "global local L1 L2 L2::evict_last L2::evict_normal"},
    {"prefetchu", emu_build_prefetch, EMU_CLASS_GLOBAL, "", "", "L1"},
    {"discard", emu_build_prefetch, EMU_CLASS_GLOBAL, "", "", "global L2"},
    {"applypriority", emu_build_prefetch, EMU_CLASS_GLOBAL, "", "", "global L2::evict_normal"},
    {"createpolicy", emu_build_zero, EMU_CLASS_MOVE, "b64", "",
     "fractional range global L2::evict_last L2::evict_normal L2::evict_first L2::evict_unchanged"},
    {"cp", emu_build_cp, EMU_CLASS_ASYNC, "", "",
     "async ca cg shared shared::cta global commit_group wait_group wait_all L2::64B L2::128B L2::256B L2::cache_hint"},
    {"ldmatrix", emu_build_ldmatrix, EMU_CLASS_SHARED, "b16", "",
     "sync aligned m8n8 x1 x2 x4 trans shared shared::cta"},
    {"stmatrix", emu_build_stmatrix, EMU_CLASS_SHARED, "b16", "",
     "sync aligned m8n8 x1 x2 x4 trans shared shared::cta"},
    {"movmatrix", emu_build_movmatrix, EMU_CLASS_WARP, "b16", "", "sync aligned m8n8 trans"},
    {"mma", emu_build_mma, EMU_CLASS_MATRIX, "f16 bf16 tf32 f32 f64 s8 u8 s32", "",
     "sync aligned m16n8k16 m16n8k8 m16n8k4 m16n8k32 m8n8k16 m8n8k4 row col satfinite"},
    {"bra", emu_build_branch, EMU_CLASS_CONTROL, "", "", "uni"},
    {"brx", emu_build_indexed, EMU_CLASS_CONTROL, "", "", "idx uni"},
    {"call", emu_build_call, EMU_CLASS_CONTROL, "", "", "uni"},
    {"ret", emu_build_return, EMU_CLASS_CONTROL, "", "", "uni"},
    {"exit", emu_build_exit, EMU_CLASS_CONTROL, "", "", ""},
    {"trap", emu_build_trap, EMU_CLASS_CONTROL, "", "", ""},
    {"brkpt", emu_build_nop, EMU_CLASS_CONTROL, "", "", ""},
    {"bar", emu_build_bar, EMU_CLASS_SYNC, "u32 pred", "", "sync arrive red warp cta popc and or"},
    {"barrier", emu_build_bar, EMU_CLASS_SYNC, "u32 pred", "", "sync arrive red aligned cta popc and or"},
    {"membar", emu_build_membar, EMU_CLASS_SYNC, "", "", "cta gl sys"},
    {"fence", emu_build_membar, EMU_CLASS_SYNC, "", "",
     "sc acq_rel acquire release cta cluster gpu sys proxy async async::generic alias global shared::cta "
     "shared::cluster mbarrier_init "
     "sync_restrict::shared::cta sync_restrict::shared::cluster"},
    {"nanosleep", emu_build_nop, EMU_CLASS_CONTROL, "u32", "", ""},
    {"pmevent", emu_build_nop, EMU_CLASS_CONTROL, "", "", "mask"},
    {"griddepcontrol", emu_build_nop, EMU_CLASS_SYNC, "", "", "wait launch_dependents"},
    {"setmaxnreg", emu_build_nop, EMU_CLASS_CONTROL, "u32", "", "inc dec sync aligned"},
    {"shfl", emu_build_shfl, EMU_CLASS_WARP, "b32", "", "sync up down bfly idx"},
    {"vote", emu_build_vote, EMU_CLASS_WARP, "pred b32", "", "sync all any uni ballot"},
    {"match", emu_build_match, EMU_CLASS_WARP, "b32 b64", "", "sync any all"},
    {"redux", emu_build_redux, EMU_CLASS_WARP, "u32 s32 b32 f32", "", "sync add min max and or xor abs NaN"},
    {"activemask", emu_build_activemask, EMU_CLASS_WARP, "b32", "", ""},
    {"elect", emu_build_elect, EMU_CLASS_WARP, "", "", "sync"},
};

const form *emu_form_find(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strlen(forms[i].name) == length && memcmp(forms[i].name, name, length) == 0)
            return &forms[i];
    return NULL;
}

const char *emu_opcode_name(size_t index) {
    return index < sizeof forms / sizeof *forms ? forms[index].name : NULL;
}

const char *emu_opcode_modifiers(size_t index) {
    static _Thread_local char text[1024];
    if (index >= sizeof forms / sizeof *forms)
        return NULL;
    snprintf(text, sizeof text, "%s %s %s", forms[index].types, forms[index].key, forms[index].hints);
    return text;
}
