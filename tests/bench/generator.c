/* Load for one WebSocket server on 127.0.0.1, in C99 with epoll (Linux).
 *
 *     generator port=43210 connections=100 inflight=1 size=32 kind=text seconds=1.5
 *
 * load=echo: every connection keeps `inflight` messages on the way: as many new ones leave as
 * replies came in, in one send. load=fan: the first connection sends, every one gets it, and when
 * the last one has it the next leaves; deliveries are counted. load=conn: `connections` at a time
 * connect, shake hands, close with 1000 and wait for the server's Close frame and its end of the
 * stream; connections are counted, and their latency is their life.
 *
 * No two messages are alike and every frame has a key of its own; both follow from the
 * numbers of connection and message, so what has to come back is known to the last bit and none
 * of it needs to be stored. The first byte that differs, a reply too many and a reply too few end
 * the run with a sentence on stderr and status 1: a wrong answer is an error, not a number. Wrong
 * use of the command line has status 2.
 *
 * echo=raw expects the sent bytes themselves, mask and all: the ceiling of a server that does no
 * WebSocket after the handshake.
 *
 * The last line is JSON: what was counted between the end of the warm-up and the end of the time.
 */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE /* for IP_BIND_ADDRESS_NO_PORT */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
enum {
    HEAD_LIMIT = 4096,    /* bytes of the server's answer to the handshake */
    TAG = 8,              /* bytes at the front of a payload that differ from message to message */
    HEADER = 14,          /* the longest frame header */
    CONTROL = 2 + 125,    /* the longest control frame a server may send */
    SPARE = 512,          /* room for the handshake, pongs and the close beside the messages */
    AT_ONCE = 64,         /* handshakes under way at a time: no accept queue overflows */
    READ = 1 << 18,
    EVENTS = 1024,
    SOURCES = 100,        /* of load=conn, 127.0.1.1 to 127.0.100.1: no port is used again soon */
    FINE = 32,            /* steps of the latency histogram within a power of two: 3 % */
};

