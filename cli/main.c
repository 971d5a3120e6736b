/* main.c: the nhac command: finds the command by name and runs it. Everything a command does is in the rooms beside
 * this one; here and in the files of this folder are arguments, output and exit statuses alone. */
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "cli/options.h"
#include "runtime/nha.h"
#include "tuner/debug.h"

static const cli_command commands[] = {
    {"doctor", "", "what was found on this machine, and what each absence costs", cli_doctor},
    {"gen", "SPEC [--target T] [-o DIR] [--all]", "render kernel sources, compile nothing", cli_gen},
    {"build", "SPEC [--target T]... [-o DIR]", "a library of the default kernels, verified, not tuned", cli_build},
    {"tune", "SPEC [--target T] [--device D] [--budget S] [--jobs N] [--strategy model|exhaustive|random] [-o DIR]", "a tuned, verified library", cli_tune},
    {"run", "LIBDIR --op prefill|decode|backward --in F.safetensors --out F.safetensors [--device D] [--threads N] [--isa I]",
     "run a library on tensors; I: baseline, avx2, avx512, amx or neon, nothing above which then runs", cli_run},
    {"verify", "LIBDIR [--device D] [--cases N] [--seed S] [--isa I]",
     "hold a library against the fp64 definition on random cases", cli_verify},
    {"bench", "LIBDIR [--op O] [--device D] [--batch B --tokens T] [--threads N] [--isa I] [--kernel K] [--hot] [--json]",
     "time a library, beside the machine's own limits", cli_bench},
    {"show", "LIBDIR [KERNEL] [--source|--ptx|--ir|--asm|--resources|--why]", "what is in a library, and why",
     cli_show},
    {"db", "list | merge FILE... | prune [--older-than DAYS]",
     "what this machine has measured: list it, take in journals from elsewhere, remove what is stale or old", cli_db},
    {"emu", "KERNEL.ptx [--kernel NAME] [--grid X,Y,Z] [--block X,Y,Z] [--shared N] [--arg A]... [--seed N] [--threads N] [--eager] "
            "[--global-races] [--steps N]",
     "run a kernel's PTX on the CPU; report bad accesses, races, missed waits; A is buf:BYTES[,zero|undefined|random=SEED|"
     "file=PATH][,type=f32|f16|bf16|u8][,out=PATH], i:INTEGER, f:FLOAT or x:HEX",
     cli_emu},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void help(FILE *out) {
    fprintf(out, "nhac %s: tuned kernels for Native Hybrid Attention\n\n", NHA_VERSION);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  nhac %s%s%s\n      %s\n", commands[i].name, commands[i].usage[0] ? " " : "", commands[i].usage,
                commands[i].purpose);
    fprintf(out, "\nNHAC_DEBUG=A,B,... prints to stderr:\n");
    for (int i = 0; i < TUNE_DEBUG_COUNT; i++)
        fprintf(out, "  %-8s %s\n", tune_debug_name(i), tune_debug_help(i));
}

int main(int argc, char **argv) {
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("nhac %s\n", NHA_VERSION);
        return 0;
    }
    const char *names[COMMANDS];
    char word[64];
    if (tune_debug_unknown(word, sizeof word))
        fprintf(stderr, "nhac: NHAC_DEBUG: there is no switch %s\n", word);
    for (int i = 0; i < COMMANDS; i++) {
        names[i] = commands[i].name;
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (argc == 3 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
            printf("usage: nhac %s%s%s\n%s\n", commands[i].name, commands[i].usage[0] ? " " : "", commands[i].usage,
                   commands[i].purpose);
            return 0;
        }
        int status = commands[i].run(&commands[i], argc - 2, argv + 2);
        if (fflush(stdout) != 0 || ferror(stdout)) {
            fprintf(stderr, "nhac: cannot write to standard output\n");
            return status ? status : 1;
        }
        return status;
    }
    fprintf(stderr, "nhac: there is no command %s; did you mean %s?\n", argv[1],
            base_nearest(argv[1], names, COMMANDS));
    return 2;
}
