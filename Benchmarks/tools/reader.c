// Reads files as the benchmark's cases do, checks the stamps that it passes (harness/data.py), and prints one line of
// JSON: seconds, bytes, wrong stamps, and the milliseconds of each step: p50, p99, max.
//
//   reader seq    [-b BYTES] [-l LIMIT] SPEC...        each file by a thread of its own, from start to end (or LIMIT)
//   reader same   -t THREADS [-b BYTES] SPEC           THREADS readers of one file
//   reader random -t THREADS -n COUNT [-b BYTES] SPEC  COUNT reads at random multiples of the stamps' distance
//   reader stride -n COUNT -d BYTES [-b BYTES] SPEC    COUNT reads, BYTES apart; negative: backward from the end
//   reader files  -t THREADS                           open, read and close each file of standard input's SPECs
//   reader first                                       as files, one thread, one page each: open to first byte
// -D reads with O_DIRECT, so that each step is one request to the daemon. SPEC: path:number:stamp-distance
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct file {
    char *path;
    uint64_t number, every;
};

static size_t block = 1 << 20;
static long count = 0, distance = 0, threads = 1;
static uint64_t limit = UINT64_MAX;
static int direct = 0;
static struct file *files;
static long file_count;
static atomic_long next_step, wrong, bytes_read;
static double *steps; // milliseconds
static atomic_long step_count;
static const char *mode;
static double *thread_seconds;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what, const char *path) {
    fprintf(stderr, "reader: %s %s: %m\n", what, path);
    exit(1);
}

static void note(double started) { steps[atomic_fetch_add(&step_count, 1)] = (now() - started) * 1000; }

// Compares the stamps in `count` bytes from `offset` on.
static void check(const struct file *f, const char *buffer, size_t size, uint64_t offset) {
    uint64_t at = (offset + f->every - 1) / f->every * f->every;
    for (; at + 16 <= offset + size; at += f->every) {
        uint64_t expected = f->number << 48 | at;
        if (memcmp(buffer + (at - offset), "MILLRACE", 8) || memcmp(buffer + (at - offset) + 8, &expected, 8)) wrong++;
    }
}

// Reads `size` bytes, fewer only at the file's end.
static size_t read_at(const struct file *f, int fd, char *buffer, size_t size, uint64_t offset) {
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, buffer + done, size - done, offset + done);
        if (n < 0) fail("read", f->path);
        if (n == 0) break;
        done += n;
    }
    check(f, buffer, done, offset);
    bytes_read += done;
    return done;
}

static int open_file(const struct file *f) {
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | direct);
    if (fd < 0) fail("open", f->path);
    return fd;
}

static uint64_t size_of(const struct file *f, int fd) {
    struct stat s;
    if (fstat(fd, &s)) fail("stat", f->path);
    return s.st_size;
}

static void whole(const struct file *f, char *buffer, int notes_steps) {
    double opened = now();
    int fd = open_file(f);
    uint64_t at = 0;
    for (size_t n; at < limit; at += n) {
        double started = now();
        n = read_at(f, fd, buffer, block, at);
        if (n == 0) break;
        if (notes_steps) note(started);
    }
    close(fd);
    if (!notes_steps) note(opened);
}

