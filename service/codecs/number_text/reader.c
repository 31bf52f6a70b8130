/* JSON text of numbers to int64 or float64.

   A scan from left to right waits for each number's end before it can begin with the next. So the
   commas are found first, 64 bytes at a time: then the numbers do not depend on each other, and the
   processor reads several at once.

   A number of the usual form (at most 4 digits before the point, 19 in all) is read without a loop:
   the 32 bytes at its begin tell where its digits end; its last 16 digits are one vector, the ones
   before them one word, and multiply-adds join neighbours to numbers of 2, 4, 8 digits. The decimal
   number w * 10^q is then rounded to float64 by the method of Eisel and Lemire (D. Lemire, "Number
   parsing at a gigabyte per second", 2021; N. Mushtak and D. Lemire, "Fast number parsing without
   fallback", 2023): one product with a 128-bit power of ten, or two. Of more than 19 digits the
   first 19 decide, if w and w + 1 are rounded to the same; if not, strtod does.

   Any other form is read by character. */

#include "reader.h"

#include <stdlib.h>
#include <string.h>

#include "powers.h"

#if defined(READER_AVX2)
#include <immintrin.h>
#define VARIANT(name) name##_avx2
#else
#define VARIANT(name) name##_portable
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#endif

/* Bytes that the quick way reads from the begin of a number, and before its end. */
#define AHEAD 32
#define BEHIND 16
#define INDEXED_BYTES 4096
#define LONGEST_DOUBTFUL 1100
#define INLINE static inline __attribute__((always_inline))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)

static const uint64_t WHOLE_POWERS[] = {1u,
                                        10u,
                                        100u,
                                        1000u,
                                        10000u,
                                        100000u,
                                        1000000u,
                                        10000000u,
                                        100000000u,
                                        1000000000u,
                                        10000000000u,
                                        100000000000u,
                                        1000000000000u,
                                        10000000000000u,
                                        100000000000000u,
                                        1000000000000000u,
                                        10000000000000000u};

/* Exponents of float64 for 10^0 to 10^-19, of a number with all 64 bits. */
#define POWER_EXPONENT(q) ((((int64_t)217706 * (q)) >> 16) + 63 + 1023 - 1)
static const int64_t POWER_EXPONENTS[] = {
    POWER_EXPONENT(0),   POWER_EXPONENT(-1),  POWER_EXPONENT(-2),  POWER_EXPONENT(-3),
    POWER_EXPONENT(-4),  POWER_EXPONENT(-5),  POWER_EXPONENT(-6),  POWER_EXPONENT(-7),
    POWER_EXPONENT(-8),  POWER_EXPONENT(-9),  POWER_EXPONENT(-10), POWER_EXPONENT(-11),
    POWER_EXPONENT(-12), POWER_EXPONENT(-13), POWER_EXPONENT(-14), POWER_EXPONENT(-15),
    POWER_EXPONENT(-16), POWER_EXPONENT(-17), POWER_EXPONENT(-18), POWER_EXPONENT(-19)};

/* Lengths of a float of the usual form, as bits, by whether it begins with 0 and by its digits
   before the point: 1 to 4, at least one behind it, and 19 in all that count. */
#define LENGTHS(from, to) ((uint32_t)((2u << (to)) - (1u << (from))))
static const uint32_t USUAL_LENGTHS[2][33] = {
    {[1] = LENGTHS(3, 20), [2] = LENGTHS(4, 20), [3] = LENGTHS(5, 20), [4] = LENGTHS(6, 20)},
    {[1] = LENGTHS(3, 21)},
};

/* A number of the text: w * 10^q, or an integer w. */
typedef struct {
    uint64_t w;
    int64_t q;
    bool negative, integer;
    /* Digits beyond the first 19 are left out of w. */
    bool truncated;
} Decimal;

INLINE bool
is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

INLINE const char *
skip_spaces(const char *at, const char *end)
{
    while (at < end && is_space(*at)) {
        at++;
    }
    return at;
}

/* ---- Digits -------------------------------------------------------------------------------- */

