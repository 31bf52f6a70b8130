/* The arrays of numbers among the operands of a JSON request, read as the text arrives.

   The text is walked once, by one thread at a time. Outside of arrays it is only followed: strings,
   brackets, commas. What is there is checked later, in the text that has `0` for each array.

   In an array the walk counts commas and looks for closing brackets, 64 bytes at a time, which is
   ten times as fast as reading numbers. The number of commas before a place is the position of
   the number behind it, whatever the rank. So the text can be cut at any comma, and each piece be
   read on its own into its place (reader.c), while the walk goes on.

   How the pieces are cut changes nothing: each checks what stands in it, and at the end the rows
   and blocks that they have found must fit together. */

#define _GNU_SOURCE

#include "extraction.h"

#include <stdlib.h>
#include <string.h>

#include "threads.h"

/* Where the count of numbers is not known yet, room for so much more than estimated. */
#define RESERVE(count) ((count) + (count) / 16 + 64)
#define NOWHERE ((size_t)-1)

typedef struct Segment {
    struct Segment *next;
    char *memory;
    size_t used, capacity;
} Segment;

typedef struct PieceJob {
    Job job;
    struct PieceJob *next;
    struct Extraction *extraction;
    Piece piece; /* comes last: its length depends on the rank */
} PieceJob;

/* An array while it is read. */
typedef struct Growing {
    Array array; /* comes first: they are linked as arrays */
    size_t columns;
    Segment *segments, *last_segment;
    PieceJob *pieces, *last_piece;
} Growing;

typedef enum { TOP, LIST, OBJECT } Container;
typedef enum { OTHER, OPERAND, OPERANDS, DATA } Role;
typedef enum { BEGIN, MEMBER, AFTER, IN_ARRAY, OVER, FAILED } State;

struct Extraction {
    Job job; /* comes first: it walks */
    Request request;
    JobGroup jobs;
    /* Under the group's lock. */
    size_t available;
    bool walking, failed;
    /* Of the walk. */
    State state;
    /* The text is there up to `walked`. */
    size_t at, walked, retry_at;
    Container stack[3];
    int depth;
    bool first;
    int operand;
    Growing *arrays, *current;
    /* In an array: begin of the piece that is next, and its position; commas before `at`. */
    size_t cut, cut_count, commas;
};

/* ---- Pieces -------------------------------------------------------------------------------- */

static bool
has_failed(Extraction *extraction)
{
    pthread_mutex_lock(&extraction->jobs.lock);
    bool failed = extraction->failed;
    pthread_mutex_unlock(&extraction->jobs.lock);
    return failed;
}

/* Record that a job is over, or that the text is not plain. */
static void
settle(Extraction *extraction, bool well)
{
    pthread_mutex_lock(&extraction->jobs.lock);
    extraction->failed |= !well;
    end_job(&extraction->jobs);
    pthread_mutex_unlock(&extraction->jobs.lock);
}

static void
run_piece(Job *job)
{
    PieceJob *found = (PieceJob *)job;
    settle(found->extraction, !has_failed(found->extraction) && read_piece(&found->piece));
}

/* Return memory for `count` more numbers, of about `expected` in all; NULL if there is none. */
static char *
reserve(Growing *array, size_t count, size_t expected)
{
    Segment *segment = array->last_segment;
    if (segment == NULL || segment->capacity - segment->used < count) {
        size_t capacity = expected > count ? expected : count;
        segment = calloc(1, sizeof *segment);
        if (segment == NULL || (segment->memory = malloc(8 * capacity)) == NULL) {
            free(segment);
            return NULL;
        }
        segment->capacity = capacity;
        *(array->last_segment ? &array->last_segment->next : &array->segments) = segment;
        array->last_segment = segment;
    }
    char *memory = segment->memory + 8 * segment->used;
    segment->used += count;
    return memory;
}

/* Return the first array, or NULL. */
static Array *
first_array(const Extraction *extraction)
{
    return extraction->arrays == NULL ? NULL : &extraction->arrays->array;
}

/* Return how many named operands may still be read, the current one among them: at least 1. */
static size_t
operands_left(const Extraction *extraction)
{
    size_t count = 0;
    for (size_t i = 0; i < extraction->request.names_length; i++) {
        count += extraction->request.names[i] == 0;
    }
    for (const Array *each = first_array(extraction); each != NULL; each = each->next) {
        count -= count > 0;
    }
    return count + 1;
}

/* Read the text from the last cut to `end`, where a comma stands or the array ends.

   `numbers` are those of the array up to there. */
