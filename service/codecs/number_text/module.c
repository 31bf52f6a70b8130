/* The extension module: Python's objects to C and back. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "extraction_binding.h"
#include "memory_binding.h"
#include "powers.h"
#include "writer.h"
#include "writer_binding.h"

Power powers_of_ten[MAX_POWER - MIN_POWER + 1];

static PyObject *
set_powers(PyObject *self, PyObject *table)
{
    Py_buffer view;
    if (PyObject_GetBuffer(table, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (view.len != sizeof powers_of_ten) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_ValueError, "the table has another size");
        return NULL;
    }
    memcpy(powers_of_ten, view.buf, sizeof powers_of_ten);
    prepare_writer();
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"set_powers", set_powers, METH_O, "Take the table of service.codecs.number_text.powers."},
    {"allow_avx512", python_allow_avx512, METH_O, "Allow AVX-512; return whether it is used."},
    {"text_bound", python_text_bound, METH_VARARGS, "Return the room that `write_into` needs."},
    {"write", python_write, METH_VARARGS, "Return elements of an array as JSON text."},
    {"write_into", python_write_into, METH_VARARGS, "Write elements as text; return its end."},
    {"write_pieces", python_write_pieces, METH_VARARGS, "Return an array as pieces of text."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, add_memory},
    {Py_mod_exec, add_extraction},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_compiled",
    .m_doc = "Text of numbers to arrays and back.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__compiled(void)
{
    return PyModuleDef_Init(&definition);
}
