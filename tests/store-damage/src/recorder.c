// A library that is loaded before the C library (LD_PRELOAD) into a process that writes a store.
// With RECORD_TRACE it records every change below RECORD_ROOT to that file, in the order of the
// effects, so that a loss of power can be replayed at any point. With RECORD_FULL_AT every change
// from that number on fails with "no space left", as on a full disk.
//
// A record has: operation (1 byte), id of the file (8), offset or length (8), number of the bytes
// that follow (8), the bytes.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, RMDIR, SYNC_DIRECTORY, PRINTED };

#define FILES_MAX 65536
static struct {
  ino_t inode;
  uint64_t id;
} files[FILES_MAX];
static size_t file_count;
static uint64_t last_id;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char root[4096];
static size_t root_bytes;
static int trace = -1;
static long full_at = -1, changes;
static int is_ready;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void prepare(void) {
  if (is_ready) return;
  is_ready = 1;
  const char *under = getenv("RECORD_ROOT"), *to = getenv("RECORD_TRACE"), *full = getenv("RECORD_FULL_AT");
  if (!under) return;
  snprintf(root, sizeof root, "%s", under);
  root_bytes = strlen(root);
  if (full) full_at = atol(full);
  if (to) trace = REAL(open)(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void record(uint8_t operation, uint64_t id, uint64_t at, const void *bytes, uint64_t count) {
  if (trace < 0) return;
  uint8_t head[25];
  head[0] = operation;
  memcpy(head + 1, &id, 8);
  memcpy(head + 9, &at, 8);
  memcpy(head + 17, &count, 8);
  struct iovec parts[2] = {{head, sizeof head}, {(void *)bytes, count}};
  ssize_t (*real)(int, const struct iovec *, int) = REAL(writev);
  if (real(trace, parts, count ? 2 : 1) != (ssize_t)(sizeof head + count)) abort();
}

static int is_under(const char *path) { return root_bytes && !strncmp(path, root, root_bytes) && path[root_bytes] == '/'; }

static void record_path(uint8_t operation, uint64_t id, const char *path) {
  record(operation, id, 0, path + root_bytes + 1, strlen(path + root_bytes + 1));
}

// The id of an open file; 0 if the file is not below the root. With `is_new` it gets a new id,
// because another file may have had the same inode number before.
static uint64_t id_of(int fd, int is_new) {
  struct stat found;
  if (!root_bytes || fstat(fd, &found) || !S_ISREG(found.st_mode)) return 0;
  for (size_t at = 0; at < file_count; at++)
    if (files[at].inode == found.st_ino) {
      if (is_new) files[at].id = ++last_id;
      return files[at].id;
    }
  if (!is_new) return 0;
  if (file_count == FILES_MAX) abort();
  files[file_count].inode = found.st_ino;
  files[file_count].id = ++last_id;
  return files[file_count++].id;
}

// Whether this change fails. Only changes of the store are counted.
static int is_full(void) {
  changes++;
  if (full_at < 0 || changes < full_at) return 0;
  errno = ENOSPC;
  return 1;
}

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
  pthread_mutex_lock(&lock);
  prepare();
  int fd;
  if (!is_under(path)) {
    fd = real(path, flags, mode);
  } else {
    struct stat before;
    int existed = !stat(path, &before), creates = (flags & O_CREAT) && !existed;
    if (creates && is_full()) {
      fd = -1;
    } else {
      fd = real(path, flags, mode);
      if (fd >= 0 && creates) record_path(CREATE, id_of(fd, 1), path);
      if (fd >= 0 && existed && (flags & O_TRUNC) && before.st_size) record(TRUNCATE, id_of(fd, 0), 0, NULL, 0);
    }
  }
  int error = errno;
  pthread_mutex_unlock(&lock);
  errno = error;
  return fd;
}

#define OPEN(name)                                 \
  int name(const char *path, int flags, ...) {     \
    mode_t mode = 0;                               \
    if (flags & (O_CREAT | O_TMPFILE)) {           \
      va_list rest;                                \
      va_start(rest, flags);                       \
      mode = va_arg(rest, mode_t);                 \
      va_end(rest);                                \
    }                                              \
    return opened(REAL(name), path, flags, mode);  \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                 \
  int name(int directory, const char *path, int flags, ...) {                                        \
    mode_t mode = 0;                                                                                 \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                             \
      va_list rest;                                                                                  \
      va_start(rest, flags);                                                                         \
      mode = va_arg(rest, mode_t);                                                                   \
      va_end(rest);                                                                                  \
    }                                                                                                \
    if (directory == AT_FDCWD || *path == '/') return opened(REAL(open), path, flags, mode);         \
    return REAL(name)(directory, path, flags, mode);                                                 \
  }
OPENAT(openat)
OPENAT(openat64)

// Before the first write that fails, half of it still fits.
#define WRITES(name, params, args, shorter, offset)                     \
  ssize_t name params {                                                 \
    pthread_mutex_lock(&lock);                                          \
    prepare();                                                          \
    ssize_t (*real) params = REAL(name);                                \
    uint64_t id = fd == trace || fd < 1 ? 0 : id_of(fd, 0);             \
    ssize_t written;                                                    \
    if (id && changes + 1 == full_at && count > 1) {                    \
      changes++;                                                        \
      written = real shorter;                                           \
    } else if (id && is_full()) {                                       \
      written = -1;                                                     \
    } else {                                                            \
      written = real args;                                              \
    }                                                                   \
    int error = errno;                                                  \
    if (written > 0 && id) record(WRITE, id, offset, bytes, written);   \
    if (written > 0 && fd == 1) record(PRINTED, 0, 0, bytes, written);  \
    pthread_mutex_unlock(&lock);                                        \
    errno = error;                                                      \
    return written;                                                     \
  }
#define POSITION (uint64_t)(lseek(fd, 0, SEEK_CUR) - written)
WRITES(write, (int fd, const void *bytes, size_t count), (fd, bytes, count), (fd, bytes, count / 2), POSITION)
WRITES(pwrite, (int fd, const void *bytes, size_t count, off_t at), (fd, bytes, count, at), (fd, bytes, count / 2, at), (uint64_t)at)
WRITES(pwrite64, (int fd, const void *bytes, size_t count, off64_t at), (fd, bytes, count, at), (fd, bytes, count / 2, at), (uint64_t)at)

ssize_t writev(int fd, const struct iovec *parts, int count) {
  ssize_t all = 0;
  for (int part = 0; part < count; part++) {
    ssize_t written = write(fd, parts[part].iov_base, parts[part].iov_len);
    if (written < 0) return all ? all : written;
    all += written;
    if ((size_t)written < parts[part].iov_len) break;
  }
  return all;
}

static int truncated(int fd, off64_t bytes) {
  pthread_mutex_lock(&lock);
  prepare();
  uint64_t id = id_of(fd, 0);
  struct stat before;
  int grows = id && !fstat(fd, &before) && bytes > before.st_size;
  int result = grows && is_full() ? -1 : REAL(ftruncate64)(fd, bytes);
  int error = errno;
  if (!result && id) record(TRUNCATE, id, bytes, NULL, 0);
  pthread_mutex_unlock(&lock);
  errno = error;
  return result;
}
int ftruncate(int fd, off_t bytes) { return truncated(fd, bytes); }
int ftruncate64(int fd, off64_t bytes) { return truncated(fd, bytes); }

// The stores work without it, and then write zeros.
int fallocate(int fd, int mode, off_t at, off_t bytes) {
  (void)fd, (void)mode, (void)at, (void)bytes;
  errno = EOPNOTSUPP;
  return -1;
}
int fallocate64(int fd, int mode, off64_t at, off64_t bytes) { return fallocate(fd, mode, at, bytes); }
int posix_fallocate(int fd, off_t at, off_t bytes) { return (void)fd, (void)at, (void)bytes, EOPNOTSUPP; }

static int synced(int (*real)(int), int fd) {
  pthread_mutex_lock(&lock);
  prepare();
  int result = real(fd), error = errno;
  struct stat found;
  if (!result && root_bytes && !fstat(fd, &found)) {
    if (S_ISDIR(found.st_mode)) {
      char link[64], path[4096];
      snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
      ssize_t bytes = readlink(link, path, sizeof path - 1);
      if (bytes > 0) {
        path[bytes] = 0;
        if (is_under(path)) record_path(SYNC_DIRECTORY, 0, path);
        if (!strcmp(path, root)) record(SYNC_DIRECTORY, 0, 0, "", 0);
      }
    } else {
      uint64_t id = id_of(fd, 0);
      if (id) record(SYNC, id, 0, NULL, 0);
    }
  }
  pthread_mutex_unlock(&lock);
  errno = error;
  return result;
}
int fsync(int fd) { return synced(REAL(fsync), fd); }
int fdatasync(int fd) { return synced(REAL(fdatasync), fd); }

int rename(const char *from, const char *to) {
  pthread_mutex_lock(&lock);
  prepare();
  int result = REAL(rename)(from, to), error = errno;
  if (!result && is_under(from) && is_under(to)) {
    char both[8192];
    int bytes = snprintf(both, sizeof both, "%s\n%s", from + root_bytes + 1, to + root_bytes + 1);
    record(RENAME, 0, 0, both, bytes);
  }
  pthread_mutex_unlock(&lock);
  errno = error;
  return result;
}
int renameat(int a, const char *from, int b, const char *to) {
  if ((a == AT_FDCWD || *from == '/') && (b == AT_FDCWD || *to == '/')) return rename(from, to);
  return REAL(renameat)(a, from, b, to);
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
  struct stat found;
  if (flags == RENAME_NOREPLACE && !lstat(to, &found)) {
    errno = EEXIST;
    return -1;
  }
  if (flags == RENAME_NOREPLACE) flags = 0;
  return flags ? REAL(renameat2)(a, from, b, to, flags) : renameat(a, from, b, to);
}

#define ON_PATH(name, operation)                                   \
  int name(const char *path) {                                     \
    pthread_mutex_lock(&lock);                                     \
    prepare();                                                     \
    int result = REAL(name)(path), error = errno;                  \
    if (!result && is_under(path)) record_path(operation, 0, path); \
    pthread_mutex_unlock(&lock);                                   \
    errno = error;                                                 \
    return result;                                                 \
  }
ON_PATH(unlink, UNLINK)
ON_PATH(rmdir, RMDIR)

int unlinkat(int directory, const char *path, int flags) {
  if (directory == AT_FDCWD || *path == '/') return flags & AT_REMOVEDIR ? rmdir(path) : unlink(path);
  return REAL(unlinkat)(directory, path, flags);
}

int mkdir(const char *path, mode_t mode) {
  pthread_mutex_lock(&lock);
  prepare();
  int result, error;
  if (is_under(path) && is_full()) {
    result = -1;
  } else {
    result = REAL(mkdir)(path, mode);
    error = errno;
    if (!result && is_under(path)) record_path(MKDIR, 0, path);
    errno = error;
  }
  error = errno;
  pthread_mutex_unlock(&lock);
  errno = error;
  return result;
}
