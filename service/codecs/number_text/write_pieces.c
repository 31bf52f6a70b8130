/* The text of a large array in pieces, which several threads write. */

#include "write_pieces.h"

#include <stdlib.h>

#include "threads.h"

typedef struct {
    Job job;
    const Items *items;
    size_t first, last;
    TextPiece *out;
} WriteJob;

static void
run_write(Job *job)
{
    WriteJob *found = (WriteJob *)job;
    TextPiece *out = found->out;
    char *text = malloc(text_bound(found->items, found->first, found->last));
    out->text = text;
    if (text != NULL) {
        out->length = (size_t)(write_items(found->items, found->first, found->last, text) - text);
        /* What is left of it would stay until the whole answer is sent. */
        char *smaller = realloc(text, out->length);
        out->text = smaller != NULL ? smaller : text;
    }
    JobGroup *group = job->group;
    pthread_mutex_lock(&group->lock);
    end_job(group);
    pthread_mutex_unlock(&group->lock);
}

size_t
count_pieces(const Items *items, size_t size)
{
    return (items->block[items->rank - 1] + size - 1) / size;
}

bool
write_pieces(const Items *items, size_t size, bool threaded, TextPiece *pieces)
{
    size_t count = count_pieces(items, size), all = items->block[items->rank - 1];
    WriteJob *jobs = calloc(count, sizeof *jobs);
    if (jobs == NULL) {
        return false;
    }
    JobGroup group;
    open_group(&group);
    for (size_t i = 0; i < count; i++) {
        size_t first = i * size;
        jobs[i] = (WriteJob){.job = {.run = run_write, .group = &group},
                             .items = items,
                             .first = first,
                             .last = all - first > size ? first + size : all,
                             .out = &pieces[i]};
        pthread_mutex_lock(&group.lock);
        add_job(&group);
        pthread_mutex_unlock(&group.lock);
        if (threaded) {
            submit_job(&jobs[i].job);
        } else {
            run_write(&jobs[i].job);
        }
    }
    wait_for_group(&group);
    close_group(&group);
    free(jobs);
    bool well = true;
    for (size_t i = 0; i < count; i++) {
        well &= pieces[i].text != NULL;
    }
    for (size_t i = 0; i < count && !well; i++) {
        free(pieces[i].text);
        pieces[i].text = NULL;
    }
    return well;
}