/* Return the bytes that are no digits, as bits, of the 32 at `text`. */
INLINE uint32_t
find_other(const char *text)
{
#if defined(READER_AVX2)
    __m256i a = _mm256_loadu_si256((const __m256i *)text);
    a = _mm256_sub_epi8(a, _mm256_set1_epi8('0'));
    __m256i digits = _mm256_cmpeq_epi8(_mm256_min_epu8(a, _mm256_set1_epi8(9)), a);
    return ~(uint32_t)_mm256_movemask_epi8(digits);
#elif defined(__SSE2__)
    const __m128i zero = _mm_set1_epi8('0'), nine = _mm_set1_epi8(9);
    __m128i a = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)text), zero);
    __m128i b = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(text + 16)), zero);
    uint32_t low = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(a, nine), a));
    uint32_t high = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(b, nine), b));
    return ~(low | high << 16);
#else
    uint32_t found = 0;
    for (int i = 0; i < 32; i++) {
        found |= (uint32_t)!is_digit(text[i]) << i;
    }
    return found;
#endif
}

/* Return the position of the lowest bit, 32 if there is none. */
INLINE size_t
count_zeros(uint32_t bits)
{
#if defined(READER_AVX2)
    return _tzcnt_u32(bits);
#else
    return bits == 0 ? 32 : (size_t)__builtin_ctz(bits);
#endif
}

/* Return the positions of a byte in the 64 at `text`, as bits. */
INLINE uint64_t
find_in_block(const char *text, char byte)
{
#if defined(READER_AVX2)
    const __m256i wanted = _mm256_set1_epi8(byte);
    __m256i a = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)text), wanted);
    __m256i b = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(text + 32)), wanted);
    return (uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32;
#elif defined(__SSE2__)
    const __m128i wanted = _mm_set1_epi8(byte);
    uint64_t found = 0;
    for (int i = 0; i < 4; i++) {
        __m128i some = _mm_loadu_si128((const __m128i *)(text + 16 * i));
        found |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(some, wanted)) << 16 * i;
    }
    return found;
#else
    uint64_t found = 0;
    for (int i = 0; i < 64; i++) {
        found |= (uint64_t)(text[i] == byte) << i;
    }
    return found;
#endif
}

/* Return the number of the last `count` (at most 16) of the 16 characters before `end`. */
INLINE uint64_t
last_digits(const char *end, size_t count)
{
#if defined(__SSE2__)
    static const uint8_t WINDOW[32] = {[16] = 15, 15, 15, 15, 15, 15, 15, 15,
                                       15,        15, 15, 15, 15, 15, 15, 15};
    __m128i digits = _mm_loadu_si128((const __m128i *)(end - 16));
    digits = _mm_and_si128(digits, _mm_loadu_si128((const __m128i *)(WINDOW + count)));
#if defined(READER_AVX2)
    __m128i pairs = _mm_maddubs_epi16(digits, _mm_set1_epi16(10 | 1 << 8));
#else
    __m128i tens = _mm_mullo_epi16(_mm_and_si128(digits, _mm_set1_epi16(15)), _mm_set1_epi16(10));
    __m128i pairs = _mm_add_epi16(tens, _mm_srli_epi16(digits, 8));
#endif
    __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(100 | 1 << 16));
    __m128i eights = _mm_packs_epi32(fours, fours);
    eights = _mm_madd_epi16(eights, _mm_set1_epi32(10000 | 1 << 16));
    uint64_t both = (uint64_t)_mm_cvtsi128_si64(eights);
    return (both & 0xffffffff) * 100000000 + (both >> 32);
#else
    uint64_t number = 0;
    for (const char *at = end - count; at < end; at++) {
        number = 10 * number + (uint64_t)(*at - '0');
    }
    return number;
#endif
}

/* Return the number of 4 digits, the first of them in the lowest byte; zero bytes are zeros. */
INLINE uint32_t
four_digits(uint32_t word)
{
    word = (word & 0x0f0f0f0f) * 2561 >> 8;
    return (word & 0x00ff00ff) * 6553601 >> 16;
}

/* Return w of `whole` digits at `text`, a point, and `rest` digits before `end`.

   Without the last 16 digits these are at most 4, and at least 1. */
