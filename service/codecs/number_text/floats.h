/* Floating-point numbers as seventeen digits and an exponent, whatever their kind. */

#ifndef FLOATS_H
#define FLOATS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "shortest.h"

/* A number of an array: its decimal has 17 digits, or 0; `exponent` is that of the first digit. */
typedef struct {
    uint64_t digits;
    int64_t exponent;
    uint64_t negative; /* 0 or 1 */
} Number;

#define DIGITS 17
#define LEAST 10000000000000000 /* of 17 digits */
#define E8 100000000
/* Instead of an exponent. */
#define NOT_FINITE INT64_MAX

/* What the bits of a number say. */
typedef struct {
    uint64_t fraction, implied; /* the bit above the fraction, unless it is subnormal */
    int64_t biased, most;       /* the exponent, and that of NaN and infinities */
    int64_t q;
    uint64_t negative;
} Parts;

/* Return a number that `shortest_fast` does not know; not 0. */
static Number __attribute__((noinline))
rare_number(Parts parts)
{
    if (parts.biased == parts.most) {
        return (Number){parts.fraction == 0, NOT_FINITE, parts.negative};
    }
    if (parts.biased == 0) {
        parts.implied = 0;
        parts.q++;
    }
    bool uneven = parts.fraction == 0 && parts.biased > 1;
    Decimal decimal = shortest_exact(parts.implied | parts.fraction, parts.q, uneven);
    while (decimal.digits < LEAST) {
        decimal.digits *= 10;
        decimal.exponent--;
    }
    return (Number){decimal.digits, decimal.exponent + DIGITS - 1, parts.negative};
}

static inline bool
is_rare(Parts parts)
{
    return parts.fraction == 0 || (uint64_t)parts.biased - 1 >= (uint64_t)parts.most - 1;
}

static inline Number
number_of_float64(uint64_t bits)
{
    const uint64_t implied = 1ULL << 52;
    int64_t biased = bits >> 52 & 0x7ff;
    Parts parts = {bits & (implied - 1), implied, biased, 0x7ff, biased - 1075, bits >> 63};
    Decimal decimal;
    if (UNLIKELY(is_rare(parts)
                 || !shortest_fast(parts.fraction | implied, parts.q, false, &decimal))) {
        return bits << 1 ? rare_number(parts) : (Number){0, 0, parts.negative};
    }
    /* 16 or 17 digits. */
    uint64_t shorter = 0 - (uint64_t)(decimal.digits < LEAST);
    decimal.digits += (9 * decimal.digits) & shorter;
    decimal.exponent += DIGITS - 1 + (int64_t)shorter;
    return (Number){decimal.digits, decimal.exponent, parts.negative};
}

static inline Number
number_of_float32(uint32_t bits)
{
    const uint32_t implied = 1U << 23;
    int64_t biased = bits >> 23 & 0xff;
    Parts parts = {bits & (implied - 1), implied, biased, 0xff, biased - 150, bits >> 31};
    Decimal decimal;
    if (UNLIKELY(is_rare(parts)
                 || !shortest_fast(parts.fraction | implied, parts.q, true, &decimal))) {
        return bits << 1 ? rare_number(parts) : (Number){0, 0, parts.negative};
    }
    /* 7 to 9 digits. */
    static const uint64_t FACTORS[] = {E8, 10ULL * E8, 100ULL * E8};
    int missing = (decimal.digits < 100000000) + (decimal.digits < 10000000);
    decimal.digits *= FACTORS[missing];
    return (Number){decimal.digits, decimal.exponent + 8 - missing, parts.negative};
}

/* Return the bits of a float16 as a float32, which has room for all of them. */
static inline uint32_t
widen_float16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    if (rest >= 0x7c00) {
        return sign | 0x7f800000 | rest << 13;
    }
    if (rest >= 0x400) {
        return sign | ((rest << 13) + ((127 - 15) << 23));
    }
    float subnormal = (float)rest * 0x1p-24f;
    uint32_t bits;
    memcpy(&bits, &subnormal, sizeof bits);
    return sign | bits;
}

#endif
