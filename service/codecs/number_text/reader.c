/* JSON text of numbers to int64 or float64.

   A scan from left to right waits for each number's end before it can begin with the next. So the
   commas are found first, 64 bytes at a time: then the numbers do not depend on each other, and the
   processor reads several at once.

   A number of the usual form (at most 5 digits before the point, 19 in all) is read without a loop:
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

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Bytes that the quick way reads from the begin of a number. */
#define AHEAD 32
#define INDEXED_BYTES 4096
#define LONGEST_DOUBTFUL 1100
#define INLINE static inline __attribute__((always_inline))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)

static const double EXACT_POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                      1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                      1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

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

INLINE bool
is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
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

#if defined(__SSE2__)

/* Return the bytes that are no digits, as bits, of the 32 at `text`. */
INLINE uint32_t
find_other(const char *text)
{
    const __m128i zero = _mm_set1_epi8('0'), nine = _mm_set1_epi8(9);
    __m128i a = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)text), zero);
    __m128i b = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(text + 16)), zero);
    uint32_t low = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(a, nine), a));
    uint32_t high = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(b, nine), b));
    return ~(low | high << 16);
}

/* Return the number of the last `count` (at most 16) of the 16 characters before `end`. */
INLINE uint64_t
last_digits(const char *end, unsigned count)
{
    static const uint8_t WINDOW[32] = {[16] = 15, 15, 15, 15, 15, 15, 15, 15,
                                       15,        15, 15, 15, 15, 15, 15, 15};
    const __m128i tens = _mm_set1_epi16(10), hundreds = _mm_set1_epi32(100 | 1 << 16);
    const __m128i thousands = _mm_set1_epi32(10000 | 1 << 16);
    __m128i digits = _mm_loadu_si128((const __m128i *)(end - 16));
    digits = _mm_and_si128(digits, _mm_loadu_si128((const __m128i *)(WINDOW + count)));
    __m128i first = _mm_and_si128(digits, _mm_set1_epi16(15));
    __m128i pairs = _mm_add_epi16(_mm_mullo_epi16(first, tens), _mm_srli_epi16(digits, 8));
    __m128i fours = _mm_madd_epi16(pairs, hundreds);
    __m128i eights = _mm_madd_epi16(_mm_packs_epi32(fours, fours), thousands);
    uint64_t both = (uint64_t)_mm_cvtsi128_si64(eights);
    return (both & 0xffffffff) * 100000000 + (both >> 32);
}

uint64_t
find_byte(const char *text, char byte)
{
    const __m128i wanted = _mm_set1_epi8(byte);
    uint64_t found = 0;
    for (int i = 0; i < 4; i++) {
        __m128i some = _mm_loadu_si128((const __m128i *)(text + 16 * i));
        found |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(some, wanted)) << 16 * i;
    }
    return found;
}

#else

static uint32_t
find_other(const char *text)
{
    uint32_t found = 0;
    for (int i = 0; i < 32; i++) {
        found |= (uint32_t)!is_digit(text[i]) << i;
    }
    return found;
}

static uint64_t
last_digits(const char *end, unsigned count)
{
    uint64_t number = 0;
    for (const char *at = end - count; at < end; at++) {
        number = 10 * number + (uint64_t)(*at - '0');
    }
    return number;
}

uint64_t
find_byte(const char *text, char byte)
{
    uint64_t found = 0;
    for (int i = 0; i < 64; i++) {
        found |= (uint64_t)(text[i] == byte) << i;
    }
    return found;
}

#endif

/* Return the number of 8 digits, the first of them in the lowest byte; zero bytes are zeros. */
INLINE uint64_t
eight_digits(uint64_t word)
{
    word = (word & 0x0f0f0f0f0f0f0f0f) * 2561 >> 8;
    word = (word & 0x00ff00ff00ff00ff) * 6553601 >> 16;
    return (word & 0x0000ffff0000ffff) * 42949672960001 >> 32;
}