INLINE uint64_t
join_digits(const char *text, size_t whole, const char *end, size_t rest)
{
    size_t last = rest < 16 ? rest : 16;
    /* The digits before the last 16, with the point taken out. */
    uint64_t word;
    memcpy(&word, text, 8);
    static const uint32_t BELOW[8] = {0, 0xff, 0xffff, 0xffffff, 0xffffffff};
    uint32_t below = BELOW[whole], joined = ((uint32_t)word & below) | ((uint32_t)(word >> 8) & ~below);
    size_t first = whole + rest - last;
    uint64_t head = four_digits(joined << (32 - 8 * first));
    return head * WHOLE_POWERS[last] + last_digits(end, last);
}

/* ---- Rounding ------------------------------------------------------------------------------ */

INLINE double
from_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

/* Return the float64 next to w * 10^q, w not 0; infinity if there is none. */
INLINE double
round_decimal(uint64_t w, int64_t q)
{
    if (!LIKELY(-342 <= q && q <= 308)) {
        return q < 0 ? 0.0 : from_bits((uint64_t)2047 << 52);
    }
    int zeros = __builtin_clzll(w);
    w <<= zeros;
    /* The method wants powers beyond 10^55 rounded down, those below 10^0 up, as the table has. */
    Power power = powers_of_ten[q - MIN_POWER];
    if (q > 55) {
        power.high -= power.low == 0;
        power.low--;
    }
    unsigned __int128 product = (unsigned __int128)w * power.high;
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if ((high & 0x1ff) == 0x1ff) {
        uint64_t more = (uint64_t)((unsigned __int128)w * power.low >> 64);
        low += more;
        high += more > low;
    }
    int upper = (int)(high >> 63);
    int shift = upper + 64 - 52 - 3;
    uint64_t mantissa = high >> shift;
    int64_t exponent = ((217706 * q) >> 16) + 63 + upper - zeros + 1023;
    if (exponent <= 0) { /* subnormal */
        if (exponent <= -63) {
            return 0.0;
        }
        mantissa >>= 1 - exponent;
        mantissa += mantissa & 1;
        return from_bits(mantissa >> 1);
    }
    /* Halfway between two, w * 10^q is exact here: to even. */
    if (low <= 1 && -4 <= q && q <= 23 && (mantissa & 3) == 1 && mantissa << shift == high) {
        mantissa &= ~(uint64_t)1;
    }
    mantissa += mantissa & 1;
    mantissa >>= 1;
    /* A mantissa of 2^53 carries into the exponent. */
    uint64_t bits = mantissa + ((uint64_t)(exponent - 1) << 52);
    return bits >> 52 >= 2047 ? from_bits((uint64_t)2047 << 52) : from_bits(bits);
}

/* Return the float64 of a text that 19 digits do not settle; NaN if strtod reads another number. */
static double
round_long(const char *begin, const char *end)
{
    char copy[LONGEST_DOUBTFUL];
    size_t length = (size_t)(end - begin);
    char *text = length < sizeof copy ? copy : malloc(length + 1), *stop;
    if (text == NULL) {
        return from_bits((uint64_t)4095 << 51);
    }
    memcpy(text, begin, length);
    text[length] = 0;
    double value = strtod(text, &stop);
    /* Another locale has another point. */
    if (stop != text + length) {
        value = from_bits((uint64_t)4095 << 51);
    }
    if (text != copy) {
        free(text);
    }
    return value;
}

static double
round_truncated(uint64_t w, int64_t q, const char *begin, const char *end)
{
    double value = round_decimal(w, q);
    return value == round_decimal(w + 1, q) ? value : round_long(begin, end);
}

/* ---- Ties ---------------------------------------------------------------------------------- */

/* Return whether a float64 is halfway between two neighbours in float32, which has 29 digits less. */
INLINE bool
is_tie(uint64_t bits)
{
    return (bits & (((uint64_t)1 << 29) - 1)) == (uint64_t)1 << 28;
}

/* Return whether w * 10^q, w not 0, has 53 binary digits at most: if not, the float64 that is next to
   it is not equal to it. */
static bool
is_exact(uint64_t w, int64_t q)
{
    for (; q < 0 && w % 5 == 0; q++) {
        w /= 5;
    }
    if (q < 0) {
        return false;
    }
    w >>= __builtin_ctzll(w);
    for (; q > 0 && w <= MAX_EXACT; q--) {
        w *= 5;
    }
    return w <= MAX_EXACT;
}