static bool
cut_piece(Extraction *extraction, size_t end, size_t numbers, bool is_last)
{
    const Request *request = &extraction->request;
    Growing *array = extraction->current;
    size_t count = numbers - extraction->cut_count, expected = count;
    if (numbers > request->max_numbers) {
        return false;
    }
    if (!is_last) {
        /* The operands that are still to come are about as long. */
        size_t read = end - array->array.begin, left = request->length - extraction->cut;
        expected = RESERVE(left / operands_left(extraction) / (read / numbers + 1));
    }
    size_t levels = array->array.rank > 2 ? (size_t)array->array.rank - 2 : 0;
    PieceJob *made = calloc(1, sizeof *made + levels * sizeof(Ends));
    char *memory = made == NULL ? NULL : reserve(array, count, expected);
    if (memory == NULL) {
        free(made);
        return false;
    }
    made->job.run = run_piece;
    made->job.group = &extraction->jobs;
    made->extraction = extraction;
    Piece *piece = &made->piece;
    piece->low = request->text;
    piece->high = request->text + extraction->walked;
    piece->begin = request->text + extraction->cut;
    piece->end = request->text + end;
    piece->first = extraction->cut_count;
    piece->count = count;
    piece->rank = array->array.rank;
    piece->columns = array->array.rank > 1 ? array->columns : SIZE_MAX;
    piece->out = memory;
    *(array->last_piece ? &array->last_piece->next : &array->pieces) = made;
    array->last_piece = made;
    extraction->cut = end + 1;
    extraction->cut_count = numbers;
    pthread_mutex_lock(&extraction->jobs.lock);
    bool failed = extraction->failed;
    if (!failed) {
        add_job(&extraction->jobs);
    }
    pthread_mutex_unlock(&extraction->jobs.lock);
    if (failed) {
        return false;
    }
    if (request->threaded) {
        submit_job(&made->job);
    } else {
        run_piece(&made->job);
    }
    return true;
}

/* ---- Arrays -------------------------------------------------------------------------------- */

static size_t
skip_spaces(const char *text, size_t at, size_t end)
{
    while (at < end && is_space(text[at])) {
        at++;
    }
    return at;
}

/* Begin an array whose brackets open at `at`; return where its numbers begin, or NOWHERE. */
static size_t
open_array(Extraction *extraction, size_t at, size_t end, bool in_object)
{
    const char *text = extraction->request.text;
    size_t begin = at;
    int rank = 0;
    while (at < end && text[at] == '[' && rank <= MAX_RANK) {
        rank++;
        at = skip_spaces(text, at + 1, end);
    }
    if (at == end) {
        return NOWHERE;
    }
    Growing *array = calloc(1, sizeof *array);
    if (array == NULL || rank > MAX_RANK) {
        free(array);
        extraction->state = FAILED;
        return at;
    }
    array->array.operand = extraction->operand;
    array->array.in_object = in_object;
    array->array.begin = begin;
    array->array.rank = rank;
    if (extraction->current == NULL) {
        extraction->arrays = array;
    } else {
        extraction->current->array.next = &array->array;
    }
    extraction->current = array;
    extraction->cut = at;
    extraction->cut_count = extraction->commas = 0;
    extraction->state = IN_ARRAY;
    return at;
}

/* Follow the brackets that close from `at` on; return where they end, with how many they are.

   NOWHERE if more text has to come, to know. */
static size_t
close_arrays(const Extraction *extraction, size_t at, size_t end, int *count)
{
    const char *text = extraction->request.text;
    int rank = extraction->current->array.rank;
    *count = 0;
    while (at < end && text[at] == ']' && *count < rank) {
        ++*count;
        at++;
        if (*count < rank) {
            at = skip_spaces(text, at, end);
        }
    }
    return at == end && *count < rank ? NOWHERE : at;
}

/* Cut a piece at the last comma before `at`, if there is enough text for one; false if it fails. */
static bool
cut_before(Extraction *extraction, size_t at)
{
    const Growing *array = extraction->current;
    bool has_columns = array->array.rank == 1 || array->columns > 0;
    if (!has_columns || extraction->commas == extraction->cut_count ||
        at - extraction->cut < extraction->request.piece_bytes) {
        return true;
    }
    do {
        at--;
    } while (extraction->request.text[at] != ',');
    return cut_piece(extraction, at, extraction->commas, false);
}

