/* Digits of integers, and their layout as JSON text.

   The digits of numbers at random have all lengths, so that a branch on a length would be predicted
   wrongly every other time, at the price of everything else here. Hence no branch depends on one:
   eight or sixteen bytes are always stored, and the length is computed beside. */

#ifndef DIGITS_H
#define DIGITS_H

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "shortest.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the first digit is the least byte, which this host would store last"
#endif

#define ZEROS 0x3030303030303030ULL

/* Return the eight digits of a number below 10^8 as bytes, the first one least.
   Each step splits all parts at once: two of four digits, four of two, eight of one. The factors
   are the inverses of 10000, 100 and 10 in fixed point, exact for parts of this size. */
static inline uint64_t
eight_digits(uint64_t number)
{
    uint64_t upper = number * 3518437209 >> 45;
    uint64_t parts = (number << 32) - upper * ((10000ULL << 32) - 1);
    upper = (parts * 5243 >> 19) & 0x0000007f0000007fULL;
    parts = (parts << 16) - upper * ((100 << 16) - 1);
    upper = (parts * 103 >> 10) & 0x000f000f000f000fULL;
    return (parts << 8) - upper * ((10 << 8) - 1);
}

static inline char *
store_digits(uint64_t digits, char *out)
{
    digits |= ZEROS;
    memcpy(out, &digits, 8);
    return out + 8;
}

/* Write a number below 10^8 without leading zeros. */
static inline char *
write_short(uint64_t number, char *out)
{
    uint64_t digits = eight_digits(number);
    /* At least the last digit stays. */
    int leading = __builtin_ctzll(digits | 1ULL << 56) & ~7;
    store_digits(digits >> leading, out);
    return out + 8 - leading / 8;
}

static inline char *
write_unsigned(uint64_t number, char *out)
{
    const uint64_t e8 = 100000000;
    if (LIKELY(number < e8)) {
        return write_short(number, out);
    }
    uint64_t upper = number / e8, lower = number % e8;
    if (upper < e8) {
        out = write_short(upper, out);
    } else {
        out = write_short(upper / e8, out);
        out = store_digits(eight_digits(upper % e8), out);
    }
    return store_digits(eight_digits(lower), out);
}

/* The sixteen digits after the first one of a decimal: by AVX-512 where the processor has it, by
   SSE2 where it is an x86-64, and else in plain C. */
#ifdef __SSE2__

typedef __m128i Sixteen;

#define AVX512_DIGITS __attribute__((target("avx512f,avx512bw,avx512vl,avx512ifma,avx512vbmi")))

static inline bool
has_avx512_digits(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
           && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512ifma")
           && __builtin_cpu_supports("avx512vbmi");
}

/* Digit j of a number below 10^8 is the integer part of ten times the fraction of number /
   10^(8 - j). Eight inverses of powers, with 52 bits behind the point, give all fractions by one
   product, and ten gives all digits. (As Lemire and Mula show for AVX-512 IFMA.) The inverses are
   rounded up, which is too much in the first, where the fractions are closest: that one is rounded down, and
   the greatest error, 10^8 times what was cut off, is added instead. */
static inline AVX512_DIGITS Sixteen
sixteen_digits_avx512(uint64_t upper, uint64_t lower)
{
    const __m512i inverses = _mm512_setr_epi64(
        0x0000002af31dc, 0x000001ad7f29b, 0x000010c6f7a0c, 0x0000a7c5ac472,
        0x00068db8bac72, 0x004189374bc6b, 0x028f5c28f5c29, 0x199999999999a);
    const __m512i begin = _mm512_setr_epi64(0x1a1a400, 0, 0, 0, 0, 0, 0, 0);
    const __m512i ten = _mm512_set1_epi64(10), zero = _mm512_setzero_si512();
    const __m512i every_eighth = _mm512_castsi128_si512(
        _mm_setr_epi8(0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120));
    __m512i fractions, first, last;
    fractions = _mm512_madd52lo_epu64(begin, _mm512_set1_epi64((long long)upper), inverses);
    first = _mm512_madd52hi_epu64(zero, ten, fractions);
    fractions = _mm512_madd52lo_epu64(begin, _mm512_set1_epi64((long long)lower), inverses);
    last = _mm512_madd52hi_epu64(zero, ten, fractions);
    return _mm512_castsi512_si128(_mm512_permutex2var_epi8(first, every_eighth, last));
}

