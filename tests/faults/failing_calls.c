/* Lets the n-th call that changes files below a folder fail, for tests: preloaded, and armed from within the process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static char failed[64];
static int number, code, seen;

/* The n-th call from here on fails with this error; 0 lets none fail and counts them. */
void fault_arm(const char *below, int n, int error) {
    snprintf(folder, sizeof folder, "%s", below);
    number = n, code = error, seen = 0, failed[0] = 0;
}

int fault_seen(void) { return seen; }
const char *fault_failed(void) { return failed; }

static int fails(const char *call, const char *path) {
    size_t length = strlen(folder);
    if (!length || strncmp(path, folder, length)) return 0;
    if (++seen != number) return 0;
    snprintf(failed, sizeof failed, "%s", call);
    errno = code;
    return 1;
}

static int fd_fails(const char *call, int fd) {
    char link[64], path[PATH_MAX];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(call, path);
}

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t count) { NEXT(write); return fd_fails("write", fd) ? -1 : next(fd, bytes, count); }
ssize_t writev(int fd, const struct iovec *parts, int count) { NEXT(writev); return fd_fails("write", fd) ? -1 : next(fd, parts, count); }
int fsync(int fd) { NEXT(fsync); return fd_fails("fsync", fd) ? -1 : next(fd); }
int ftruncate(int fd, off_t size) { NEXT(ftruncate); return fd_fails("truncate", fd) ? -1 : next(fd, size); }
int ftruncate64(int fd, off64_t size) { NEXT(ftruncate64); return fd_fails("truncate", fd) ? -1 : next(fd, size); }
int flock(int fd, int operation) { NEXT(flock); return !(operation & LOCK_UN) && fd_fails("lock", fd) ? -1 : next(fd, operation); }
int rename(const char *from, const char *to) { NEXT(rename); return fails("rename", to) ? -1 : next(from, to); }
int mkdir(const char *path, mode_t mode) { NEXT(mkdir); return fails("mkdir", path) ? -1 : next(path, mode); }

#define OPEN(name)                                                             \
    int name(const char *path, int flags, ...) {                               \
        va_list rest;                                                          \
        va_start(rest, flags);                                                 \
        mode_t mode = va_arg(rest, mode_t);                                    \
        va_end(rest);                                                          \
        NEXT(name);                                                            \
        return (flags & O_CREAT) && fails("open", path) ? -1 : next(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