/* Go on in an array; false if more text has to come. */
static bool
walk_array(Extraction *extraction, size_t end)
{
    const char *text = extraction->request.text;
    Growing *array = extraction->current;
    while (extraction->at < end) {
        size_t at = extraction->at, left = end - at;
        left = left < extraction->request.piece_bytes ? left : extraction->request.piece_bytes;
        size_t bracket = at + find_bracket(text + at, left, &extraction->commas);
        extraction->at = bracket;
        if (bracket < at + left) {
            int count;
            size_t next = close_arrays(extraction, bracket, end, &count);
            if (next == NOWHERE) {
                return false;
            }
            if (array->columns == 0) {
                array->columns = extraction->commas + 1;
            }
            extraction->at = next;
            if (count == array->array.rank) {
                array->array.end = next;
                bool well = cut_piece(extraction, bracket, extraction->commas + 1, true);
                extraction->state = well ? AFTER : FAILED;
                return true;
            }
        }
        if (!cut_before(extraction, extraction->at)) {
            extraction->state = FAILED;
            return true;
        }
    }
    return false;
}

/* ---- Text around arrays -------------------------------------------------------------------- */

/* Return the end of a string that begins at `at`, or NOWHERE. */
static size_t
skip_string(const char *text, size_t at, size_t end)
{
    for (size_t from = at + 1; from < end;) {
        const char *quote = memchr(text + from, '"', end - from);
        if (quote == NULL) {
            return NOWHERE;
        }
        size_t place = (size_t)(quote - text), before = place;
        while (text[before - 1] == '\\') {
            before--;
        }
        if ((place - before) % 2 == 0) {
            return place + 1;
        }
        from = place + 1;
    }
    return NOWHERE;
}

/* Return the end of any value, or NOWHERE. */
static size_t
skip_value(const char *text, size_t at, size_t end)
{
    size_t depth = 0;
    while (at < end) {
        char c = text[at];
        if (c == '"') {
            at = skip_string(text, at, end);
            if (at == NOWHERE) {
                return NOWHERE;
            }
        } else if (c == '[' || c == '{') {
            depth++;
            at++;
            continue;
        } else if (c == ']' || c == '}') {
            if (depth == 0) {
                return at;
            }
            depth--;
            at++;
        } else {
            if (c == ',' && depth == 0) {
                return at;
            }
            at++;
            continue;
        }
        if (depth == 0) {
            return at;
        }
    }
    return NOWHERE;
}

/* Return what a key of the current container has, and set the operand that it names. */
static Role
role_of(Extraction *extraction, const char *key, size_t length)
{
    const Request *request = &extraction->request;
    if (extraction->stack[extraction->depth - 1] == OBJECT) {
        return length == 4 && memcmp(key, "data", 4) == 0 ? DATA : OTHER;
    }
    if (request->names_length == 0) {
        bool same = length > 0 && length == request->list_length &&
                    memcmp(key, request->list_field, length) == 0;
        return same ? OPERANDS : OTHER;
    }
    const char *name = request->names, *end = name + request->names_length;
    for (int operand = 0; name < end; operand++) {
        size_t size = strlen(name);
        if (size == length && memcmp(name, key, size) == 0) {
            extraction->operand = operand;
            return OPERAND;
        }
        name += size + 1;
    }
    return OTHER;
}

/* Begin a container; what it has is walked through. */
static size_t
enter(Extraction *extraction, Container container, size_t at)
{
    extraction->stack[extraction->depth++] = container;
    extraction->first = true;
    extraction->state = MEMBER;
    return at + 1;
}

/* Go past a value, or to the first number of an array; NOWHERE if more text has to come. */
static size_t
walk_value(Extraction *extraction, Role role, size_t at, size_t end)
{
    char c = extraction->request.text[at];
    if (role == OPERANDS && c == '[') {
        extraction->operand = -1;
        return enter(extraction, LIST, at);
    }
    if (role == OPERAND && c == '{') {
        return enter(extraction, OBJECT, at);
    }
    if ((role == OPERAND || role == DATA) && c == '[') {
        return open_array(extraction, at, end, role == DATA);
    }
    extraction->state = AFTER;
    return skip_value(extraction->request.text, at, end);
}

/* Go past a member or an item, or into it; NOWHERE if more text has to come. */
static size_t
walk_member(Extraction *extraction, size_t at, size_t end)
{
    const char *text = extraction->request.text;
    if (extraction->stack[extraction->depth - 1] == LIST) {
        extraction->operand++;
        size_t next = walk_value(extraction, OPERAND, at, end);
        extraction->operand -= next == NOWHERE;
        return next;
    }
    if (text[at] != '"') {
        extraction->state = FAILED;
        return at;
    }
    size_t key = at + 1;
    at = skip_string(text, at, end);
    if (at == NOWHERE) {
        return NOWHERE;
    }
    Role role = role_of(extraction, text + key, at - 1 - key);
    at = skip_spaces(text, at, end);
    if (at < end && text[at] != ':') {
        extraction->state = FAILED;
        return at;
    }
    at = skip_spaces(text, at + 1, end);
    return at >= end ? NOWHERE : walk_value(extraction, role, at, end);
}

