/* The writer as functions of Python. */

#include "writer_binding.h"

#include <stdlib.h>

#include "memory_binding.h"
#include "write_pieces.h"
#include "writer.h"

/* Take the shape of an array, none of whose axes may be empty. */
static int
set_shape(Items *items, PyObject *shape)
{
    Py_ssize_t rank = PyTuple_Size(shape);
    if (rank < 1 || rank > MAX_RANK) {
        PyErr_Format(PyExc_ValueError, "an array of %zd axes, not 1 to %d", rank, MAX_RANK);
        return -1;
    }
    items->rank = (int)rank;
    size_t block = 1;
    for (int axis = 0; axis < items->rank; axis++) {
        Py_ssize_t length = PyLong_AsSsize_t(PyTuple_GetItem(shape, rank - 1 - axis));
        if (length < 1) {
            if (!PyErr_Occurred()) {
                PyErr_Format(PyExc_ValueError, "an axis of %zd elements, not 1 or more", length);
            }
            return -1;
        }
        if (block > (size_t)PY_SSIZE_T_MAX / (size_t)length) {
            PyErr_SetString(PyExc_ValueError, "a shape of more elements than memory can hold");
            return -1;
        }
        items->block[axis] = block *= (size_t)length;
    }
    return 0;
}

/* Check the kind and take the shape. */
static int
set_items(Items *items, int kind, PyObject *shape)
{
    if (kind < 0 || kind >= KINDS) {
        PyErr_Format(PyExc_ValueError, "kind %d of numbers, not 0 to %d", kind, KINDS - 1);
        return -1;
    }
    items->kind = (Kind)kind;
    return set_shape(items, shape);
}

static int
check_range(const Items *items, Py_ssize_t first, Py_ssize_t last)
{
    size_t count = items->block[items->rank - 1];
    if (first < 0 || last < first || (size_t)last > count) {
        PyErr_Format(PyExc_ValueError, "elements %zd to %zd of an array of %zu",
                     first, last, count);
        return -1;
    }
    return 0;
}

static int
check_length(const Items *items, Py_ssize_t length)
{
    size_t count = items->block[items->rank - 1], size = item_size(items->kind);
    if ((size_t)length % size != 0 || (size_t)length / size != count) {
        PyErr_Format(PyExc_ValueError, "a buffer of %zd bytes for %zu elements of %zu bytes",
                     length, count, size);
        return -1;
    }
    return 0;
}

static char *
write_without_gil(const Items *items, Py_ssize_t first, Py_ssize_t last, char *out)
{
    char *end;
    Py_BEGIN_ALLOW_THREADS
    end = write_items(items, (size_t)first, (size_t)last, out);
    Py_END_ALLOW_THREADS
    return end;
}

static PyObject *
write_to_bytes(const Items *items, Py_ssize_t first, Py_ssize_t last)
{
    /* The length is known afterwards, and the limited API shortens no bytes. */
    char *text = PyMem_Malloc(text_bound(items, (size_t)first, (size_t)last));
    if (text == NULL) {
        return PyErr_NoMemory();
    }
    char *end = write_without_gil(items, first, last, text);
    PyObject *bytes = PyBytes_FromStringAndSize(text, end - text);
    PyMem_Free(text);
    return bytes;
}

static PyObject *
write_to_buffer(
    const Items *items, Py_ssize_t first, Py_ssize_t last, const Py_buffer *out, Py_ssize_t at)
{
    size_t bound = text_bound(items, (size_t)first, (size_t)last);
    if (at < 0 || at > out->len || (size_t)(out->len - at) < bound) {
        PyErr_Format(PyExc_ValueError, "text of up to %zu bytes, at %zd of a buffer of %zd",
                     bound, at, out->len);
        return NULL;
    }
    char *end = write_without_gil(items, first, last, (char *)out->buf + at);
    return PyLong_FromSsize_t(end - (char *)out->buf);
}

PyObject *
python_allow_avx512(PyObject *self, PyObject *allowed)
{
    (void)self;
    int truth = PyObject_IsTrue(allowed);
    return truth < 0 ? NULL : PyBool_FromLong(allow_avx512(truth));
}

