/* Numbers of an array to JSON text: the kinds of numbers, and the brackets around them. */

#include "writer.h"

#include <stdint.h>
#include <string.h>

#include "digits.h"
#include "floats.h"

/* The decimal exponents between which a number is written without an exponent: orjson's choice. */
#define FLOAT64_LEAST (-5)
#define FLOAT64_MOST 15
#define FLOAT32_LEAST (-6)
#define FLOAT32_MOST 12

/* Each number is stored in pieces of up to sixteen bytes, the last of which may end behind it. */
#define SLACK 64

void
prepare_writer(void)
{
    prepare_gaps();
}

static const struct {
    size_t size;
    size_t longest; /* text, with the quotes of a string */
} KIND[KINDS] = {
    [FLOAT64] = {8, sizeof "-1.2345678901234567e-308" - 1},
    [FLOAT32] = {4, sizeof "-0.00000123456789" - 1},
    [FLOAT16] = {2, sizeof "-0.00000123456789" - 1},
    [INT64] = {8, sizeof "\"-9223372036854775808\"" - 1},
    [INT32] = {4, sizeof "\"-2147483648\"" - 1},
    [INT16] = {2, sizeof "\"-32768\"" - 1},
    [INT8] = {1, sizeof "\"-128\"" - 1},
    [UINT8] = {1, sizeof "\"255\"" - 1},
    [BOOL8] = {1, sizeof "false" - 1},
};

size_t
item_size(Kind kind)
{
    return KIND[kind].size;
}

static char *
write_nonfinite(bool negative, bool infinite, char *out)
{
    const char *word = !infinite ? "\"NaN\"" : negative ? "\"-Infinity\"" : "\"Infinity\"";
    size_t length = strlen(word);
    memcpy(out, word, length);
    return out + length;
}

typedef Sixteen (*Splitter)(uint64_t upper, uint64_t lower);

/* Inlined with its splitter, a constant. */
static inline __attribute__((always_inline)) void
split_each(Splitter split, const Number *numbers, size_t count, Digits *digits)
{
    for (size_t index = 0; index < count; index++) {
        uint32_t upper = (uint32_t)(numbers[index].digits / E8), first = upper / E8;
        Sixteen behind_first = split(upper % E8, numbers[index].digits % E8);
        digits[index] = (Digits){behind_first, without_trailing_zeros(behind_first), first};
    }
}

static void
split_numbers(const Number *numbers, size_t count, Digits *digits)
{
    split_each(sixteen_digits, numbers, count, digits);
}

static bool avx512_allowed = true;

bool
allow_avx512(bool allowed)
{
    avx512_allowed = allowed;
#ifdef AVX512_DIGITS
    return allowed && has_avx512_digits();
#else
    return false;
#endif
}

#ifdef AVX512_DIGITS

static AVX512_DIGITS void
split_numbers_avx512(const Number *numbers, size_t count, Digits *digits)
{
    split_each(sixteen_digits_avx512, numbers, count, digits);
}

#endif

/* Write a number, without an exponent if it is from `least` to `most`. */
static inline char *
write_number(const Number *number, const Digits *digits, int64_t least, int64_t most, char *out)
{
    int64_t exponent = number->exponent;
    *out = '-';
    if (LIKELY((uint64_t)exponent - (uint64_t)least <= (uint64_t)(most - least))) {
        return write_fixed(digits, exponent, out + number->negative);
    }
    if (exponent == NOT_FINITE) {
        return write_nonfinite(number->negative, number->digits, out);
    }
    return write_scientific(digits, exponent, out + number->negative);
}

/* Numbers from `begin` to before `end`, whose digits are known though their text is not yet
   written. A processor works on some hundred instructions at once. These are parts of several
   numbers if each step goes through a block of them, and little more than one number if each
   is finished first. */
#define BLOCK 32

typedef struct {
    size_t begin, end;
    Number numbers[BLOCK];
    Digits digits[BLOCK];
} Block;

static inline void
read_numbers(const Items *items, size_t first, size_t count, Number *numbers)
{
    const char *bytes = (const char *)items->items + first * item_size(items->kind);
    if (items->kind == FLOAT64) {
        for (size_t index = 0; index < count; index++) {
            uint64_t bits;
            memcpy(&bits, bytes + 8 * index, sizeof bits);
            numbers[index] = number_of_float64(bits);
        }
    } else if (items->kind == FLOAT32) {
        for (size_t index = 0; index < count; index++) {
            uint32_t bits;
            memcpy(&bits, bytes + 4 * index, sizeof bits);
            numbers[index] = number_of_float32(bits);
        }
    } else {
        for (size_t index = 0; index < count; index++) {
            uint16_t half;
            memcpy(&half, bytes + 2 * index, sizeof half);
            numbers[index] = number_of_float32(widen_float16(half));
        }
    }
}

static void
fill_block(Block *block, const Items *items, size_t first, size_t last)
{
    size_t count = last - first < BLOCK ? last - first : BLOCK;
    block->begin = first;
    block->end = first + count;
    read_numbers(items, first, count, block->numbers);
#ifdef AVX512_DIGITS
    if (avx512_allowed && has_avx512_digits()) {
        split_numbers_avx512(block->numbers, count, block->digits);
        return;
    }
#endif
    split_numbers(block->numbers, count, block->digits);
}

