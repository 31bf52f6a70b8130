/* Threads that run jobs without the GIL, in the order in which they come.

   They call nothing of Python, so they may be detached: they end with the process. */

#define _GNU_SOURCE

#include "threads.h"

#if defined(__linux__)
#include <sys/resource.h>
#endif

/* Calls of milliseconds come before the text of large ones, as in worker processes. */
#define NICE 10
/* A thread calls few functions, and strtod is the deepest. */
#define STACK_BYTES (512 * 1024)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t waiting = PTHREAD_COND_INITIALIZER;
static Job *first, *last;
static int wanted, started;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Return the job that has waited longest, or NULL; the lock is held. */
static Job *
take_job(void)
{
    Job *job = first;
    if (job != NULL) {
        first = job->next;
    }
    return job;
}

static void *
run_jobs(void *unused)
{
    (void)unused;
#if defined(__linux__)
    setpriority(PRIO_PROCESS, 0, NICE); /* of this thread, on Linux */
#endif
    pthread_mutex_lock(&lock);
    while (true) {
        Job *job = take_job();
        if (job == NULL) {
            if (started > wanted) {
                break;
            }
            pthread_cond_wait(&waiting, &lock);
            continue;
        }
        pthread_mutex_unlock(&lock);
        job->run(job);
        pthread_mutex_lock(&lock);
    }
    started--;
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* A forked process has no threads. */
static void
forget_threads(void)
{
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&waiting, NULL);
    first = NULL;
    started = 0;
}

static void
watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_threads);
}

/* Start threads that are missing; the lock is held. Without one more, the caller runs the jobs. */
static void
start_threads(void)
{
    pthread_attr_t attributes;
    if (started >= wanted || pthread_attr_init(&attributes) != 0) {
        return;
    }
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_t thread;
    while (started < wanted && pthread_create(&thread, &attributes, run_jobs, NULL) == 0) {
        started++;
    }
    pthread_attr_destroy(&attributes);
}

void
set_threads(int count)
{
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&lock);
    wanted = count;
    pthread_cond_broadcast(&waiting);
    pthread_mutex_unlock(&lock);
}

void
submit_job(Job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&lock);
    start_threads();
    if (started == 0) { /* there is none to take it */
        pthread_mutex_unlock(&lock);
        job->run(job);
        return;
    }
    if (first == NULL) {
        first = job;
    } else {
        last->next = job;
    }
    last = job;
    pthread_cond_signal(&waiting);
    pthread_mutex_unlock(&lock);
}

/* Run the job that has waited longest; false if none waits. */
static bool
run_job(void)
{
    pthread_mutex_lock(&lock);
    Job *job = take_job();
    pthread_mutex_unlock(&lock);
    if (job != NULL) {
        job->run(job);
    }
    return job != NULL;
}

void
open_group(JobGroup *group)
{
    pthread_mutex_init(&group->lock, NULL);
    pthread_cond_init(&group->changed, NULL);
    group->pending = 0;
}

void
close_group(JobGroup *group)
{
    pthread_cond_destroy(&group->changed);
    pthread_mutex_destroy(&group->lock);
}

void
add_job(JobGroup *group)
{
    group->pending++;
}

void
end_job(JobGroup *group)
{
    group->pending--;
    if (group->pending == 0) {
        pthread_cond_broadcast(&group->changed);
    }
}

void
wait_for_group(JobGroup *group)
{
    pthread_mutex_lock(&group->lock);
    while (group->pending > 0) {
        pthread_mutex_unlock(&group->lock);
        bool ran = run_job();
        pthread_mutex_lock(&group->lock);
        if (!ran && group->pending > 0) {
            pthread_cond_wait(&group->changed, &group->lock);
        }
    }
    pthread_mutex_unlock(&group->lock);
}

void
cancel_group(JobGroup *group)
{
    size_t count = 0;
    pthread_mutex_lock(&lock);
    Job **link = &first;
    last = NULL;
    while (*link != NULL) {
        if ((*link)->group == group) {
            *link = (*link)->next;
            count++;
        } else {
            last = *link;
            link = &last->next;
        }
    }
    pthread_mutex_unlock(&lock);
    pthread_mutex_lock(&group->lock);
    group->pending -= count;
    while (group->pending > 0) {
        pthread_cond_wait(&group->changed, &group->lock);
    }
    pthread_mutex_unlock(&group->lock);
}