/* Go one step further; NOWHERE if more text has to come. */
static size_t
walk_step(Extraction *extraction, size_t at, size_t end)
{
    const char *text = extraction->request.text;
    at = skip_spaces(text, at, end);
    if (at == end) {
        return NOWHERE;
    }
    char c = text[at];
    if (extraction->state == BEGIN && c == '{') {
        return enter(extraction, TOP, at);
    }
    if (extraction->state == OVER || extraction->state == BEGIN) {
        extraction->state = FAILED;
        return at;
    }
    bool closes = c == (extraction->stack[extraction->depth - 1] == LIST ? ']' : '}');
    if (closes && (extraction->state == AFTER || extraction->first)) {
        extraction->depth--;
        extraction->state = extraction->depth == 0 ? OVER : AFTER;
        return at + 1;
    }
    if (extraction->state == MEMBER) {
        State before = extraction->state;
        bool first = extraction->first;
        extraction->first = false;
        size_t next = walk_member(extraction, at, end);
        if (next == NOWHERE) {
            extraction->state = before;
            extraction->first = first;
        }
        return next;
    }
    extraction->state = c == ',' ? MEMBER : FAILED;
    return at + 1;
}

/* Walk as far as the text is there. */
static void
walk(Extraction *extraction, size_t end)
{
    bool is_whole = end == extraction->request.length;
    extraction->walked = end;
    if (end < extraction->retry_at && !is_whole) {
        return;
    }
    while (extraction->state != FAILED) {
        if (extraction->state == IN_ARRAY) {
            if (!walk_array(extraction, end)) {
                break;
            }
            continue;
        }
        size_t next = walk_step(extraction, extraction->at, end);
        if (next == NOWHERE) {
            /* A long string is not searched again for every piece of it. */
            extraction->retry_at = end + (end - extraction->at);
            break;
        }
        extraction->at = next;
    }
    if (is_whole && extraction->state != OVER) {
        extraction->state = FAILED;
    }
}

static void
run_walk(Job *job)
{
    Extraction *extraction = (Extraction *)job;
    size_t done = NOWHERE;
    pthread_mutex_lock(&extraction->jobs.lock);
    while (!extraction->failed && extraction->available != done) {
        done = extraction->available;
        pthread_mutex_unlock(&extraction->jobs.lock);
        walk(extraction, done);
        pthread_mutex_lock(&extraction->jobs.lock);
        extraction->failed |= extraction->state == FAILED;
    }
    extraction->walking = false;
    end_job(&extraction->jobs);
    pthread_mutex_unlock(&extraction->jobs.lock);
}

/* ---- Results ------------------------------------------------------------------------------- */

/* Return how many positions of a piece are multiples of `block`, with the first and the last. */
static size_t
multiples(const Piece *piece, size_t block, size_t *first, size_t *last)
{
    size_t from = piece->first > 0 ? piece->first : 1, end = piece->first + piece->count;
    *first = (from + block - 1) / block * block;
    *last = (end - 1) / block * block;
    return *first < end ? (*last - *first) / block + 1 : 0;
}

/* Return whether exactly the multiples of `block` are ends of a level, in all pieces. */
static bool
has_ends(const Growing *array, int level, size_t block)
{
    for (const PieceJob *each = array->pieces; each != NULL; each = each->next) {
        const Ends *ends = &each->piece.ends[level];
        size_t first, last, count = multiples(&each->piece, block, &first, &last);
        if (ends->count != count || ends->irregular) {
            return false;
        }
        if (count > 0 && (ends->first != first || ends->last != last)) {
            return false;
        }
        if (count > 1 && ends->gap != block) {
            return false;
        }
    }
    return true;
}

/* Return the position of the first end of a level, or that of the array's end. */
static size_t
first_end(const Growing *array, int level)
{
    for (const PieceJob *each = array->pieces; each != NULL; each = each->next) {
        if (each->piece.ends[level].count > 0) {
            return each->piece.ends[level].first;
        }
    }
    return array->array.count;
}

/* Find the shape; false if the array is not rectangular. */
static bool
find_shape(Growing *array)
{
    Array *found = &array->array;
    int axis = found->rank - 1;
    size_t block = axis == 0 ? found->count : array->columns;
    found->shape[axis--] = block;
    for (int level = 0; axis > 0; level++) {
        size_t next = first_end(array, level);
        if (next % block != 0 || !has_ends(array, level, next)) {
            return false;
        }
        found->shape[axis--] = next / block;
        block = next;
    }
    if (axis == 0) {
        found->shape[0] = found->count / block;
    }
    return found->count % block == 0;
}