/* The key of RFC 6455 section 1.3 and the answer that the RFC computes from it. */
static const char key_sent[] = "dGhlIHNhbXBsZSBub25jZQ==";
static const unsigned char close_code[2] = {0x03, 0xe8};
static const char accept_due[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

typedef enum { CONNECTING, SHAKING, OPEN, CLOSING, ENDED } state;

typedef struct {
    int fd;
    state state;
    bool watching_output, close_received;
    uint32_t id;
    uint64_t began;
    uint64_t sent, received;        /* messages */
    uint64_t *sent_at;              /* when the messages on the way left, by number % inflight */
    unsigned char *out;             /* bytes to send: out[out_from..out_to) */
    size_t out_from, out_to;
    size_t at;                      /* bytes of the present reply that have been checked */
    unsigned char control[CONTROL]; /* a control frame on its way in */
    size_t control_at;
    char *head;                     /* the answer to the handshake */
    size_t head_at;
} connection;

static struct {
    long port, connections, inflight, size, server;
    double warmup, seconds, patience;
    enum { ECHO, FAN, CONN } load;
    enum { TEXT, BINARY, MIXED } kind; /* mixed: text of characters of 1 to 4 bytes */
    bool raw;
} options = {0, 1, 1, 32, 0, 0.3, 1.0, 5.0, ECHO, TEXT, false};

static int poller;
static connection *all;
static long opened, answered, ended, started;
static bool sending, measuring;
static uint64_t messages, last_reply;
static long deliveries_due;         /* of load=fan: who does not have the last message yet */
static uint64_t histogram[64 * FINE];
static unsigned char *payload;      /* the message, but for its tag */
static unsigned char header[HEADER];/* of a message to the server, but for its key */
static unsigned char reply_header[HEADER];
static size_t header_size, reply_header_size, frame_size, reply_size, tag_size, out_size;
static unsigned char input[READ];

static uint64_t clock_of(clockid_t id)
{
    struct timespec t;
    if (clock_gettime(id, &t) != 0) {
        perror("generator: clock_gettime");
        exit(1);
    }
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t now(void) { return clock_of(CLOCK_MONOTONIC); }

static void fail(const connection *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "generator: ");
    if (c != NULL)
        fprintf(stderr, "connection %" PRIu32 ", reply %" PRIu64 ": ", c->id, c->received);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static void *need(void *memory)
{
    if (memory == NULL)
        fail(NULL, "out of memory");
    return memory;
}

/* -- messages ---------------------------------------------------------------------------------- */

static uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Whose messages a connection gets. */
static const connection *author_of(const connection *c)
{
    return options.load == FAN ? &all[0] : c;
}

static uint64_t number_of(const connection *c, uint64_t message)
{
    return mixed(((uint64_t)c->id << 40) + message + 1);
}

static void tag_of(uint64_t number, unsigned char *tag)
{
    /* Five bits a byte, from 'A' upwards: ASCII, so that it may stand in text. */
    number = (number & UINT64_C(0x1f1f1f1f1f1f1f1f)) + UINT64_C(0x4141414141414141);
    memcpy(tag, &number, TAG);
}

static void key_of(uint64_t number, unsigned char *key)
{
    uint32_t word = (uint32_t)mixed(number);
    memcpy(key, &word, 4);
}

/* XOR with the key, beginning `offset` bytes into the payload. */
static void mask(unsigned char *bytes, size_t count, const unsigned char *key, size_t offset)
{
    unsigned char turned[8];
    uint64_t word, wide;
    size_t i = 0;
    for (size_t k = 0; k < 8; k++)
        turned[k] = key[(offset + k) & 3];
    memcpy(&wide, turned, 8);
    for (; i + 8 <= count; i += 8) {
        memcpy(&word, bytes + i, 8);
        word ^= wide;
        memcpy(bytes + i, &word, 8);
    }
    for (; i < count; i++)
        bytes[i] ^= turned[i & 7];
}

static size_t make_header(unsigned char *to, bool masked)
{
    size_t size = (size_t)options.size, used = 2;
    to[0] = options.kind == BINARY ? 0x82 : 0x81;
    if (size < 126) {
        to[1] = (unsigned char)size;
    } else {
        int bytes = size < 65536 ? 2 : 8;
        to[1] = bytes == 2 ? 126 : 127;
        for (int i = bytes - 1; i >= 0; i--)
            to[used++] = (unsigned char)((uint64_t)size >> (8 * i));
    }
    if (masked)
        to[1] |= 0x80;
    return used;
}

/* A character of 1, 2, 3, 4, 1, 2... bytes in UTF-8, none of it a surrogate; its bytes. */
static size_t put_character(unsigned char *to, size_t number)
{
    static const uint32_t first[] = {' ', 0xa0, 0x3000, 0x1f300}, span[] = {95, 1800, 1500, 600};
    size_t size = number % 4 + 1;
    uint32_t code = first[size - 1] + (uint32_t)number % span[size - 1];
    if (size == 1) {
        to[0] = (unsigned char)code;
        return 1;
    }
    for (size_t i = size - 1; i > 0; i--, code >>= 6)
        to[i] = (unsigned char)(0x80 | (code & 0x3f));
    to[0] = (unsigned char)(((0xf00u >> size) & 0xf0) | code);
    return size;
}

/* Behind the tag, which is ASCII; what is left at the end is less than a character. */
static void prepare_mixed_text(size_t size)
{
    memset(payload, '.', size);
    for (size_t at = TAG, number = 0; at + number % 4 + 1 <= size; number++)
        at += put_character(payload + at, number);
}

static void prepare_messages(void)
{
    size_t size = (size_t)options.size;
    payload = need(malloc(size + TAG));
    for (size_t i = 0; i < size; i++)
        payload[i] = options.kind == BINARY ? (unsigned char)(i * 7 + 128)
                                            : (unsigned char)(' ' + i % 95);
    if (options.kind == MIXED)
        prepare_mixed_text(size);
    header_size = make_header(header, true);
    reply_header_size = options.raw ? header_size + 4 : make_header(reply_header, false);
    frame_size = header_size + 4 + size;
    reply_size = reply_header_size + size;
    tag_size = size < TAG ? size : TAG;
    out_size = frame_size * (size_t)options.inflight + SPARE;
}

/* -- sending ----------------------------------------------------------------------------------- */

static void watch(connection *c, bool output)
{
    struct epoll_event event = {.events = EPOLLIN | (output ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event) != 0)
        fail(c, "epoll_ctl: %s", strerror(errno));
    c->watching_output = output;
}

static void flush(connection *c)
{
    while (c->out_from < c->out_to) {
        ssize_t count = send(c->fd, c->out + c->out_from, c->out_to - c->out_from, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno != EAGAIN)
            fail(c, "send: %s", strerror(errno));
        if (count < 0)
            break;
        c->out_from += (size_t)count;
    }
    if (c->out_from == c->out_to)
        c->out_from = c->out_to = 0;
    if ((c->out_to != 0) != c->watching_output)
        watch(c, c->out_to != 0);
}

static unsigned char *room(connection *c, size_t count)
{
    if (c->out_to + count > out_size) {
        memmove(c->out, c->out + c->out_from, c->out_to - c->out_from);
        c->out_to -= c->out_from;
        c->out_from = 0;
    }
    if (c->out_to + count > out_size)
        fail(c, "more control frames came than answers to them fit in %d bytes", SPARE);
    unsigned char *place = c->out + c->out_to;
    c->out_to += count;
    return place;
}

static void send_control(connection *c, unsigned char first, const void *body, size_t count)
{
    unsigned char *to = room(c, 6 + count);
    to[0] = first;
    to[1] = (unsigned char)(0x80 | count);
    key_of(number_of(c, ~c->sent), to + 2);
    memcpy(to + 6, body, count);
    mask(to + 6, count, to + 2, 0);
    flush(c);
}

static void fill(connection *c, uint64_t moment)
{
    while (c->sent - c->received < (uint64_t)options.inflight) {
        uint64_t number = number_of(c, c->sent);
        unsigned char tag[TAG], *to = room(c, frame_size), *body = to + header_size + 4;
        memcpy(to, header, header_size);
        key_of(number, to + header_size);
        memcpy(body, payload, (size_t)options.size);
        tag_of(number, tag);
        memcpy(body, tag, tag_size);
        mask(body, (size_t)options.size, to + header_size, 0);
        c->sent_at[c->sent % (uint64_t)options.inflight] = moment;
        c->sent++;
        deliveries_due = options.connections;
    }
    flush(c);
}

/* -- receiving --------------------------------------------------------------------------------- */

static void note_latency(uint64_t nanoseconds)
{
    unsigned power = 0;
    for (uint64_t rest = nanoseconds; rest >= 2 * FINE; rest >>= 1)
        power++;
    histogram[power * FINE + (nanoseconds >> power)]++;
}

static double latency(double share)
{
    uint64_t wanted = (uint64_t)(share * (double)messages), seen = 0;
    for (unsigned i = 0; i < 64 * FINE; i++) {
        seen += histogram[i];
        if (seen > wanted) {
            unsigned power = i < 2 * FINE ? 0 : i / FINE - 1;
            return ((double)(i - power * FINE) + 0.5) * (double)(UINT64_C(1) << power) / 1e9;
        }
    }
    return 0;
}

/* Are these the next `count` bytes of the reply? echo=raw unmasks them in place to find out. */
static bool right(const connection *c, unsigned char *bytes, size_t count)
{
    uint64_t number = number_of(author_of(c), c->received);
    unsigned char front[HEADER], tag[TAG];
    size_t at = c->at;
    memcpy(front, options.raw ? header : reply_header, HEADER);
    if (options.raw)
        key_of(number, front + header_size);
    if (at < reply_header_size) {
        size_t part = reply_header_size - at < count ? reply_header_size - at : count;
        if (memcmp(bytes, front + at, part) != 0)
            return false;
        at += part, bytes += part, count -= part;
    }
    if (count == 0)
        return true;
    at -= reply_header_size;
    if (options.raw)
        mask(bytes, count, front + header_size, at);
    if (at < tag_size) {
        size_t part = tag_size - at < count ? tag_size - at : count;
        tag_of(number, tag);
        if (memcmp(bytes, tag + at, part) != 0)
            return false;
        at += part, bytes += part, count -= part;
    }
    return memcmp(bytes, payload + at, count) == 0;
}

static size_t take_control(connection *c, const unsigned char *bytes, size_t count)
{
    size_t used = 0;
    while (used < count) {
        c->control[c->control_at++] = bytes[used++];
        if (c->control_at < 2)
            continue;
        if (c->control[1] > 125)
            fail(c, "a control frame has the length byte 0x%02x", c->control[1]);
        if (c->control_at < 2u + c->control[1])
            continue;
        c->control_at = 0;
        switch (c->control[0]) {
        case 0x88:
            if (c->state != CLOSING)
                fail(c, "the server closed the connection, %d bytes of reason", c->control[1]);
            if (c->control[1] < 2 || memcmp(c->control + 2, close_code, 2) != 0)
                fail(c, "the server answered Close 1000 with another code");
            c->close_received = true;
            break;
        case 0x89:
            send_control(c, 0x8a, c->control + 2, c->control[1]);
            break;
        case 0x8a:
            break;
        default:
            fail(c, "a frame begins with 0x%02x", c->control[0]);
        }
        return used;
    }
    return used;
}

static void count_reply(connection *c, uint64_t moment)
{
    const connection *author = author_of(c);
    if (measuring) {
        note_latency(moment - author->sent_at[c->received % (uint64_t)options.inflight]);
        messages++;
    }
    c->at = 0;
    if (c->received++ == 0)
        answered++;
    if (options.load == FAN)
        deliveries_due--;
    last_reply = moment;
}

static void take(connection *c, unsigned char *bytes, size_t count, uint64_t moment)
{
    while (count > 0) {
        size_t used;
        if (c->close_received)
            fail(c, "%zu bytes came after the Close frame", count);
        if (!options.raw && c->at == 0 && (c->control_at > 0 || (bytes[0] & 0x08))) {
            used = take_control(c, bytes, count);
        } else {
            if (c->received == author_of(c)->sent)
                fail(c, "an extra reply came, beginning with 0x%02x", bytes[0]);
            used = reply_size - c->at < count ? reply_size - c->at : count;
            if (!right(c, bytes, used))
                fail(c, "the reply is wrong within its bytes %zu to %zu", c->at, c->at + used);
            c->at += used;
            if (c->at == reply_size)
                count_reply(c, moment);
        }
        bytes += used;
        count -= used;
    }
    if (sending && options.load == ECHO)
        fill(c, moment);
    if (sending && options.load == FAN && deliveries_due == 0)
        fill(&all[0], moment);
}

/* -- the life of a connection ------------------------------------------------------------------ */

/* Many short connections use up the ports of one address while those before linger. */
static void choose_source(connection *c)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    int one = 1;
    source.sin_addr.s_addr = htonl((INADDR_LOOPBACK & 0xff000001) + ((c->id % SOURCES + 1) << 8));
    if (setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) != 0 ||
        bind(c->fd, (struct sockaddr *)&source, sizeof source) != 0)
        fail(c, "bind: %s", strerror(errno));
}

