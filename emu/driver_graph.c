/* driver_graph.c: lists of what a stream does, and graphs: lists that were captured, instantiated and launched. */
#include <stdlib.h>
#include <string.h>

#include "emu/driver_inner.h"

enum { INSTANTIATE_FLAGS = 1 | 2 | 4 | 8 }; /* CUgraphInstantiate_flags */

static void free_nodes(driver_node *nodes, size_t count) {
    for (size_t i = 0; i < count; i++)
        free(nodes[i].params);
}

void emu_driver_list_free(node_list *l) {
    free_nodes(l->nodes, l->count);
    free(l->nodes);
    *l = (node_list){0};
}

bool emu_driver_list_append(node_list *l, const driver_node *nodes, size_t count) {
    if (count > l->room - l->count) {
        size_t room = 2 * l->count + count;
        driver_node *grown = realloc(l->nodes, room * sizeof *grown);
        if (!grown)
            return false;
        l->nodes = grown;
        l->room = room;
    }
    for (size_t i = 0; i < count; i++) {
        driver_node *n = &l->nodes[l->count + i];
        *n = nodes[i];
        if (n->params) {
            n->params = malloc(n->param_bytes + 1);
            if (!n->params) {
                free_nodes(l->nodes + l->count, i);
                return false;
            }
            memcpy(n->params, nodes[i].params, n->param_bytes);
        }
    }
    l->count += count;
    return true;
}

int emu_driver_run(driver_context *c, const driver_node *nodes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (c->pending) /* the device has stopped, and nobody knows yet */
            return CU_SUCCESS;
        int result =
            nodes[i].kind == NODE_KERNEL ? emu_driver_run_kernel(c, &nodes[i]) : emu_driver_run_copy(c, &nodes[i]);
        if (result)
            return result;
    }
    return CU_SUCCESS;
}

static int instantiate(driver_context *c, void **executable, const driver_graph *g) {
    driver_graph *x = emu_driver_make(KIND_EXECUTABLE, c->ordinal, sizeof *x);
    if (!x)
        return CU_OUT_OF_MEMORY;
    if (!emu_driver_list_append(&x->list, g->list.nodes, g->list.count)) {
        emu_driver_drop(&x->object);
        return CU_OUT_OF_MEMORY;
    }
    *executable = (void *)x->object.handle;
    return CU_SUCCESS;
}

int emu_cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuGraphInstantiateWithFlags, NEED_CONTEXT, &c);
    const driver_graph *g = result ? NULL : emu_driver_find(graph, KIND_GRAPH, c);
    if (!result && (!executable || flags & ~(unsigned long long)INSTANTIATE_FLAGS))
        result = CU_INVALID_VALUE;
    if (!result && !g)
        result = CU_INVALID_HANDLE;
    if (!result)
        result = instantiate(c, executable, g);
    return emu_driver_leave(result);
}

int emu_cuGraphLaunch(void *executable, void *stream) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuGraphLaunch, NEED_CONTEXT, &c);
    const driver_graph *x = result ? NULL : emu_driver_find(executable, KIND_EXECUTABLE, c);
    if (!result && !x)
        result = CU_INVALID_HANDLE;
    if (!result)
        result = emu_driver_submit(c, stream, x->list.nodes, x->list.count);
    return emu_driver_leave(result);
}

/* Graphs end without a current context. */
static int destroy(driver_function f, driver_kind kind, void *handle) {
    int result = emu_driver_enter(f, NEED_INIT, NULL);
    driver_object *o = result ? NULL : emu_driver_find(handle, kind, NULL);
    if (!result && !o)
        result = CU_INVALID_HANDLE;
    if (!result)
        emu_driver_drop(o);
    return emu_driver_leave(result);
}

int emu_cuGraphExecDestroy(void *executable) {
    return destroy(DRIVER_cuGraphExecDestroy, KIND_EXECUTABLE, executable);
}

int emu_cuGraphDestroy(void *graph) {
    return destroy(DRIVER_cuGraphDestroy, KIND_GRAPH, graph);
}
