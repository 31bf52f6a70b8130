/* The arrays of numbers among the operands of a JSON request, read as the text arrives. */

#ifndef EXTRACTION_H
#define EXTRACTION_H

#include <stdbool.h>
#include <stddef.h>

#include "reader.h"

/* An array of numbers in the text. */
typedef struct Array {
    struct Array *next;
    /* Position of the operand among the names, or in the list; whether it is its key "data". */
    int operand;
    bool in_object;
    /* Its text, brackets included. */
    size_t begin, end;
    int rank;
    size_t shape[MAX_RANK];
    /* Its numbers: int64, or float64 if `floats`; to be freed. */
    void *numbers;
    size_t count;
    bool floats;
    /* The greatest magnitude, and whether one may be rounded to float32 in two ways. */
    double largest;
    bool doubtful;
} Array;

/* What is looked for, and how. */
typedef struct {
    const char *text;
    size_t length;
    /* Names of operands, each with a zero behind it; or, if there are none, the field that has the
       list of them. */
    const char *names;
    size_t names_length;
    const char *list_field;
    size_t list_length;
    size_t max_numbers;
    /* Text of an array is read in pieces of about this length, on threads if `threaded`. */
    size_t piece_bytes;
    bool threaded;
} Request;

typedef struct Extraction Extraction;

/* Begin; NULL if there is no memory. The text need not be there yet. */
Extraction *begin_extraction(const Request *request);

/* Read on: the text is there up to `end`. With threads this only wakes them. */
void feed_extraction(Extraction *extraction, size_t end);

/* Wait until the whole text is read, and return its arrays in their order.

   False if the text is not plain: its arrays are not rectangular, or it is malformed where it was
   looked at. Needs no GIL. */
bool finish_extraction(Extraction *extraction, Array **arrays);

/* Return the length of the text with `0` in place of each array, and write it unless `out` is
   NULL. */
size_t write_skeleton(const Extraction *extraction, char *out);

/* Stop, wait for threads that still read the text, and free everything. */
void end_extraction(Extraction *extraction);

#endif