/* ---- Numbers ------------------------------------------------------------------------------- */

/* Read a number of any form, by character, and return its end; NULL if there is none. */
static const char *
read_slowly(const char *at, const char *end, Decimal *number)
{
    uint64_t w = 0;
    int64_t q = 0;
    int digits = 0;
    *number = (Decimal){.integer = true};
    if (at < end && *at == '-') {
        number->negative = true;
        at++;
    }
    if (at == end || !is_digit(*at) || (*at == '0' && at + 1 < end && is_digit(at[1]))) {
        return NULL;
    }
    for (; at < end && is_digit(*at); at++) {
        if (digits < 19) {
            w = 10 * w + (uint64_t)(*at - '0');
            digits += w > 0;
        } else {
            number->truncated = true;
            q++;
        }
    }
    if (at < end && *at == '.') {
        number->integer = false;
        at++;
        if (at == end || !is_digit(*at)) {
            return NULL;
        }
        for (; at < end && is_digit(*at); at++) {
            if (digits < 19) {
                w = 10 * w + (uint64_t)(*at - '0');
                digits += w > 0;
                q--;
            } else {
                number->truncated = true;
            }
        }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        number->integer = false;
        at++;
        bool negative = at < end && *at == '-';
        at += at < end && (*at == '-' || *at == '+');
        if (at == end || !is_digit(*at)) {
            return NULL;
        }
        int64_t exponent = 0;
        for (; at < end && is_digit(*at); at++) {
            /* Far beyond any number of digits that the exponent might make up for. */
            if (exponent < (int64_t)1 << 50) {
                exponent = 10 * exponent + (*at - '0');
            }
        }
        q += negative ? -exponent : exponent;
    }
    number->w = w;
    number->q = q;
    return at;
}

/* Return the integers that were read before the first float as floats; false if one is not exact. */
static bool
floats_from_integers(Piece *piece)
{
    if (!piece->floats) {
        if (piece->largest > MAX_EXACT) {
            return false;
        }
        char *out = piece->out;
        for (size_t i = 0; i < piece->count; i++) {
            int64_t whole;
            memcpy(&whole, out + 8 * i, 8);
            double number = (double)whole;
            memcpy(out + 8 * i, &number, 8);
        }
        piece->floats = true;
    }
    return true;
}

/* Keep a number as the `index`-th of the piece; false if it does not fit. */
INLINE bool
keep_number(Piece *piece, size_t index, const Decimal *number, const char *begin, const char *end)
{
    uint64_t w = number->w;
    if (number->integer && (w > 0 || !number->negative)) { /* -0 is a float */
        if (number->truncated || number->q > 0) {
            return false;
        }
        if (!piece->floats) {
            if (w > (uint64_t)INT64_MAX + number->negative) {
                return false;
            }
            ((int64_t *)piece->out)[index] = (int64_t)(number->negative ? -w : w);
            piece->largest = w > piece->largest ? w : piece->largest;
            return true;
        }
        if (w > MAX_EXACT) {
            return false;
        }
    }
    if (!LIKELY(piece->floats)) {
        size_t count = piece->count;
        piece->count = index;
        bool exact = floats_from_integers(piece);
        piece->count = count;
        if (!exact) {
            return false;
        }
    }
    double value = 0.0;
    if (LIKELY(w > 0)) {
        value = LIKELY(!number->truncated) ? round_decimal(w, number->q)
                                           : round_truncated(w, number->q, begin, end);
        if (!LIKELY(__builtin_fabs(value) <= 1.7976931348623157e308)) {
            return false;
        }
        value = __builtin_fabs(value);
    }
    uint64_t bits;
    memcpy(&bits, &value, 8);
    if (is_tie(bits)) {
        piece->doubtful |= number->truncated || !is_exact(w, number->q);
    }
    ((uint64_t *)piece->out)[index] = bits | (uint64_t)number->negative << 63;
    return true;
}

/* ---- Brackets ------------------------------------------------------------------------------ */

