/* Python's objects to extractions and back. */

#include "extraction_binding.h"

#include "extraction.h"
#include "memory_binding.h"
#include "threads.h"

/* Text up to here is read in some microseconds: giving the GIL away and taking it back would take as
   long. */
#define MAX_GIL_BYTES 16384

/* What an array is made of: numpy.ndarray, and the dtypes of int64 and float64. */
static PyObject *ndarray, *int64, *float64;

/* ---- Results -------------------------------------------------------------------------------- */

/* Return the array as one of numpy, which takes over its memory. */
static PyObject *
to_numpy(Array *array)
{
    PyObject *memory = wrap_memory(array->numbers, 8 * array->count);
    array->numbers = NULL;
    PyObject *shape = PyTuple_New(array->rank), *made = NULL;
    if (memory != NULL && shape != NULL) {
        for (int axis = 0; axis < array->rank; axis++) {
            PyObject *size = PyLong_FromSize_t(array->shape[axis]);
            if (size == NULL || PyTuple_SetItem(shape, axis, size) < 0) {
                goto done;
            }
        }
        PyObject *dtype = array->floats ? float64 : int64;
        made = PyObject_CallFunctionObjArgs(ndarray, shape, dtype, memory, NULL);
    }
done:
    Py_XDECREF(memory);
    Py_XDECREF(shape);
    return made;
}

/* Return the skeleton and the list of arrays, or None; ends the extraction. */
static PyObject *
to_result(Extraction *extraction, bool well, Array *arrays)
{
    if (!well) {
        end_extraction(extraction);
        Py_RETURN_NONE;
    }
    PyObject *list = PyList_New(0), *result = NULL;
    size_t length = write_skeleton(extraction, NULL);
    PyObject *text = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    if (list == NULL || text == NULL) {
        goto done;
    }
    write_skeleton(extraction, PyBytes_AsString(text));
    for (Array *each = arrays; each != NULL; each = each->next) {
        PyObject *array = to_numpy(each);
        PyObject *item =
            array == NULL
                ? NULL
                : Py_BuildValue("(iONdO)", each->operand, each->in_object ? Py_True : Py_False,
                                array, each->largest, each->doubtful ? Py_True : Py_False);
        int failed = item == NULL ? -1 : PyList_Append(list, item);
        Py_XDECREF(item);
        if (failed < 0) {
            goto done;
        }
    }
    result = PyTuple_Pack(2, text, list);
done:
    end_extraction(extraction);
    Py_XDECREF(list);
    Py_XDECREF(text);
    return result;
}

/* ---- Reading ------------------------------------------------------------------------------- */