PyObject *
python_text_bound(PyObject *self, PyObject *arguments)
{
    (void)self;
    int kind;
    PyObject *shape;
    Py_ssize_t first, last;
    if (!PyArg_ParseTuple(arguments, "iO!nn:text_bound", &kind, &PyTuple_Type, &shape,
                          &first, &last)) {
        return NULL;
    }
    Items items = {.items = NULL};
    if (set_items(&items, kind, shape) < 0 || check_range(&items, first, last) < 0) {
        return NULL;
    }
    return PyLong_FromSize_t(text_bound(&items, (size_t)first, (size_t)last));
}

PyObject *
python_write(PyObject *self, PyObject *arguments)
{
    (void)self;
    Py_buffer view;
    int kind, quoted;
    PyObject *shape, *text = NULL;
    Py_ssize_t first, last;
    if (!PyArg_ParseTuple(arguments, "y*iO!nnp:write", &view, &kind, &PyTuple_Type, &shape,
                          &first, &last, &quoted)) {
        return NULL;
    }
    Items items = {.items = view.buf, .quoted = quoted};
    if (set_items(&items, kind, shape) == 0 && check_length(&items, view.len) == 0
        && check_range(&items, first, last) == 0) {
        text = write_to_bytes(&items, first, last);
    }
    PyBuffer_Release(&view);
    return text;
}

PyObject *
python_write_into(PyObject *self, PyObject *arguments)
{
    (void)self;
    Py_buffer view, out;
    int kind, quoted;
    PyObject *shape, *end = NULL;
    Py_ssize_t first, last, at;
    if (!PyArg_ParseTuple(arguments, "y*iO!nnpw*n:write_into", &view, &kind, &PyTuple_Type, &shape,
                          &first, &last, &quoted, &out, &at)) {
        return NULL;
    }
    Items items = {.items = view.buf, .quoted = quoted};
    if (set_items(&items, kind, shape) == 0 && check_length(&items, view.len) == 0
        && check_range(&items, first, last) == 0) {
        end = write_to_buffer(&items, first, last, &out, at);
    }
    PyBuffer_Release(&view);
    PyBuffer_Release(&out);
    return end;
}

/* Return the pieces as memoryviews, which own their texts. */
static PyObject *
wrap_pieces(TextPiece *pieces, size_t count)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; i < count; i++) {
        PyObject *memory = NULL, *view = NULL;
        if (list == NULL) {
            free(pieces[i].text);
        } else {
            memory = wrap_memory(pieces[i].text, pieces[i].length);
            view = memory == NULL ? NULL : PyMemoryView_FromObject(memory);
            if (view == NULL || PyList_Append(list, view) < 0) {
                Py_CLEAR(list);
            }
        }
        Py_XDECREF(memory);
        Py_XDECREF(view);
    }
    return list;
}

PyObject *
python_write_pieces(PyObject *self, PyObject *arguments)
{
    (void)self;
    Py_buffer view;
    int kind, quoted, threaded;
    PyObject *shape, *list = NULL;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(arguments, "y*iO!npp:write_pieces", &view, &kind, &PyTuple_Type, &shape,
                          &size, &quoted, &threaded)) {
        return NULL;
    }
    Items items = {.items = view.buf, .quoted = quoted};
    if (size < 1) {
        PyErr_Format(PyExc_ValueError, "pieces of %zd elements, not 1 or more", size);
    } else if (set_items(&items, kind, shape) == 0 && check_length(&items, view.len) == 0) {
        size_t count = count_pieces(&items, (size_t)size);
        TextPiece *pieces = PyMem_Calloc(count, sizeof *pieces);
        bool well = false;
        if (pieces != NULL) {
            Py_BEGIN_ALLOW_THREADS
            well = write_pieces(&items, (size_t)size, threaded, pieces);
            Py_END_ALLOW_THREADS
        }
        list = well ? wrap_pieces(pieces, count) : PyErr_NoMemory();
        PyMem_Free(pieces);
    }
    PyBuffer_Release(&view);
    return list;
}
