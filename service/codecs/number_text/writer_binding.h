/* The writer as functions of Python. */

#ifndef WRITER_BINDING_H
#define WRITER_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* allow_avx512(allowed) -> bool */
PyObject *python_allow_avx512(PyObject *self, PyObject *allowed);

/* text_bound(kind, shape, first, last) -> int */
PyObject *python_text_bound(PyObject *self, PyObject *arguments);

/* write(items, kind, shape, first, last, quoted) -> bytes */
PyObject *python_write(PyObject *self, PyObject *arguments);

/* write_into(items, kind, shape, first, last, quoted, out, at) -> int, where the text ends. It may
   store beyond that, up to text_bound. */
PyObject *python_write_into(PyObject *self, PyObject *arguments);

/* write_pieces(items, kind, shape, piece_items, quoted, threaded) -> list[memoryview] */
PyObject *python_write_pieces(PyObject *self, PyObject *arguments);

#endif
