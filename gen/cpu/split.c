/* split.c: see split.h. */
#include "gen/cpu/split.h"

/* Operands of scores are exact, or good to 2^-16 (16-bit types) or 2^-24 (f32) of themselves: a rounding of q or k
 * shows in o in proportion to the score, which has no bound. With 16-bit types probabilities and the slots' values have
 * one part: each adds as much to the error of o, 1.7e-3, as the rounding of o itself; so do f16 values in the window,
 * where the rounding of o in f16 adds next to nothing. What makes the memory is meant in fp32. With f32 they have two,
 * rounded to nearest, 1e-6 each. */
gen_cpu_parts gen_cpu_parts_of(const nha_problem *p) {
    const bool silu = p->slot_map == NHA_MAP_SILU;
    const bool turned = p->window > 0 && (p->rope == NHA_ROPE_NEOX || p->rope == NHA_ROPE_GPTJ);
    const int computed = p->value_map == NHA_MAP_SILU ? 2 : 1;
    switch (p->dtype) {
    case NHA_F32:
        return (gen_cpu_parts){
            .mapped = 3, .rotated = 3, .score = 3, .read = 2, .weight = 2, .values = 2, .absorbed = 2};
    case NHA_F16:
        return (gen_cpu_parts){
            .mapped = 2, .rotated = 2, .score = 2, .read = 1, .weight = 2, .values = computed, .absorbed = 2};
    default:
        return (gen_cpu_parts){.mapped = silu ? 2 : 1,
                               .rotated = turned ? 2 : 1,
                               .score = 2,
                               .read = 1,
                               .weight = 2,
                               .values = computed,
                               .absorbed = computed};
    }
}

int gen_cpu_part_products(int left, int right) {
    const int orders = left > right ? left : right;
    int count = 0;
    for (int i = 0; i < left; i++)
        for (int j = 0; j < right; j++)
            count += i + j < orders;
    return count;
}