static void start(connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = c};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->id = (uint32_t)started++;
    c->began = now();
    c->state = CONNECTING;
    c->close_received = false;
    c->head_at = 0;
    if (c->out == NULL) {
        c->out = need(malloc(out_size));
        c->sent_at = need(calloc((size_t)options.inflight, sizeof *c->sent_at));
        c->head = need(malloc(HEAD_LIMIT + 1));
    }
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
        fail(c, "socket: %s", strerror(errno));
    if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        fail(c, "TCP_NODELAY: %s", strerror(errno));
    if (options.load == CONN)
        choose_source(c);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS)
        fail(c, "connect: %s", strerror(errno));
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) != 0)
        fail(c, "epoll_ctl: %s", strerror(errno));
    c->watching_output = true;
}

static void ask(connection *c)
{
    int error = 0;
    socklen_t size = sizeof error;
    char request[256];
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
        fail(c, "connect: %s", strerror(error));
    int count = snprintf(request, sizeof request,
                         "GET / HTTP/1.1\r\nHost: 127.0.0.1:%ld\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                         "Sec-WebSocket-Version: 13\r\n\r\n",
                         options.port, key_sent);
    memcpy(room(c, (size_t)count), request, (size_t)count);
    c->state = SHAKING;
    flush(c);
}

