/* Memory that C has allocated, as a buffer of Python. */

#ifndef MEMORY_BINDING_H
#define MEMORY_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Make the type; -1 with an exception set. */
int add_memory(PyObject *module);

/* Return an object that owns `memory`, which is to be freed; NULL with an exception set. */
PyObject *wrap_memory(void *memory, size_t length);

#endif