/* Fill a request from arguments that start with the buffer; its view has to be released. */
static int
parse_request(PyObject *const *arguments, Py_ssize_t count, Request *request, Py_buffer *view)
{
    char *names, *list_field;
    Py_ssize_t names_length, list_length;
    if (count != 6) {
        PyErr_Format(PyExc_TypeError, "%zd arguments, not 6", count);
        return -1;
    }
    if (PyBytes_AsStringAndSize(arguments[1], &names, &names_length) < 0 ||
        PyBytes_AsStringAndSize(arguments[2], &list_field, &list_length) < 0) {
        return -1;
    }
    *request = (Request){.names = names,
                         .names_length = (size_t)names_length,
                         .list_field = list_field,
                         .list_length = (size_t)list_length,
                         .max_numbers = PyLong_AsSize_t(arguments[3]),
                         .piece_bytes = PyLong_AsSize_t(arguments[4]),
                         .threaded = PyObject_IsTrue(arguments[5]) == 1};
    if (!PyErr_Occurred() && request->piece_bytes == 0) {
        PyErr_SetString(PyExc_ValueError, "pieces of 0 bytes");
    }
    if (PyErr_Occurred() || PyObject_GetBuffer(arguments[0], view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    request->text = view->buf;
    request->length = (size_t)view->len;
    return 0;
}

static PyObject *
extract(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Request request;
    Py_buffer view;
    if (parse_request(arguments, count, &request, &view) < 0) {
        return NULL;
    }
    Extraction *extraction = begin_extraction(&request);
    Array *arrays = NULL;
    PyObject *result = NULL;
    if (extraction == NULL) {
        PyErr_NoMemory();
    } else {
        bool well;
        if (request.length > MAX_GIL_BYTES) {
            Py_BEGIN_ALLOW_THREADS
            well = finish_extraction(extraction, &arrays);
            Py_END_ALLOW_THREADS
        } else {
            well = finish_extraction(extraction, &arrays);
        }
        result = to_result(extraction, well, arrays);
    }
    PyBuffer_Release(&view);
    return result;
}

typedef struct {
    PyObject_HEAD
    Extraction *extraction;
    /* Of the text and of the names, which stay. */
    Py_buffer view;
    PyObject *arguments;
} Reading;

static void
release_text(Reading *reading)
{
    PyBuffer_Release(&reading->view);
    Py_CLEAR(reading->arguments);
}

static PyObject *
new_reading(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    Request request;
    Py_buffer view;
    PyObject *given[6] = {NULL};
    Py_ssize_t count = PyTuple_Size(arguments);
    for (Py_ssize_t i = 0; i < count && i < 6; i++) {
        given[i] = PyTuple_GetItem(arguments, i);
    }
    if (parse_request(given, count, &request, &view) < 0) {
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Reading *reading = (Reading *)allocate(type, 0);
    if (reading == NULL) {
        PyBuffer_Release(&view);
        return NULL;
    }
    reading->view = view;
    reading->arguments = Py_NewRef(arguments);
    reading->extraction = begin_extraction(&request);
    if (reading->extraction == NULL) {
        release_text(reading);
        Py_DECREF(reading);
        return PyErr_NoMemory();
    }
    return (PyObject *)reading;
}

/* Stop reading, and let go of the text, unless `finish` does that. */
static void
stop_reading(Reading *reading)
{
    Extraction *extraction = reading->extraction;
    if (extraction == NULL) {
        return;
    }
    reading->extraction = NULL;
    Py_BEGIN_ALLOW_THREADS
    end_extraction(extraction);
    Py_END_ALLOW_THREADS
    release_text(reading);
}

static void
free_reading(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    stop_reading((Reading *)self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyObject *
feed(PyObject *self, PyObject *argument)
{
    Reading *reading = (Reading *)self;
    size_t end = PyLong_AsSize_t(argument);
    if (end == (size_t)-1 && PyErr_Occurred()) {
        return NULL;
    }
    if (reading->extraction == NULL || end > (size_t)reading->view.len) {
        PyErr_SetString(PyExc_ValueError, "there is no text up to there");
        return NULL;
    }
    feed_extraction(reading->extraction, end);
    Py_RETURN_NONE;
}

static PyObject *
finish(PyObject *self, PyObject *unused)
{
    Reading *reading = (Reading *)self;
    Extraction *extraction = reading->extraction;
    if (extraction == NULL) {
        PyErr_SetString(PyExc_ValueError, "it is over");
        return NULL;
    }
    Array *arrays;
    bool well;
    reading->extraction = NULL;
    Py_BEGIN_ALLOW_THREADS
    well = finish_extraction(extraction, &arrays);
    Py_END_ALLOW_THREADS
    PyObject *result = to_result(extraction, well, arrays);
    release_text(reading);
    return result;
}

static PyObject *
stop(PyObject *self, PyObject *unused)
{
    stop_reading((Reading *)self);
    Py_RETURN_NONE;
}

static PyMethodDef reading_methods[] = {
    {"feed", feed, METH_O, "Read on: the text is there up to a position."},
    {"finish", finish, METH_NOARGS, "Wait until the whole text is read; return what `extract` does."},
    {"stop", stop, METH_NOARGS, "Stop reading, and let go of the text."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reading_slots[] = {
    {Py_tp_new, new_reading},
    {Py_tp_dealloc, free_reading},
    {Py_tp_methods, reading_methods},
    {Py_tp_doc, "The reading of a text that is still arriving; arguments as of `extract`."},
    {0, NULL},
};

static PyType_Spec reading_spec = {
    .name = "service.codecs.number_text._compiled.Reading",
    .basicsize = sizeof(Reading),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = reading_slots,
};

/* ---- Module -------------------------------------------------------------------------------- */

static PyObject *
set_count(PyObject *module, PyObject *argument)
{
    long count = PyLong_AsLong(argument);
    if (count == -1 && PyErr_Occurred()) {
        return NULL;
    }
    set_threads((int)count);
    Py_RETURN_NONE;
}

static PyObject *
set_arrays(PyObject *module, PyObject *arguments)
{
    PyObject *type, *integer, *real;
    if (!PyArg_ParseTuple(arguments, "OOO", &type, &integer, &real)) {
        return NULL;
    }
    ndarray = Py_NewRef(type);
    int64 = Py_NewRef(integer);
    float64 = Py_NewRef(real);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"extract", (PyCFunction)(void (*)(void))extract, METH_FASTCALL,
     "extract(text, names, list_field, max_numbers, piece_bytes, threaded)"},
    {"set_threads", set_count, METH_O, "Have so many threads that read and write."},
    {"set_arrays", set_arrays, METH_VARARGS, "Take numpy.ndarray, int64 and float64."},
    {NULL, NULL, 0, NULL},
};

int
add_extraction(PyObject *module)
{
    PyObject *reading = PyType_FromSpec(&reading_spec);
    if (reading == NULL || PyModule_AddType(module, (PyTypeObject *)reading) < 0) {
        Py_XDECREF(reading);
        return -1;
    }
    Py_DECREF(reading);
    return PyModule_AddFunctions(module, methods);
}