static void check_head(connection *c)
{
    static const char field[] = "\r\nSec-WebSocket-Accept:";
    bool accepted = false;
    if (strncmp(c->head, "HTTP/1.1 101 ", 13) != 0)
        fail(c, "the handshake was answered with \"%.*s\"", (int)strcspn(c->head, "\r\n"), c->head);
    for (char *line = c->head; (line = strstr(line, "\r\n")) != NULL; line += 2) {
        if (strncasecmp(line, field, sizeof field - 1) != 0)
            continue;
        char *value = line + sizeof field - 1;
        value += strspn(value, " \t");
        size_t length = strcspn(value, " \t\r");
        accepted = length == sizeof accept_due - 1 && strncmp(value, accept_due, length) == 0;
    }
    if (!accepted)
        fail(c, "the handshake was answered without Sec-WebSocket-Accept: %s", accept_due);
}

static void say_goodbye(connection *c)
{
    c->state = CLOSING;
    if (!options.raw)
        send_control(c, 0x88, close_code, sizeof close_code);
    else if (shutdown(c->fd, SHUT_WR) != 0)
        fail(c, "shutdown: %s", strerror(errno));
}

static void take_head(connection *c, unsigned char *bytes, size_t count, uint64_t moment)
{
    size_t before = c->head_at, part = HEAD_LIMIT - before < count ? HEAD_LIMIT - before : count;
    memcpy(c->head + c->head_at, bytes, part);
    c->head_at += part;
    c->head[c->head_at] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (end == NULL && c->head_at == HEAD_LIMIT)
        fail(c, "the answer to the handshake has no end within %d bytes", HEAD_LIMIT);
    if (end == NULL)
        return;
    size_t used = (size_t)(end + 4 - c->head) - before;
    check_head(c);
    c->state = OPEN;
    opened++;
    last_reply = moment;
    if (options.load == CONN) {
        say_goodbye(c);
    } else {
        free(c->head);
        c->head = NULL;
    }
    take(c, bytes + used, count - used, moment);
}

