/* The text of a large array in pieces, which several threads write. */

#ifndef WRITE_PIECES_H
#define WRITE_PIECES_H

#include <stdbool.h>
#include <stddef.h>

#include "writer.h"

/* A piece of the text; `text` is to be freed. */
typedef struct {
    char *text;
    size_t length;
} TextPiece;

/* Return how many pieces of `size` elements there are. */
size_t count_pieces(const Items *items, size_t size);

/* Write them, on threads if `threaded`; false if there is no memory: then none has a text. */
bool write_pieces(const Items *items, size_t size, bool threaded, TextPiece *pieces);

#endif
