/* Threads that run jobs without the GIL, in the order in which they come. */

#ifndef THREADS_H
#define THREADS_H

#include <stdbool.h>

/* The beginning of a struct that has what the job needs. */
typedef struct Job {
    struct Job *next;
    void (*run)(struct Job *);
} Job;

/* Have `count` threads; they start with the next job. Jobs wait for `run_job` without any. */
void set_threads(int count);

/* Return how many threads there are. */
int count_threads(void);

/* Give a job to the threads. */
void submit_job(Job *job);

/* Run the job that has waited longest; false if none waits. */
bool run_job(void);

#endif