static void end(connection *c, uint64_t moment)
{
    if (c->state != CLOSING)
        fail(c, "the server ended the connection");
    if (!options.raw && !c->close_received)
        fail(c, "the connection ended without a Close frame from the server");
    if (c->at != 0)
        fail(c, "the connection ended within an extra reply");
    close(c->fd);
    c->state = ENDED;
    ended++;
    last_reply = moment;
    if (options.load == CONN && measuring) {
        note_latency(moment - c->began);
        messages++;
    }
    if (options.load == CONN && sending)
        start(c);
}

static void read_from(connection *c)
{
    ssize_t count = recv(c->fd, input, sizeof input, 0);
    uint64_t moment = now();
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    /* A server may reset a connection whose closing handshake is over: nothing is lost by it. */
    if (count < 0 && errno == ECONNRESET && c->close_received)
        count = 0;
    if (count < 0)
        fail(c, "recv: %s", strerror(errno));
    if (count == 0)
        end(c, moment);
    else if (c->state == SHAKING)
        take_head(c, input, (size_t)count, moment);
    else
        take(c, input, (size_t)count, moment);
}

static void step(uint64_t until)
{
    static struct epoll_event events[EVENTS];
    uint64_t moment = now();
    int wait = moment >= until ? 0 : (int)((until - moment + 999999) / 1000000);
    int count = epoll_wait(poller, events, EVENTS, wait);
    if (count < 0 && errno != EINTR)
        fail(NULL, "epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        connection *c = events[i].data.ptr;
        if (c->state == CONNECTING) {
            ask(c);
            continue;
        }
        if (events[i].events & EPOLLOUT)
            flush(c);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            read_from(c);
    }
}