/* Count brackets, which may have spaces before each and after the last. */
INLINE const char *
count_brackets(const char *at, const char *end, char bracket, int *count)
{
    *count = 0;
    at = skip_spaces(at, end);
    while (at < end && *at == bracket) {
        ++*count;
        at = skip_spaces(at + 1, end);
    }
    return at;
}

/* Record that `arrays` arrays end before the number at `position`. */
static void
add_end(Piece *piece, size_t position, int arrays)
{
    for (int level = 0; level < arrays - 1; level++) {
        Ends *ends = &piece->ends[level];
        if (ends->count == 0) {
            ends->first = position;
        } else if (ends->count == 1) {
            ends->gap = position - ends->last;
        } else if (position - ends->last != ends->gap) {
            ends->irregular = true;
        }
        ends->last = position;
        ends->count++;
    }
}

/* Read a number of any form, with spaces around it; false if the text to `end` is anything else. */
static __attribute__((noinline)) bool
read_any(Piece *piece, size_t index, const char *at, const char *end)
{
    at = skip_spaces(at, end);
    Decimal number;
    const char *stop = read_slowly(at, end, &number);
    return stop != NULL && keep_number(piece, index, &number, at, stop) &&
           skip_spaces(stop, end) == end;
}

/* Read a float of the usual form; false if it has another. */
INLINE bool
read_float(const char *at, const char *end, uint64_t *out, bool *doubtful)
{
    uint64_t negative = *at == '-';
    at += negative;
    size_t length = (size_t)(end - at);
    if (!LIKELY(length < 32)) {
        return false;
    }
    uint32_t inside = find_other(at) & (((uint32_t)1 << length) - 1);
    size_t whole = count_zeros(inside), rest = length - whole - 1;
    /* One test for all lengths, which would be guessed wrong now and then each. */
    bool usual = USUAL_LENGTHS[*at == '0'][whole] >> length & 1;
    if (!LIKELY(usual) || !LIKELY((inside & (inside - 1)) == 0) || !LIKELY(at[whole] == '.')) {
        return false;
    }
    uint64_t w = join_digits(at, whole, end, rest);
    if (!LIKELY(w > 0)) {
        *out = negative << 63;
        return true;
    }
    /* As in round_decimal, without what cannot be here. */
    int zeros = __builtin_clzll(w);
    unsigned __int128 product = (unsigned __int128)(w << zeros) * powers_of_ten[-MIN_POWER - rest].high;
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if (!LIKELY((low > 1) & ((high & 0x1ff) != 0x1ff))) {
        double value = round_decimal(w, -(int64_t)rest);
        memcpy(out, &value, 8);
        *doubtful |= is_tie(*out) && !is_exact(w, -(int64_t)rest);
        *out |= negative << 63;
        return true;
    }
    uint64_t upper = high >> 63, mantissa = high >> (upper + 9);
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    uint64_t exponent = (uint64_t)POWER_EXPONENTS[rest] + upper - (uint64_t)zeros;
    *out = (mantissa + (exponent << 52)) | negative << 63;
    if (!LIKELY(!is_tie(*out))) {
        *doubtful |= !is_exact(w, -(int64_t)rest);
    }
    return true;
}

/* Read an integer of the usual form; false if it has another. */
INLINE bool
read_integer(const char *at, const char *end, int64_t *out, uint64_t *largest)
{
    bool negative = *at == '-';
    at += negative;
    size_t length = (size_t)(end - at);
    if (!LIKELY(length - 1 < 16) || !LIKELY(*at != '0' || (length == 1 && !negative))) {
        return false;
    }
    if (!LIKELY((find_other(at) & (((uint32_t)1 << length) - 1)) == 0)) {
        return false;
    }
    uint64_t w = last_digits(end, length);
    *largest = w > *largest ? w : *largest;
    *out = (int64_t)(negative ? -w : w);
    return true;
}

/* Read numbers between two commas each, from `at` on, until one has another form than those before
   it; return how many they are. A space before the first is expected before all. */
INLINE size_t
read_floats(const char *at, const char *text, const uint32_t *commas, size_t count, uint64_t *out,
            bool *doubtful)
{
    bool spaced = *at == ' ';
    for (size_t i = 0; i < count; i++) {
        const char *end = text + commas[i];
        if ((spaced && *at++ != ' ') || !read_float(at, end, out + i, doubtful)) {
            return i;
        }
        at = end + 1;
    }
    return count;
}

