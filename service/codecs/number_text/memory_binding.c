/* Memory that C has allocated, as a buffer of Python. */

#include "memory_binding.h"

#include <stdlib.h>

typedef struct {
    PyObject_HEAD
    void *memory;
    Py_ssize_t length;
} Memory;

static PyObject *memory_type;

static void
free_memory(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    free(((Memory *)self)->memory);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static int
get_buffer(PyObject *self, Py_buffer *view, int flags)
{
    Memory *memory = (Memory *)self;
    return PyBuffer_FillInfo(view, self, memory->memory, memory->length, 0, flags);
}

static PyType_Slot slots[] = {
    {Py_tp_dealloc, free_memory},
    {Py_bf_getbuffer, get_buffer},
    {Py_tp_doc, "Memory of an array or of a text."},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "service.codecs.number_text._compiled.Memory",
    .basicsize = sizeof(Memory),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

int
add_memory(PyObject *module)
{
    (void)module;
    memory_type = PyType_FromSpec(&spec);
    return memory_type == NULL ? -1 : 0;
}

PyObject *
wrap_memory(void *memory, size_t length)
{
    PyTypeObject *type = (PyTypeObject *)memory_type;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *made = allocate(type, 0);
    if (made == NULL) {
        free(memory);
        return NULL;
    }
    ((Memory *)made)->memory = memory;
    ((Memory *)made)->length = (Py_ssize_t)length;
    return made;
}