/* Return w of `whole` digits at `text`, a point, and the rest to `end`: 1 to 5, and 1 to 19. */
INLINE uint64_t
join_digits(const char *text, unsigned whole, const char *end, unsigned rest)
{
    unsigned last = rest < 16 ? rest : 16;
    /* The digits before the last 16, with the point taken out. */
    uint64_t word;
    memcpy(&word, text, 8);
    uint64_t before = word & (((uint64_t)1 << 8 * whole) - 1);
    uint64_t after = word >> 8 * whole >> 8 << 8 * whole;
    unsigned first = whole + rest - last;
    uint64_t head = eight_digits((before | after) << (64 - 8 * first));
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
    if (w <= MAX_EXACT && -22 <= q && q <= 22) {
        double exact = (double)w;
        return q < 0 ? exact / EXACT_POWERS[-q] : exact * EXACT_POWERS[q];
    }
    if (q < -342) {
        return 0.0;
    }
    if (q > 308) {
        return from_bits((uint64_t)2047 << 52);
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

/* Read a number and return its end; NULL if there is none. */
INLINE const char *
read_number(const char *begin, const Piece *piece, Decimal *number)
{
    const char *at = begin;
    if (LIKELY(at - piece->low >= 16 && piece->high - at > AHEAD)) {
        bool negative = *at == '-';
        at += negative;
        uint32_t other = find_other(at);
        /* The highest bit stands for what is beyond. */
        unsigned whole = (unsigned)__builtin_ctz(other | (uint32_t)1 << 31);
        if (LIKELY(at[whole] == '.')) {
            other &= other - 1;
            unsigned length = (unsigned)__builtin_ctz(other | (uint32_t)1 << 31);
            unsigned rest = length - whole - 1;
            bool zero = *at == '0';
            if (LIKELY(whole - 1 < 5 && rest - 1 < 19 && whole + rest - zero <= 19 &&
                       (!zero || whole == 1) && (at[length] | 32) != 'e')) {
                number->w = join_digits(at, whole, at + length, rest);
                number->q = -(int64_t)rest;
                number->negative = negative;
                number->integer = number->truncated = false;
                return at + length;
            }
        } else if (whole - 1 < 16 && (*at != '0' || whole == 1) && (at[whole] | 32) != 'e') {
            number->w = last_digits(at + whole, whole);
            number->q = 0;
            number->negative = negative;
            number->integer = true;
            number->truncated = false;
            return at + whole;
        }
    }
    return read_slowly(begin, piece->high, number);
}

/* Return the integers that were read before the first float as floats; false if one is not exact. */
bool
make_floats(Piece *piece)
{
    if (!piece->floats) {
        if (piece->largest > MAX_EXACT) {
            return false;
        }
        int64_t *whole = piece->out;
        double *out = piece->out;
        for (size_t i = 0; i < piece->count; i++) {
            out[i] = (double)whole[i];
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
        bool exact = make_floats(piece);
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
    ((double *)piece->out)[index] = number->negative ? -value : value;
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

/* Take down that `arrays` arrays end before the number at `position`. */
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

/* Read the number whose text ends at `end`, where a comma stands or the piece ends. */
INLINE bool
read_next(Cursor *cursor, const char *end)
{
    Piece *piece = cursor->piece;
    const char *at = cursor->at;
    if (cursor->column == 0 && piece->rank > 1 && piece->first + cursor->index > 0) {
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
    } else if (!LIKELY(at < end && (unsigned char)*at > ' ')) {
        at = skip_spaces(at, end);
    }
    Decimal number;
    const char *stop = read_number(at, piece, &number);
    if (!LIKELY(stop != NULL && stop <= end)) {
        return false;
    }
    if (!LIKELY(keep_number(piece, cursor->index, &number, at, stop))) {
        return false;
    }
    cursor->index++;
    cursor->column++;
    if (!LIKELY(stop == end)) {
        stop = skip_spaces(stop, end);
    }
    if (cursor->column == piece->columns) {
        cursor->column = 0;
        if (piece->rank > 1) {
            stop = count_brackets(stop, end, ']', &cursor->closed);
        }
    }
    cursor->at = end + 1;
    return stop == end;
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
static size_t
index_commas(const char *text, size_t length, uint32_t *out)
{
    size_t count = 0, at = 0;
    for (; at + 64 <= length; at += 64) {
        count += index_bits(find_byte(text + at, ','), (uint32_t)at, out + count);
    }
    if (at < length) {
        char last[64] = {0};
        memcpy(last, text + at, length - at);
        count += index_bits(find_byte(last, ','), (uint32_t)at, out + count);
    }
    return count;
}

bool
read_piece(Piece *piece)
{
    uint32_t commas[INDEXED_BYTES + 4];
    Cursor cursor = {.piece = piece, .at = piece->begin};
    cursor.column = piece->rank > 1 ? piece->first % piece->columns : 0;
    const char *text = piece->begin;
    while (text < piece->end) {
        size_t length = (size_t)(piece->end - text);
        length = length < INDEXED_BYTES ? length : INDEXED_BYTES;
        size_t count = index_commas(text, length, commas);
        for (size_t i = 0; i < count; i++) {
            if (!read_next(&cursor, text + commas[i])) {
                return false;
            }
        }
        text += length;
    }
    if (!read_next(&cursor, piece->end)) {
        return false;
    }
    piece->closing = piece->rank > 1 && cursor.column == 0 ? cursor.closed : 0;
    return cursor.index == piece->count;
}