static void *run(void *argument) {
    long id = (long)argument;
    double started = now();
    char *buffer = aligned_alloc(4096, block < 4096 ? 4096 : block);
    if (!strcmp(mode, "seq") || !strcmp(mode, "same")) {
        whole(&files[id % file_count], buffer, 1);
    } else if (!strcmp(mode, "random")) {
        struct file *f = &files[0];
        int fd = open_file(f);
        posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
        uint64_t places = size_of(f, fd) / f->every;
        while (atomic_fetch_add(&next_step, 1) < count) {
            uint64_t r = (uint64_t)random() << 31 ^ random();
            double t = now();
            read_at(f, fd, buffer, block, r % places * f->every);
            note(t);
        }
        close(fd);
    } else if (!strcmp(mode, "stride")) {
        struct file *f = &files[0];
        int fd = open_file(f);
        uint64_t at = distance < 0 ? size_of(f, fd) - block : 0;
        for (long i = 0; i < count; i++, at += distance) {
            double t = now();
            if (read_at(f, fd, buffer, block, at) == 0) break;
            note(t);
        }
        close(fd);
    } else if (!strcmp(mode, "files")) {
        for (long i; (i = atomic_fetch_add(&next_step, 1)) < file_count;) whole(&files[i], buffer, 0);
    } else if (!strcmp(mode, "first")) {
        for (long i = 0; i < file_count; i++) {
            double t = now();
            int fd = open_file(&files[i]);
            read_at(&files[i], fd, buffer, 4096, 0);
            note(t);
            close(fd);
        }
    }
    free(buffer);
    thread_seconds[id] = now() - started;
    return NULL;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void add_file(char *spec) {
    char *last = strrchr(spec, ':');
    if (!last) fail("no number in", spec);
    *last = 0;
    char *middle = strrchr(spec, ':');
    if (!middle) fail("no stamp distance in", spec);
    *middle = 0;
    files = realloc(files, (file_count + 1) * sizeof *files);
    files[file_count++] = (struct file){strdup(spec), strtoull(middle + 1, 0, 10), strtoull(last + 1, 0, 10)};
}

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "reader: see the head of reader.c\n"), 2;
    mode = argv[1];
    argc--, argv++;
    for (int c; (c = getopt(argc, argv, "Db:l:t:n:d:")) != -1;) {
        if (c == 'D') direct = O_DIRECT;
        else if (c == 'b') block = strtoull(optarg, 0, 10);
        else if (c == 'l') limit = strtoull(optarg, 0, 10);
        else if (c == 't') threads = atol(optarg);
        else if (c == 'n') count = atol(optarg);
        else if (c == 'd') distance = atol(optarg);
        else return 2;
    }
    for (int i = optind; i < argc; i++) add_file(argv[i]);
    if (!strcmp(mode, "files") || !strcmp(mode, "first")) {
        char line[4096];
        while (fgets(line, sizeof line, stdin)) line[strcspn(line, "\n")] = 0, add_file(line);
    }
    if (!file_count) return fprintf(stderr, "reader: no files\n"), 2;
    if (!strcmp(mode, "seq")) threads = file_count;
    srandom(getpid() ^ time(NULL));
    long most = count + file_count + 1000;
    for (long i = 0; i < file_count && (!strcmp(mode, "seq") || !strcmp(mode, "same")); i++) {
        struct stat s;
        if (stat(files[i].path, &s)) fail("stat", files[i].path);
        most += (s.st_size / block + 2) * 33 * (!strcmp(mode, "same") ? threads : 1);
    }
    steps = malloc(most * sizeof *steps);
    thread_seconds = calloc(threads, sizeof *thread_seconds);
    pthread_t *handles = calloc(threads, sizeof *handles);
    double started = now();
    for (long i = 0; i < threads; i++) pthread_create(&handles[i], NULL, run, (void *)i);
    for (long i = 0; i < threads; i++) pthread_join(handles[i], NULL);
    double seconds = now() - started;
    long n = step_count;
    qsort(steps, n, sizeof *steps, by_value);
    qsort(thread_seconds, threads, sizeof *thread_seconds, by_value);
    printf("{\"seconds\": %.6f, \"bytes\": %ld, \"wrong\": %ld, \"steps\": %ld, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"max_ms\": %.3f, \"fastest_thread_s\": %.3f, \"slowest_thread_s\": %.3f}\n",
           seconds, (long)bytes_read, (long)wrong, n, n ? steps[n / 2] : 0, n ? steps[(long)(n * 0.99)] : 0,
           n ? steps[n - 1] : 0, thread_seconds[0], thread_seconds[threads - 1]);
    return wrong ? 1 : 0;
}
