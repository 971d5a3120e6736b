/* machine.c: see machine.h. Everything is read from /proc and /sys when asked for; what is missing is not an error. */
#include "tuner/machine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Value of the first "key : value" line of /proc/cpuinfo, "" if there is none. */
static void cpuinfo(const char *key, char *out, size_t size) {
    out[0] = 0;
    FILE *in = fopen("/proc/cpuinfo", "r");
    if (!in)
        return;
    char line[512];
    size_t length = strlen(key);
    while (!out[0] && fgets(line, sizeof line, in)) {
        if (strncmp(line, key, length) != 0 || (line[length] != '\t' && line[length] != ' ' && line[length] != ':'))
            continue;
        const char *value = strchr(line, ':');
        if (!value)
            continue;
        value += 1 + strspn(value + 1, " \t");
        snprintf(out, size, "%.*s", (int)strcspn(value, "\n"), value);
    }
    fclose(in);
}

void tune_machine_model(char *out, size_t size) {
    char name[96], family[16], model[16], stepping[16];
    cpuinfo("model name", name, sizeof name);
    cpuinfo("cpu family", family, sizeof family);
    cpuinfo("model", model, sizeof model);
    cpuinfo("stepping", stepping, sizeof stepping);
    if (name[0])
        snprintf(out, size, "%s (%s/%s/%s)", name, family, model, stepping);
    else
        snprintf(out, size, "unknown");
}

int tune_machine_threads(void) {
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 0 ? count : 1;
}

size_t tune_machine_cache(int level) {
    size_t best = 0;
    for (int i = 0; i < 8; i++) {
        char path[96], kind[32] = "";
        int at = 0;
        size_t kib = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        FILE *in = fopen(path, "r");
        if (!in)
            break;
        if (fscanf(in, "%d", &at) != 1)
            at = 0;
        fclose(in);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
        if ((in = fopen(path, "r"))) {
            if (fscanf(in, "%31s", kind) != 1)
                kind[0] = 0;
            fclose(in);
        }
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        if ((in = fopen(path, "r"))) {
            if (fscanf(in, "%zuK", &kib) != 1)
                kib = 0;
            fclose(in);
        }
        if (at == level && strcmp(kind, "Instruction") != 0 && kib * 1024 > best)
            best = kib * 1024;
    }
    return best;
}