/* -- the run ----------------------------------------------------------------------------------- */

static uint64_t lasting(double seconds) { return (uint64_t)(seconds * (double)SECOND); }

static void open_all(void)
{
    last_reply = now();
    while (opened < options.connections) {
        while (started < options.connections && started - opened < AT_ONCE)
            start(&all[started]);
        step(last_reply + lasting(options.patience));
        if (now() > last_reply + lasting(options.patience))
            fail(NULL, "%ld of %ld handshakes are still unanswered after %g s",
                 options.connections - opened, options.connections, options.patience);
    }
}

static void run_until(uint64_t moment)
{
    while (now() < moment)
        step(moment);
}

static uint64_t missing(void)
{
    uint64_t count = 0;
    if (options.load == CONN)
        return (uint64_t)(started - ended);
    for (long i = 0; i < options.connections; i++)
        count += author_of(&all[i])->sent - all[i].received;
    return count;
}

static void drain(void)
{
    static const char *const what[] = {"replies", "deliveries", "ends of connections"};
    uint64_t count;
    last_reply = now();
    while ((count = missing()) > 0) {
        step(last_reply + lasting(options.patience));
        if (now() > last_reply + lasting(options.patience))
            fail(NULL, "%" PRIu64 " %s are missing after %g s", count, what[options.load],
                 options.patience);
    }
}

/* What still comes before the server's Close frame (echo=raw: its end) is an extra reply. */
static void close_all(void)
{
    for (long i = 0; i < options.connections; i++)
        say_goodbye(&all[i]);
    last_reply = now();
    while (ended < options.connections) {
        step(last_reply + lasting(options.patience));
        if (now() > last_reply + lasting(options.patience))
            fail(NULL, "%ld connections are still open %g s after the Close frame",
                 options.connections - ended, options.patience);
    }
}

/* Until the time is over, and every connection has had a reply or has waited too long for it. */
static void warm_up(void)
{
    run_until(now() + lasting(options.warmup));
    uint64_t late = now() + lasting(options.patience);
    while (options.load != CONN && answered < options.connections && now() < late)
        step(late);
}

static void measure(void)
{
    uint64_t begin, mine, theirs = 0, seconds;
    clockid_t server = CLOCK_MONOTONIC;
    if (options.server != 0 && clock_getcpuclockid((pid_t)options.server, &server) != 0)
        fail(NULL, "there is no process %ld", options.server);
    sending = true;
    for (long i = 0; i < (options.load == FAN ? 1 : options.connections); i++)
        if (options.load == CONN)
            start(&all[i]);
        else
            fill(&all[i], now());
    warm_up();
    measuring = true;
    if (options.server != 0)
        theirs = clock_of(server);
    mine = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    begin = now();
    run_until(begin + lasting(options.seconds));
    seconds = now() - begin;
    mine = clock_of(CLOCK_PROCESS_CPUTIME_ID) - mine;
    if (options.server != 0)
        theirs = clock_of(server) - theirs;
    measuring = sending = false;
    drain();
    if (options.load != CONN)
        close_all();
    if (messages == 0)
        fail(NULL, "not one %s within the %g s of the measurement",
             options.load == CONN ? "connection ended" : "reply came", options.seconds);
    printf("{\"messages\": %" PRIu64 ", \"seconds\": %.6f, \"rate\": %.1f, ", messages,
           (double)seconds / 1e9, (double)messages * 1e9 / (double)seconds);
    printf("\"generator_cpu\": %.6f, ", (double)mine / 1e9);
    if (options.server != 0)
        printf("\"server_cpu\": %.6f, ", (double)theirs / 1e9);
    else
        printf("\"server_cpu\": null, ");
    printf("\"p50\": %.9f, \"p99\": %.9f}\n", latency(0.5), latency(0.99));
}