/* Write a row of floats, after which the block is filled with more up to `limit`. */
static char *
write_floats(const Items *items, Block *block, size_t first, size_t last, size_t limit, char *out)
{
    bool wide = items->kind == FLOAT64;
    int64_t least = wide ? FLOAT64_LEAST : FLOAT32_LEAST, most = wide ? FLOAT64_MOST : FLOAT32_MOST;
    while (first < last) {
        if (first == block->end) {
            fill_block(block, items, first, limit);
        }
        size_t end = last < block->end ? last : block->end;
        for (; first < end; first++) {
            size_t index = first - block->begin;
            out = write_number(&block->numbers[index], &block->digits[index], least, most, out);
            *out++ = ',';
        }
    }
    return out - 1;
}

static inline char *
write_integer(int64_t number, char *out)
{
    *out = '-';
    out += number < 0;
    return write_unsigned(number < 0 ? 0 - (uint64_t)number : (uint64_t)number, out);
}

#define INTEGER_WRITER(name, type)                                                                 \
    static inline char *name(const char *item, char *out)                                          \
    {                                                                                              \
        type number;                                                                               \
        memcpy(&number, item, sizeof number);                                                      \
        return write_integer(number, out);                                                         \
    }

INTEGER_WRITER(write_int64, int64_t)
INTEGER_WRITER(write_int32, int32_t)
INTEGER_WRITER(write_int16, int16_t)
INTEGER_WRITER(write_int8, int8_t)
INTEGER_WRITER(write_uint8, uint8_t)

static inline char *
write_bool(const char *item, char *out)
{
    static const char WORDS[2][8] = {"false", "true"};
    int truth = *item != 0;
    memcpy(out, WORDS[truth], 8);
    return out + 5 - truth;
}

typedef char *(*ItemWriter)(const char *item, char *out);

/* Write a row of items with commas between them. Inlined with its writer, a constant. */
static inline __attribute__((always_inline)) char *
write_each(ItemWriter write_item, size_t size, const char *item, size_t count, char *out)
{
    for (; count > 0; count--, item += size) {
        out = write_item(item, out);
        *out++ = ',';
    }
    return out - 1;
}

static inline __attribute__((always_inline)) char *
write_integers(
    ItemWriter write_item, size_t size, bool quoted, const char *item, size_t count, char *out)
{
    if (!quoted) {
        return write_each(write_item, size, item, count, out);
    }
    for (; count > 0; count--, item += size) {
        *out++ = '"';
        out = write_item(item, out);
        memcpy(out, "\",", 2);
        out += 2;
    }
    return out - 1;
}

static char *
write_row(const Items *items, Block *block, size_t first, size_t last, size_t limit, char *out)
{
    const char *item = (const char *)items->items + first * item_size(items->kind);
    size_t count = last - first;
    bool quoted = items->quoted;
    switch (items->kind) {
    case INT64:
        return write_integers(write_int64, 8, quoted, item, count, out);
    case INT32:
        return write_integers(write_int32, 4, quoted, item, count, out);
    case INT16:
        return write_integers(write_int16, 2, quoted, item, count, out);
    case INT8:
        return write_integers(write_int8, 1, quoted, item, count, out);
    case UINT8:
        return write_integers(write_uint8, 1, quoted, item, count, out);
    case BOOL8:
        return write_each(write_bool, 1, item, count, out);
    default:
        return write_floats(items, block, first, last, limit, out);
    }
}

size_t
text_bound(const Items *items, size_t first, size_t last)
{
    size_t bound = (last - first) * (KIND[items->kind].longest + 1) + SLACK;
    for (int axis = 0; axis < items->rank; axis++) {
        size_t block = items->block[axis];
        size_t opened = (last + block - 1) / block - (first + block - 1) / block;
        size_t closed = last / block - first / block;
        bound += opened + closed;
    }
    return bound;
}

/* Return how many brackets close before this element, and as many open: of all axes whose blocks
   begin with it. */
static inline size_t
brackets_at(const Items *items, size_t element)
{
    int axis = 0;
    while (axis < items->rank && element % items->block[axis] == 0) {
        axis++;
    }
    return (size_t)axis;
}

static inline char *
write_brackets(char bracket, size_t count, char *out)
{
    for (; count > 0; count--) {
        *out++ = bracket;
    }
    return out;
}

char *
write_items(const Items *items, size_t first, size_t last, char *out)
{
    Block block;
    block.end = first;
    size_t row = items->block[0], brackets = brackets_at(items, first);
    while (first < last) {
        if (first > 0) {
            *out++ = ',';
        }
        out = write_brackets('[', brackets, out);
        size_t end = first - first % row + row;
        end = end < last ? end : last;
        out = write_row(items, &block, first, end, last, out);
        first = end;
        brackets = brackets_at(items, first);
        out = write_brackets(']', brackets, out);
    }
    return out;
}