INLINE size_t
read_integers(const char *at, const char *text, const uint32_t *commas, size_t count, int64_t *out,
              uint64_t *largest)
{
    bool spaced = *at == ' ';
    for (size_t i = 0; i < count; i++) {
        const char *end = text + commas[i];
        if ((spaced && *at++ != ' ') || !read_integer(at, end, out + i, largest)) {
            return i;
        }
        at = end + 1;
    }
    return count;
}

/* ---- Pieces -------------------------------------------------------------------------------- */

/* The state of reading a piece. */
typedef struct {
    Piece *piece;
    /* Begin of the next number's text, and its column. */
    const char *at;
    size_t index, column;
    /* Brackets that closed before the comma. */
    int closed;
} Cursor;

/* Read the number at the begin or the end of a row, with the brackets there. */
static __attribute__((noinline)) bool
read_edge(Cursor *cursor, const char *end)
{
    Piece *piece = cursor->piece;
    const char *at = cursor->at, *stop = end;
    if (cursor->column == 0 && piece->first + cursor->index > 0) {
        int opened;
        at = count_brackets(at, end, '[', &opened);
        if (cursor->index == 0) {
            piece->opening = opened;
        } else if (opened != cursor->closed) {
            return false;
        }
        if (opened < 1 || opened >= piece->rank) {
            return false;
        }
        if (opened > 1) {
            add_end(piece, piece->first + cursor->index, opened);
        }
    }
    if (cursor->column + 1 == piece->columns) {
        /* Brackets are few: backwards, from the comma. */
        cursor->closed = 0;
        while (stop > at && (stop[-1] == ']' || is_space(stop[-1]))) {
            cursor->closed += *--stop == ']';
        }
    }
    uint64_t *out = (uint64_t *)piece->out + cursor->index;
    at += at < stop && *at == ' ';
    bool quick = at - piece->low >= BEHIND && piece->high - stop > AHEAD && stop > at;
    if (!(quick && piece->floats && read_float(at, stop, out, &piece->doubtful)) &&
        !(quick && !piece->floats && read_integer(at, stop, (int64_t *)out, &piece->largest)) &&
        !read_any(piece, cursor->index, at, stop)) {
        return false;
    }
    cursor->index++;
    cursor->column = cursor->column + 1 == piece->columns ? 0 : cursor->column + 1;
    cursor->at = end + 1;
    return true;
}

/* Read the numbers whose texts end at commas. */
INLINE bool
read_to_commas(Cursor *cursor, const char *text, const uint32_t *commas, size_t count)
{
    Piece *piece = cursor->piece;
    for (size_t i = 0; i < count;) {
        size_t inner = piece->columns - 1 - cursor->column;
        if (cursor->column == 0 || inner == 0) {
            if (!read_edge(cursor, text + commas[i++])) {
                return false;
            }
            continue;
        }
        inner = inner < count - i ? inner : count - i;
        size_t safe = inner;
        if (cursor->at - piece->low < BEHIND) {
            safe = 0;
        }
        while (safe > 0 && piece->high - (text + commas[i + safe - 1]) <= AHEAD) {
            safe--;
        }
        void *out = (uint64_t *)piece->out + cursor->index;
        size_t done = piece->floats ? read_floats(cursor->at, text, commas + i, safe, out,
                                                  &piece->doubtful)
                                    : read_integers(cursor->at, text, commas + i, safe, out,
                                                    &piece->largest);
        cursor->at = done > 0 ? text + commas[i + done - 1] + 1 : cursor->at;
        cursor->index += done;
        cursor->column += done;
        i += done;
        if (done < inner) {
            const char *end = text + commas[i++];
            if (!read_any(piece, cursor->index++, cursor->at, end)) {
                return false;
            }
            cursor->at = end + 1;
            cursor->column++;
        }
    }
    return true;
}

