/* One end of a WebSocket connection that costs next to nothing, for a client to be measured against,
 * in C99. It serves one connection on 127.0.0.1 and names its port on stdout.
 *
 *     answerer              sends every message back
 *     answerer flood=FILE   sends the bytes of the file, whole frames, again and again, until the
 *                           client's Close comes; messages of the client are an error
 *
 * It never waits for two things at a time but in a flood, so that a round trip is one recv and one
 * send. What a client must not do ends it with a sentence on stderr and status 1; wrong use of the
 * command line has status 2. When its input hangs up, which is a pipe from the runner, it ends.
 */
#define _GNU_SOURCE /* O_ASYNC */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

enum {
    HEAD_LIMIT = 8192,        /* bytes of the client's request */
    LIMIT = 1 << 20,          /* bytes of a message */
    HEADER = 14,              /* the longest frame header */
    ROOM = 2 * (LIMIT + HEADER),
    HEAP = 1 << 18,           /* a flood leaves in pieces of at least this size */
};

static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

static int fd;
static bool flooding, closed;             /* closed: the client's Close has come */
static unsigned char in[ROOM], out[ROOM]; /* an answer is never longer than what it answers */
static size_t in_size, out_size;
static unsigned char *flood;
static size_t flood_size, flood_at;

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "answerer: ");
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static void lost(const char *call)
{
    if (errno == EPIPE || errno == ECONNRESET)
        fail("the connection ended without a Close frame");
    fail("%s: %s", call, strerror(errno));
}

static void *need(void *memory)
{
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

/* -- the handshake ----------------------------------------------------------------------------- */

static uint32_t turned(uint32_t x, int by) { return x << by | x >> (32 - by); }

static void sha1_block(uint32_t state[5], const unsigned char *block)
{
    static const uint32_t constants[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    uint32_t w[80], v[5];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = turned(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    memcpy(v, state, sizeof v);
    for (int i = 0; i < 80; i++) {
        uint32_t mixed = i < 20 ? (v[1] & v[2]) | (~v[1] & v[3])
                         : i >= 40 && i < 60 ? (v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3])
                                             : v[1] ^ v[2] ^ v[3];
        uint32_t next = turned(v[0], 5) + mixed + v[4] + constants[i / 20] + w[i];
        v[4] = v[3], v[3] = v[2], v[2] = turned(v[1], 30), v[1] = v[0], v[0] = next;
    }
    for (int i = 0; i < 5; i++)
        state[i] += v[i];
}

/* SHA-1 of at most 119 bytes, which fit in two blocks with their length. */
static void sha1(const unsigned char *data, size_t size, unsigned char digest[20])
{
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    unsigned char blocks[128] = {0};
    size_t whole = size < 56 ? 64 : 128;
    memcpy(blocks, data, size);
    blocks[size] = 0x80;
    for (int i = 0; i < 8; i++)
        blocks[whole - 1 - (size_t)i] = (unsigned char)((uint64_t)size * 8 >> 8 * i);
    for (size_t at = 0; at < whole; at += 64)
        sha1_block(state, blocks + at);
    for (int i = 0; i < 20; i++)
        digest[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
}

static void base64(const unsigned char *data, size_t size, char *to)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t three = (uint32_t)data[i] << 16;
        if (i + 1 < size)
            three |= (uint32_t)data[i + 1] << 8;
        if (i + 2 < size)
            three |= data[i + 2];
        *to++ = digits[three >> 18];
        *to++ = digits[three >> 12 & 63];
        *to++ = i + 1 < size ? digits[three >> 6 & 63] : '=';
        *to++ = i + 2 < size ? digits[three & 63] : '=';
    }
    *to = 0;
}

static void send_all(const unsigned char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        /* Who has said Close may be gone, and need not read the answer to it. */
        if (sent < 0 && closed && (errno == EPIPE || errno == ECONNRESET))
            return;
        if (sent < 0)
            lost("send");
        bytes += sent;
        count -= (size_t)sent;
    }
}

/* The bytes that came, at the end of `in`; 0 at the end of the connection. */
static size_t receive(void)
{
    ssize_t count;
    do
        count = recv(fd, in + in_size, sizeof in - in_size, 0);
    while (count < 0 && errno == EINTR);
    if (count < 0 && errno == ECONNRESET)
        return 0;
    if (count < 0)
        lost("recv");
    in_size += (size_t)count;
    return (size_t)count;
}

