/* module.c: what can be asked of a parsed module, and its end. */
#include <stdlib.h>
#include <string.h>

#include "emu/inner.h"

static void free_formals(formal *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        free(list[i].name);
    free(list);
}

void emu_module_destroy(emu_module *m) {
    if (!m)
        return;
    for (size_t i = 0; i < m->function_count; i++) {
        function *f = &m->functions[i];
        free_formals(f->params, f->param_count);
        free_formals(f->results, f->result_count);
        free(f->name);
        free(f->fixeds);
        free(f->calls);
        free(f->views);
    }
    for (size_t i = 0; i < m->variable_count; i++) {
        free(m->variables[i].name);
        emu_allocation_free(&m->variables[i].memory);
    }
    for (size_t i = 0; i < m->table_count; i++)
        free(m->tables[i]);
    for (size_t i = 0; i < m->file_count; i++)
        free(m->files[i]);
    free(m->functions);
    free(m->variables);
    free(m->tables);
    free(m->files);
    free(m->code);
    free(m);
}

static bool is_kernel(const function *f) {
    return f->entry && f->defined;
}

size_t emu_module_kernel_count(const emu_module *m) {
    size_t n = 0;
    for (size_t i = 0; i < m->function_count; i++)
        n += is_kernel(&m->functions[i]);
    return n;
}

const emu_kernel *emu_module_kernel(const emu_module *m, size_t index) {
    for (size_t i = 0; i < m->function_count; i++)
        if (is_kernel(&m->functions[i]) && index-- == 0)
            return &m->functions[i].kernel;
    return NULL;
}

const emu_kernel *emu_module_find(const emu_module *m, const char *name) {
    for (size_t i = 0; i < m->function_count; i++)
        if (is_kernel(&m->functions[i]) && strcmp(m->functions[i].name, name) == 0)
            return &m->functions[i].kernel;
    return NULL;
}

bool emu_module_symbol(const emu_module *m, const char *name, void **address, size_t *bytes) {
    for (size_t i = 0; i < m->variable_count; i++)
        if (strcmp(m->variables[i].name, name) == 0) {
            *address = m->variables[i].memory.data;
            *bytes = m->variables[i].memory.bytes;
            return true;
        }
    return false;
}

const char *emu_module_file(const emu_module *m, int file) {
    return file >= 0 && (size_t)file < m->file_count ? m->files[file] : NULL;
}
