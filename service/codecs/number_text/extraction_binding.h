/* Functions and types of the extension module that read. */

#ifndef EXTRACTION_BINDING_H
#define EXTRACTION_BINDING_H

#include <Python.h>

/* Add them to the module; -1 with an exception set. */
int add_extraction(PyObject *module);

#endif
