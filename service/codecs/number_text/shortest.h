/* The shortest decimal that reads back as a given binary number, and the closest among those.

   A number is c * 2^q; every real number nearer to it than to its neighbours reads back as it. This
   interval reaches half a gap to each side, its ends included where c is even. Let 10^k be the
   greatest power of ten that is not wider than the interval. Then the interval holds a multiple of
   10^k, at most one multiple of 10^(k+1), and the answer is the latter where it exists (with its
   trailing zeros left out) and otherwise the multiple of 10^k closest to the number. So far this
   is Schubfach: Raffaello Giulietti, "The Schubfach way to render doubles", 2020. Alexander Bolz's
   collection Drachennest has a version in C++.

   `shortest_exact` does that with three products, one for each end and one for the number, rounded
   to odd so that comparisons hold though bits are lost. `shortest_fast` takes one product, as
   Yaoyuan Guo's yyjson does: of the ends it knows only the distance, half a gap, which is
   the power itself. Where a comparison is too close to decide by this, it leaves the number to
   `shortest_exact`. Of random numbers that is none; it happens for ties, as in 2^50 + 0.25. */

#ifndef SHORTEST_H
#define SHORTEST_H

#include <stdbool.h>
#include <stdint.h>

#include "powers.h"

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

__extension__ typedef unsigned __int128 Wide;

/* digits * 10^exponent */
typedef struct {
    uint64_t digits;
    int64_t exponent;
} Decimal;

/* Rounded down; right for all exponents of doubles. */
static inline int64_t
log10_of_power_of_two(int64_t exponent)
{
    return (exponent * 1262611) >> 22;
}

static inline int64_t
log10_of_three_quarters(int64_t exponent)
{
    return (exponent * 1262611 - 524031) >> 22;
}

static inline int64_t
log2_of_power_of_ten(int64_t exponent)
{
    return (exponent * 1741647) >> 19;
}

/* Return the integer part of scaled * power / 2^128; its last bit is set if a fraction is left.
   A fraction of one unit is the error of a power that was rounded up: of all doubles, no end of an
   interval is closer than 2^-63.6 to a multiple of 10^k unless it is one, and no number to the
   middle of two. That is four such units. */
static inline uint64_t
multiply_to_odd(Power power, uint64_t scaled)
{
    Wide low = (Wide)power.low * scaled;
    Wide product = (Wide)power.high * scaled + (uint64_t)(low >> 64);
    return (uint64_t)(product >> 64) | ((uint64_t)product > 1);
}

/* Return the shortest decimal of c * 2^q. `uneven`: the gap below is half the gap above. */
static Decimal
shortest_exact(uint64_t c, int64_t q, bool uneven)
{
    int64_t k = uneven ? log10_of_three_quarters(q) : log10_of_power_of_two(q);
    int64_t shift = q + log2_of_power_of_ten(-k) + 1;
    Power power = powers_of_ten[-k - MIN_POWER];
    /* In quarters of 10^k. */
    uint64_t number = multiply_to_odd(power, (4 * c) << shift);
    uint64_t lower = multiply_to_odd(power, (4 * c - 2 + uneven) << shift) + (c & 1);
    uint64_t upper = multiply_to_odd(power, (4 * c + 2) << shift) - (c & 1);

    uint64_t whole = number / 4, tens = whole / 10;
    bool down = tens > 0 && lower <= 40 * tens, up = tens > 0 && 40 * tens + 40 <= upper;
    if (down != up) {
        return (Decimal){tens + up, k + 1};
    }
    down = lower <= 4 * whole;
    up = 4 * whole + 4 <= upper;
    if (down == up) {
        up = number > 4 * whole + 2 - (whole & 1);
    }
    return (Decimal){whole + up, k};
}

/* 2^q / 10^k for the gap 2^q of each double and its k, from 1 to below 10: in units of 2^-124,
   rounded up. A table beside that of the powers saves the search for k and a shift by it. */
#define MIN_GAP (-1074)
#define MAX_GAP 971

static Power gaps[MAX_GAP - MIN_GAP + 1];

static void
prepare_gaps(void)
{
    for (int64_t q = MIN_GAP; q <= MAX_GAP; q++) {
        int64_t k = log10_of_power_of_two(q);
        Power power = powers_of_ten[-k - MIN_POWER];
        int64_t excess = 3 - q - log2_of_power_of_ten(-k); /* bits: 0 to 3 */
        Wide wide = (Wide)power.high << 64 | power.low, cut = ((Wide)1 << excess) - 1;
        Wide gap = (wide >> excess) + ((wide & cut) != 0);
        gaps[q - MIN_GAP] = (Power){(uint64_t)(gap >> 64), (uint64_t)gap};
    }
}

/* Return false where the digits are left to `shortest_exact`. `c` is in the upper half of its range
   (no subnormal), and not the least of it (an uneven interval). `narrow`, for c below 2^24: half of
   the gap's digits are enough. */
static inline bool
shortest_fast(uint64_t c, int64_t q, bool narrow, Decimal *decimal)
{
    const Power *gap = &gaps[q - MIN_GAP];
    Wide product = (Wide)gap->high * (c << 4);
    uint64_t whole = (uint64_t)(product >> 64), fraction = (uint64_t)product;
    if (!narrow) {
        uint64_t rest = (uint64_t)((Wide)gap->low * (c << 4) >> 64);
        fraction += rest;
        whole += fraction < rest;
    }

    /* Distances in units of 10^k / 2^60: to the multiple of ten below, to that above, and to the
       ends of the interval. */
    const uint64_t ten = 10ULL << 60;
    uint64_t last = whole % 10;
    uint64_t below = last << 60 | fraction >> 4, above = ten - below;
    uint64_t half_gap = gap->high >> 1;
    const uint64_t error = narrow ? 1ULL << 25 : 2;
    const uint64_t half = 1ULL << 63;
    if (UNLIKELY(below - half_gap + error <= 2 * error || above - half_gap + error <= 2 * error
                 || fraction - half + 16 * error <= 32 * error)) {
        return false;
    }
    uint64_t digits = whole + (fraction >> 63), tens = whole - last;
    digits = below < half_gap ? tens : digits;
    digits = above < half_gap ? tens + 10 : digits;
    *decimal = (Decimal){digits, log10_of_power_of_two(q)};
    return true;
}

#endif