static void shake(void)
{
    static const char field[] = "\r\nSec-WebSocket-Key:";
    char text[128], accept[32], answer[256], *end, *line = (char *)in, *key = NULL;
    unsigned char digest[20];
    do {
        if (in_size >= HEAD_LIMIT || receive() == 0)
            fail("no request came that ends within %d bytes", HEAD_LIMIT);
        in[in_size] = 0;
    } while ((end = strstr((char *)in, "\r\n\r\n")) == NULL);
    for (; (line = strstr(line, "\r\n")) != NULL && line < end; line += 2)
        if (strncasecmp(line, field, sizeof field - 1) == 0)
            key = line + sizeof field - 1;
    if (key == NULL)
        fail("the request has no Sec-WebSocket-Key");
    key += strspn(key, " \t");
    snprintf(text, sizeof text, "%.*s%s", 24, key, guid);
    sha1((unsigned char *)text, strlen(text), digest);
    base64(digest, sizeof digest, accept);
    int count = snprintf(answer, sizeof answer,
                         "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
    send_all((unsigned char *)answer, (size_t)count);
    size_t used = (size_t)(end + 4 - (char *)in);
    memmove(in, in + used, in_size - used);
    in_size -= used;
}

/* -- frames ------------------------------------------------------------------------------------ */

static void unmask(unsigned char *to, const unsigned char *from, size_t count,
                   const unsigned char *key)
{
    uint32_t word, key_word;
    size_t i = 0;
    memcpy(&key_word, key, 4);
    for (; i + 4 <= count; i += 4) {
        memcpy(&word, from + i, 4);
        word ^= key_word;
        memcpy(to + i, &word, 4);
    }
    for (; i < count; i++)
        to[i] = from[i] ^ key[i & 3];
}

/* Puts the answer to a whole frame at the end of `out`. */
static void answer(unsigned char first, const unsigned char *payload, size_t size,
                   const unsigned char *key)
{
    unsigned char *to = out + out_size;
    if (first == 0x8a)
        return;
    if (first == 0x88)
        closed = true;
    else if (first == 0x89)
        first = 0x8a;
    else if (first != 0x81 && first != 0x82)
        fail("a frame begins with 0x%02x", first);
    else if (flooding)
        fail("a message came into the flood");
    if (size > sizeof out - HEADER - out_size)
        fail("more pings came than answers to them fit in %d bytes", ROOM);
    *to++ = first;
    if (size < 126) {
        *to++ = (unsigned char)size;
    } else {
        int bytes = size < 65536 ? 2 : 8;
        *to++ = bytes == 2 ? 126 : 127;
        for (int i = bytes - 1; i >= 0; i--)
            *to++ = (unsigned char)((uint64_t)size >> 8 * i);
    }
    unmask(to, payload, size, key);
    out_size = (size_t)(to - out) + size;
}

/* Answers the whole frames that have come and keeps what is left. */
static void take(void)
{
    size_t at = 0;
    while (!closed && in_size - at >= 2) {
        const unsigned char *frame = in + at;
        uint64_t size = frame[1] & 0x7f;
        size_t header = 2, extra = size == 126 ? 2 : size == 127 ? 8 : 0;
        if (!(frame[1] & 0x80))
            fail("a frame is not masked");
        if (in_size - at < 2 + extra)
            break;
        if (extra != 0)
            for (size = 0; header < 2 + extra; header++)
                size = size << 8 | frame[header];
        if (size > LIMIT)
            fail("a message has %" PRIu64 " bytes, more than %d", size, LIMIT);
        if (in_size - at < header + 4 + size)
            break;
        answer(frame[0], frame + header + 4, (size_t)size, frame + header);
        at += header + 4 + (size_t)size;
    }
    if (at != 0)
        memmove(in, in + at, in_size - at);
    in_size -= at;
}

static void send_out(void)
{
    if (out_size != 0)
        send_all(out, out_size);
    out_size = 0;
}

static void echo(void)
{
    take();
    send_out();
    while (!closed) {
        if (receive() == 0)
            fail("the connection ended without a Close frame");
        take();
        send_out();
    }
}

/* What is to be said to the client waits for the end of the file, which is the end of a frame. */
static void flow(void)
{
    struct pollfd watch = {.fd = fd, .events = POLLIN | POLLOUT};
    take();
    while (!closed) {
        if (poll(&watch, 1, -1) < 0 && errno != EINTR)
            fail("poll: %s", strerror(errno));
        if (watch.revents & (POLLIN | POLLHUP | POLLERR)) {
            if (receive() == 0)
                fail("the connection ended without a Close frame");
            take();
            continue;
        }
        ssize_t sent = send(fd, flood + flood_at, flood_size - flood_at,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            lost("send");
        flood_at = sent < 0 ? flood_at : (flood_at + (size_t)sent) % flood_size;
        if (flood_at == 0)
            send_out();
    }
    if (flood_at != 0)
        send_all(flood + flood_at, flood_size - flood_at);
    send_out();
}

/* -- the run ----------------------------------------------------------------------------------- */

static void load(const char *name)
{
    FILE *file = fopen(name, "rb");
    long size;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0)
        fail("%s: %s", name, strerror(errno));
    if (size == 0)
        fail("%s is empty", name);
    size_t times = HEAP / (size_t)size + 1;
    flood = need(malloc(times * (size_t)size));
    rewind(file);
    if (fread(flood, 1, (size_t)size, file) != (size_t)size)
        fail("%s cannot be read", name);
    fclose(file);
    for (size_t i = 1; i < times; i++)
        memcpy(flood + i * (size_t)size, flood, (size_t)size);
    flood_size = times * (size_t)size;
    flooding = true;
}

/* Once the input hangs up, SIGIO comes, which ends a process that has no handler for it. */
static void end_with_the_runner(void)
{
    struct pollfd watch = {.fd = 0};
    if (isatty(0))
        return;
    if (fcntl(0, F_SETOWN, getpid()) != 0 || fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_ASYNC) != 0)
        fail("fcntl: %s", strerror(errno));
    if (poll(&watch, 1, 0) != 0)
        fail("the runner has ended");
}

static void accept_one(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        fail("cannot listen: %s", strerror(errno));
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    fd = accept(listener, NULL, NULL);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        fail("accept: %s", strerror(errno));
    close(listener);
}

int main(int count, char **arguments)
{
    if (count == 2 && strncmp(arguments[1], "flood=", 6) == 0) {
        load(arguments[1] + 6);
    } else if (count != 1) {
        fprintf(stderr, "usage: answerer [flood=FILE]\n");
        return 2;
    }
    end_with_the_runner();
    accept_one();
    shake();
    if (flooding)
        flow();
    else
        echo();
    if (shutdown(fd, SHUT_WR) != 0 && errno != ENOTCONN)
        fail("shutdown: %s", strerror(errno));
    do
        in_size = 0; /* what comes after Close is nobody's */
    while (receive() != 0);
    return 0;
}
