/* Functions and types of the extension module that read. */

#ifndef EXTRACTION_BINDING_H
#define EXTRACTION_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Add them to the module; -1 with an exception set. */
int add_extraction(PyObject *module);

#endif
