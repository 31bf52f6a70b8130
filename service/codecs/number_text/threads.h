/* Threads that run jobs without the GIL, in the order in which they come. */

#ifndef THREADS_H
#define THREADS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* Jobs that are waited for together. Its lock may guard more than the count of them. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t pending;
} JobGroup;

/* The beginning of a struct that has what the job needs. */
typedef struct Job {
    struct Job *next;
    JobGroup *group;
    void (*run)(struct Job *);
} Job;

void open_group(JobGroup *group);
void close_group(JobGroup *group);

/* Count one more job, or one less; the group's lock is held. */
void add_job(JobGroup *group);
void end_job(JobGroup *group);

/* Wait until all jobs of the group are over, and run jobs that wait meanwhile. */
void wait_for_group(JobGroup *group);

/* Take back jobs of the group that wait, and wait until the others are over. */
void cancel_group(JobGroup *group);

/* Have `count` threads; they start with the next job. */
void set_threads(int count);

/* Give a job to the threads; run it at once if there are none. */
void submit_job(Job *job);

#endif
