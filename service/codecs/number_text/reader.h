/* JSON text of numbers to int64 or float64, strictly. */

#ifndef READER_H
#define READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rank.h"

/* Integers up to here are exact in a float64. */
#define MAX_EXACT ((uint64_t)1 << 53)

/* Positions in a piece where at least so many arrays end. They are an arithmetic progression, whose
   step is `gap`, or `irregular`. */
typedef struct {
    size_t first, last, count, gap;
    bool irregular;
} Ends;

/* A part of an array's text: whole numbers, with what stands between them.

   It is cut at commas. The brackets around the whole array are not part of it. */
typedef struct {
    /* Of the whole buffer: nothing is read outside. */
    const char *low, *high;
    const char *begin, *end;
    /* Position in the array of its first number, and how many they are. */
    size_t first, count;
    int rank;
    /* Size of the last axis; for rank 1 the greatest there is, as it has no rows. */
    size_t columns;
    /* Where the numbers go, 8 bytes each: int64, or float64 if `floats`. */
    void *out;
    bool floats;
    /* The greatest magnitude of an int64. */
    uint64_t largest;
    /* The greatest magnitude of a float64, as bits, and whether the text of one has to decide how it
       is rounded to float32: it is halfway between two of them, and its text is not. */
    uint64_t magnitude;
    bool doubtful;
    /* Brackets that it begins and ends with. */
    int opening, closing;
    /* Of level k, up to rank - 2: where k + 2 arrays or more end between two numbers. */
    Ends ends[];
} Piece;

/* Return whether JSON has the character as white space. */
static inline bool
is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Read the numbers of a piece; false if its text is anything else. Needs no GIL. */
bool read_piece(Piece *piece);

/* The same with the instructions of a processor, and with those that all have. */
bool read_piece_avx2(Piece *piece);
bool read_piece_portable(Piece *piece);
size_t find_bracket_avx2(const char *text, size_t length, size_t *commas);
size_t find_bracket_portable(const char *text, size_t length, size_t *commas);

/* Turn the int64 numbers of a piece into float64; false if one is not exact. */
bool make_floats(Piece *piece);

/* Return the position of the first closing bracket in a text, or its length, and count the commas
   before that. */
size_t find_bracket(const char *text, size_t length, size_t *commas);

#endif
