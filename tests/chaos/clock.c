/* A wall clock that jumps. Preloaded into a process, it adds the seconds in the file $CHAOS_CLOCK to what libc says of
 * CLOCK_REALTIME, and takes them off again from the times until which somebody waits: the kernel's clock has not jumped.
 * The monotonic clock stays as it is. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define TEN_YEARS 315360000LL

static const volatile int64_t *offset;

__attribute__((constructor)) static void map_offset(void) {
    const char *path = getenv("CHAOS_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) offset = page;
    close(file);
}

static int64_t seconds(void) { return offset == NULL ? 0 : *offset; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    long error = REAL(syscall)(SYS_clock_gettime, clock, now);
    if (error == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += seconds();
    return (int)error;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (out != NULL) *out = exact.tv_sec;
    return exact.tv_sec;
}

/* Which clock a condition waits by is not told; a time of the wall clock is decades beyond one of the monotonic clock. */
static struct timespec real_time(const struct timespec *until) {
    struct timespec now, real = *until;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (until->tv_sec > now.tv_sec + TEN_YEARS) real.tv_sec -= seconds();
    return real;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    struct timespec real = real_time(until);
    return REAL(pthread_cond_timedwait)(condition, mutex, &real);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    struct timespec real = real_time(until);
    return REAL(sem_timedwait)(semaphore, &real);
}

/* gRPC waits by futexes of its own. */
long syscall(long number, ...) {
    va_list list;
    long argument[6];
    struct timespec real;
    va_start(list, number);
    for (int place = 0; place < 6; place++) argument[place] = va_arg(list, long);
    va_end(list);
    if (number == SYS_futex && (argument[1] & FUTEX_CLOCK_REALTIME) && argument[3] != 0) {
        real = real_time((const struct timespec *)argument[3]);
        argument[3] = (long)&real;
    }
    return REAL(syscall)(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}