/* Write the positions of the bits, counted from `base`, and return how many they are. */
INLINE size_t
index_bits(uint64_t bits, uint32_t base, uint32_t *out)
{
    size_t count = (size_t)__builtin_popcountll(bits);
    /* Four at once: most blocks have no more, and a loop's length would be guessed wrong. */
    for (size_t i = 0; i < count; i += 4) {
        for (int j = 0; j < 4; j++) {
            out[i + (size_t)j] = base + (uint32_t)__builtin_ctzll(bits | (uint64_t)1 << 63);
            bits &= bits - 1;
        }
    }
    return count;
}

/* Find the commas in at most INDEXED_BYTES from `text`; return how many they are. */
INLINE size_t
index_commas(const char *text, size_t length, uint32_t *out)
{
    size_t count = 0, at = 0;
    for (; at + 64 <= length; at += 64) {
        count += index_bits(find_in_block(text + at, ','), (uint32_t)at, out + count);
    }
    if (at < length) {
        char last[64] = {0};
        memcpy(last, text + at, length - at);
        count += index_bits(find_in_block(last, ','), (uint32_t)at, out + count);
    }
    return count;
}

/* Find the greatest magnitude, and numbers that are subnormal in float32, which have other ties. */
static void
describe_floats(Piece *piece)
{
    const uint64_t sign = (uint64_t)1 << 63;
    const int64_t least_normal = (int64_t)(1023 - 126) << 52;
    const char *numbers = piece->out;
    int64_t magnitude = 0;
    uint64_t subnormal = 0;
    for (size_t i = 0; i < piece->count; i++) {
        uint64_t number;
        memcpy(&number, numbers + 8 * i, 8);
        int64_t bits = (int64_t)(number & ~sign);
        magnitude = bits > magnitude ? bits : magnitude;
        subnormal |= (uint64_t)((bits > 0) & (bits < least_normal));
    }
    piece->magnitude = (uint64_t)magnitude;
    piece->doubtful |= subnormal != 0;
}

bool
VARIANT(read_piece)(Piece *piece)
{
    uint32_t commas[INDEXED_BYTES + 4];
    Cursor cursor = {.piece = piece, .at = piece->begin};
    /* A row without begin and end, for rank 1. */
    cursor.column = piece->rank > 1 ? piece->first % piece->columns : 1;
    const char *text = piece->begin;
    while (text < piece->end) {
        size_t length = (size_t)(piece->end - text);
        length = length < INDEXED_BYTES ? length : INDEXED_BYTES;
        size_t count = index_commas(text, length, commas);
        if (!read_to_commas(&cursor, text, commas, count)) {
            return false;
        }
        text += length;
    }
    if (!read_edge(&cursor, piece->end)) {
        return false;
    }
    piece->closing = piece->rank > 1 && cursor.column == 0 ? cursor.closed : 0;
    if (piece->floats) {
        describe_floats(piece);
    }
    return cursor.index == piece->count;
}

size_t
VARIANT(find_bracket)(const char *text, size_t length, size_t *commas)
{
    size_t count = *commas, at = 0;
    for (; at + 64 <= length; at += 64) {
        uint64_t closing = find_in_block(text + at, ']'), found = find_in_block(text + at, ',');
        if (closing != 0) {
            size_t place = (size_t)__builtin_ctzll(closing);
            *commas = count + (size_t)__builtin_popcountll(found & (((uint64_t)1 << place) - 1));
            return at + place;
        }
        count += (size_t)__builtin_popcountll(found);
    }
    while (at < length && text[at] != ']') {
        count += text[at++] == ',';
    }
    *commas = count;
    return at;
}

#if !defined(READER_AVX2)

bool
make_floats(Piece *piece)
{
    return floats_from_integers(piece);
}

#if defined(__x86_64__)

static bool
has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}

bool
read_piece(Piece *piece)
{
    return has_avx2() ? read_piece_avx2(piece) : read_piece_portable(piece);
}

size_t
find_bracket(const char *text, size_t length, size_t *commas)
{
    return has_avx2() ? find_bracket_avx2(text, length, commas)
                      : find_bracket_portable(text, length, commas);
}

#else

bool
read_piece(Piece *piece)
{
    return read_piece_portable(piece);
}

size_t
find_bracket(const char *text, size_t length, size_t *commas)
{
    return find_bracket_portable(text, length, commas);
}

#endif

#endif