/* As eight_digits, for two numbers. */
static inline Sixteen
sixteen_digits(uint64_t upper, uint64_t lower)
{
    __m128i numbers = _mm_set_epi64x((long long)lower, (long long)upper);
    __m128i high = _mm_srli_epi64(_mm_mul_epu32(numbers, _mm_set1_epi64x(3518437209)), 45);
    __m128i low = _mm_sub_epi64(numbers, _mm_mul_epu32(high, _mm_set1_epi64x(10000)));
    __m128i parts = _mm_or_si128(high, _mm_slli_epi64(low, 32));
    high = _mm_srli_epi16(_mm_mulhi_epu16(parts, _mm_set1_epi16(5243)), 3);
    low = _mm_sub_epi32(parts, _mm_madd_epi16(high, _mm_set1_epi32(100)));
    parts = _mm_or_si128(high, _mm_slli_epi32(low, 16));
    high = _mm_mulhi_epu16(parts, _mm_set1_epi16(6554));
    return _mm_sub_epi16(_mm_slli_epi16(parts, 8),
                         _mm_mullo_epi16(high, _mm_set1_epi16((10 << 8) - 1)));
}

/* Return the length without trailing zeros. */
static inline int
without_trailing_zeros(Sixteen digits)
{
    /* Signed bytes: all but 0 become negative. */
    unsigned nonzero = (unsigned)_mm_movemask_epi8(_mm_add_epi8(digits, _mm_set1_epi8(127)));
    /* Bit 0 stands for an end before the first of them. */
    return 31 - __builtin_clz(2 * nonzero + 1);
}

static inline void
store_sixteen(char *out, Sixteen text)
{
    _mm_storeu_si128((__m128i *)(void *)out, text);
}

/* Sixteen bytes from 16 - `count` on have the first `count` set, and the point behind them. */
static const unsigned char FIRST[48] = {
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
static const unsigned char POINT[48] = {
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    '.', 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};

/* Write sixteen digits with a point after `count` of them; no point where `count` is 16. */
static inline void
write_around_point(Sixteen digits, int64_t count, char *out)
{
    const __m128i zeros = _mm_set1_epi8('0');
    __m128i first = _mm_loadu_si128((const __m128i *)(const void *)(FIRST + 16 - count));
    __m128i point = _mm_loadu_si128((const __m128i *)(const void *)(POINT + 16 - count));
    __m128i moved = _mm_slli_si128(digits, 1); /* behind the point */
    __m128i mixed = _mm_or_si128(_mm_and_si128(first, digits), _mm_andnot_si128(first, moved));
    store_sixteen(out + 1, _mm_or_si128(digits, zeros)); /* for the last digit */
    /* A point is less than a digit. */
    store_sixteen(out, _mm_min_epu8(_mm_or_si128(mixed, zeros), point));
}

#else

typedef struct {
    uint64_t upper, lower;
} Sixteen;

static inline Sixteen
sixteen_digits(uint64_t upper, uint64_t lower)
{
    return (Sixteen){eight_digits(upper), eight_digits(lower)};
}

static inline int
without_trailing_zeros(Sixteen digits)
{
    if (digits.lower) {
        return 16 - __builtin_clzll(digits.lower) / 8;
    }
    return digits.upper ? 8 - __builtin_clzll(digits.upper) / 8 : 0;
}

static inline void
write_around_point(Sixteen digits, int64_t count, char *out)
{
    char text[16];
    store_digits(digits.upper, text);
    store_digits(digits.lower, text + 8);
    memcpy(out + 1, text, 16);
    memcpy(out, text, (size_t)count);
    if (count < 16) {
        out[count] = '.';
    }
}

#endif

/* The digits of a number as bytes, without trailing zeros. */
typedef struct {
    Sixteen behind_first;
    int64_t count; /* of those behind the first one */
    uint64_t first;
} Digits;

/* Write d.ddde+x; no point without digits behind it. */
static char *
write_scientific(const Digits *digits, int64_t exponent, char *out)
{
    *out = (char)('0' + digits->first);
    write_around_point(digits->behind_first, 0, out + 1);
    out += digits->count ? digits->count + 2 : 1;
    *out++ = 'e';
    *out++ = exponent < 0 ? '-' : '+';
    return write_short((uint64_t)(exponent < 0 ? -exponent : exponent), out);
}

/* Write a number with the point in its place, for exponents from -6 to 15: below 1, zeros come
   first; from 10 on, some of the digits come before the point. */
static inline char *
write_fixed(const Digits *digits, int64_t exponent, char *out)
{
    int64_t below = exponent >> 63; /* all bits set below 1, none from 1 on */
    memcpy(out, "0.000000", 8);
    out += (1 - exponent) & below;
    *out++ = (char)('0' + digits->first);
    write_around_point(digits->behind_first, (exponent & ~below) | (16 & below), out);
    int64_t least = exponent + 1; /* one digit after the point */
    return out + 1 + below + (digits->count > least ? digits->count : least);
}

#endif