static void usage(const char *argument)
{
    fprintf(stderr,
            "generator: \"%s\" is not understood\n"
            "usage: generator port=N [load=echo|fan|conn] [connections=N] [inflight=N]\n"
            "                 [size=BYTES] [kind=text|binary|mixed] [echo=websocket|raw]\n"
            "                 [warmup=S] [seconds=S] [patience=S] [server=PID]\n",
            argument);
    exit(2);
}

static bool set_number(const char *name, const char *value)
{
    struct { const char *name; long *count; double *seconds; long least; } known[] = {
        {"port", &options.port, NULL, 1},           {"connections", &options.connections, NULL, 1},
        {"inflight", &options.inflight, NULL, 1},   {"size", &options.size, NULL, 1},
        {"server", &options.server, NULL, 1},       {"warmup", NULL, &options.warmup, 0},
        {"seconds", NULL, &options.seconds, 0},     {"patience", NULL, &options.patience, 0},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char *rest;
        if (strcmp(name, known[i].name) != 0)
            continue;
        if (known[i].count != NULL) {
            *known[i].count = strtol(value, &rest, 10);
            return *value != 0 && *rest == 0 && *known[i].count >= known[i].least;
        }
        *known[i].seconds = strtod(value, &rest);
        return *value != 0 && *rest == 0 && *known[i].seconds >= 0 && *known[i].seconds <= 3600;
    }
    return false;
}

/* Which of the words is the value; -1: none. */
static int one_of(const char *value, const char *const words[3])
{
    for (int i = 0; i < 3 && words[i] != NULL; i++)
        if (strcmp(value, words[i]) == 0)
            return i;
    return -1;
}

static bool set_word(const char *name, const char *value)
{
    static const char *const loads[3] = {"echo", "fan", "conn"};
    static const char *const kinds[3] = {"text", "binary", "mixed"};
    static const char *const echoes[3] = {"websocket", "raw", NULL};
    int load = one_of(value, loads), kind = one_of(value, kinds), echo = one_of(value, echoes);
    if (strcmp(name, "load") == 0 && load >= 0)
        options.load = load;
    else if (strcmp(name, "kind") == 0 && kind >= 0)
        options.kind = kind;
    else if (strcmp(name, "echo") == 0 && echo >= 0)
        options.raw = echo == 1;
    else
        return false;
    return true;
}

static void parse(int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        char name[32] = "", *value = strchr(arguments[i], '=');
        if (value == NULL || (size_t)(value - arguments[i]) >= sizeof name)
            usage(arguments[i]);
        memcpy(name, arguments[i], (size_t)(value - arguments[i]));
        value++;
        if (!set_word(name, value) && !set_number(name, value))
            usage(arguments[i]);
    }
    if (options.port == 0 || options.port > 65535)
        usage("port=");
    if (options.load == FAN && options.inflight != 1)
        usage("inflight=, which is 1 with load=fan");
}

static void allow_descriptors(void)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)options.connections + 16;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail(NULL, "getrlimit: %s", strerror(errno));
    if (limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail(NULL, "%ld connections need a higher limit of open files: %s", options.connections,
             strerror(errno));
}

int main(int count, char **arguments)
{
    parse(count, arguments);
    allow_descriptors();
    prepare_messages();
    all = need(calloc((size_t)options.connections, sizeof *all));
    poller = epoll_create1(0);
    if (poller < 0)
        fail(NULL, "epoll_create1: %s", strerror(errno));
    if (options.load != CONN)
        open_all();
    measure();
    return 0;
}
