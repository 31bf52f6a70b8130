/* Numbers of an array to JSON text, in the fewest digits that read back equal; float16 in those of
   float32. */

#ifndef WRITER_H
#define WRITER_H

#include <stdbool.h>
#include <stddef.h>

#include "rank.h"

typedef enum {
    FLOAT64, FLOAT32, FLOAT16, INT64, INT32, INT16, INT8, UINT8, BOOL8, KINDS
} Kind;

/* A row-major array. `block[j]` is the number of elements in its last j + 1 axes, so that
   `block[rank - 1]` is that of the array. None of its axes is empty. */
typedef struct {
    const void *items;
    Kind kind;
    bool quoted; /* integers as strings */
    int rank;
    size_t block[MAX_RANK];
} Items;

/* Derive what the writer needs from `powers_of_ten`, before anything is written. */
void prepare_writer(void);

/* Allow AVX-512, or forbid it so that a test reaches what other processors run. Return whether
   it is used. */
bool allow_avx512(bool allowed);

/* Return the bytes of an element. */
size_t item_size(Kind kind);

/* Return how many characters the elements from `first` to before `last` take at most. */
size_t text_bound(const Items *items, size_t first, size_t last);

/* Write these elements: a comma before each but the very first, and the brackets that open before
   them and close after them. The texts of consecutive ranges, joined, are that of the array.
   Return the end of the text. Touches no object of Python, and needs no GIL. */
char *write_items(const Items *items, size_t first, size_t last, char *out);

#endif