/* Join the numbers of an array, as floats if one of them is; false if there is no memory, or if an
   integer is not exact. */
static bool
join_numbers(Growing *array)
{
    Array *found = &array->array;
    int opening = 0;
    for (PieceJob *each = array->pieces; each != NULL; each = each->next) {
        if (each != array->pieces && each->piece.opening != opening) {
            return false;
        }
        opening = each->piece.closing;
        found->floats |= each->piece.floats;
        found->doubtful |= each->piece.doubtful;
        double magnitude = (double)each->piece.largest;
        if (each->piece.floats) {
            memcpy(&magnitude, &each->piece.magnitude, 8);
        }
        found->largest = magnitude > found->largest ? magnitude : found->largest;
        found->count += each->piece.count;
    }
    for (PieceJob *each = array->pieces; found->floats && each != NULL; each = each->next) {
        if (!make_floats(&each->piece)) {
            return false;
        }
    }
    Segment *only = array->segments;
    if (only->next == NULL) {
        found->numbers = only->memory;
        only->memory = NULL;
        if (only->used < only->capacity) {
            void *smaller = realloc(found->numbers, 8 * only->used);
            found->numbers = smaller != NULL ? smaller : found->numbers;
        }
        return true;
    }
    char *joined = found->numbers = malloc(8 * found->count);
    if (joined == NULL) {
        return false;
    }
    for (Segment *each = only; each != NULL; each = each->next) {
        memcpy(joined, each->memory, 8 * each->used);
        joined += 8 * each->used;
    }
    return true;
}

/* ---- The whole ----------------------------------------------------------------------------- */

Extraction *
begin_extraction(const Request *request)
{
    Extraction *extraction = calloc(1, sizeof *extraction);
    if (extraction != NULL) {
        extraction->job.run = run_walk;
        extraction->job.group = &extraction->jobs;
        extraction->request = *request;
        open_group(&extraction->jobs);
    }
    return extraction;
}

void
feed_extraction(Extraction *extraction, size_t end)
{
    pthread_mutex_lock(&extraction->jobs.lock);
    bool starts = end > extraction->available && !extraction->walking && !extraction->failed;
    if (end > extraction->available) {
        extraction->available = end;
    }
    if (starts) {
        extraction->walking = true;
        add_job(&extraction->jobs);
    }
    pthread_mutex_unlock(&extraction->jobs.lock);
    if (starts && extraction->request.threaded) {
        submit_job(&extraction->job);
    } else if (starts) {
        run_walk(&extraction->job);
    }
}

bool
finish_extraction(Extraction *extraction, Array **arrays)
{
    feed_extraction(extraction, extraction->request.length);
    wait_for_group(&extraction->jobs);
    *arrays = NULL;
    if (extraction->failed || extraction->state != OVER) {
        return false;
    }
    for (Growing *each = extraction->arrays; each != NULL; each = (Growing *)each->array.next) {
        if (!join_numbers(each) || !find_shape(each)) {
            return false;
        }
    }
    *arrays = first_array(extraction);
    return true;
}

size_t
write_skeleton(const Extraction *extraction, char *out)
{
    const Request *request = &extraction->request;
    size_t at = 0, length = 0;
    for (const Array *each = first_array(extraction); each != NULL; each = each->next) {
        if (out != NULL) {
            memcpy(out + length, request->text + at, each->begin - at);
            out[length + each->begin - at] = '0';
        }
        length += each->begin - at + 1;
        at = each->end;
    }
    if (out != NULL) {
        memcpy(out + length, request->text + at, request->length - at);
    }
    return length + request->length - at;
}

void
end_extraction(Extraction *extraction)
{
    pthread_mutex_lock(&extraction->jobs.lock);
    extraction->failed = true;
    pthread_mutex_unlock(&extraction->jobs.lock);
    cancel_group(&extraction->jobs);
    for (Growing *array = extraction->arrays, *next; array != NULL; array = next) {
        next = (Growing *)array->array.next;
        for (Segment *each = array->segments, *after; each != NULL; each = after) {
            after = each->next;
            free(each->memory);
            free(each);
        }
        for (PieceJob *each = array->pieces, *after; each != NULL; each = after) {
            after = each->next;
            free(each);
        }
        free(array->array.numbers);
        free(array);
    }
    close_group(&extraction->jobs);
    free(extraction);
}
