/* Channels between the GPUs of two ranks, by NCCL. What is given is copied into a ring and goes on a stream of the
   channel, by a communicator of the channel: NCCL buffers nothing, so that a parcel holds up what is behind it until it
   is taken, and ranks that share either between channels would wait for each other for ever where both give first, or
   one takes in another order than the other gives. What is taken comes on the main stream, which waits for it anyhow.

   While a parcel waits for its taker its kernel holds multiprocessors, which others then miss: MOST of them at most. */
#include "exchange.h"

#include <stdlib.h>

enum { GIVER, TAKER };                                      /* their ranks in the channel's communicator */
enum { MOST = 4, ALIGNMENT = 256 };

bool channel_any(const struct device *d) { return d->exchange && d->exchange->n_channels > 0; }

static struct line *line_of(struct device *d, int number)
{
    INVARIANT(channel_any(d) && number < d->exchange->n_channels && d->exchange->channel[number].comm,
              "channel %d: it has no end here", number);
    return &d->exchange->channel[number];
}

/* ---- opening ---- */

/* Until all that was given has gone. */
static void wait_gone(struct device *d, struct line *l)
{
    CUDA(cudaEventRecord(l->given, l->stream));
    device_wait(d, l->given);
}

/* NCCL connects two ranks at their first message, in a call that waits for both: a byte goes through now, when all come
   to the same channel. */
static void pass_byte(struct device *d, struct line *l, bool gives)
{
    float *byte = d->exchange->gathered;
    if (gives) {
        NCCL(l->comm, nccl.Send(byte, 1, ncclUint8, TAKER, l->comm, l->stream));
        wait_gone(d, l);
    } else {
        NCCL(l->comm, nccl.Recv(byte, 1, ncclUint8, GIVER, l->comm, d->stream));
        device_wait(d, NULL);
    }
}

/* By all ranks of the pipeline; its communicator has nothing under way. */
static void connect(struct device *d, struct line *l, const struct channel *c)
{
    struct exchange *x = d->exchange;
    ncclComm_t pipeline = x->group[OVER_PIPELINE & x->axes];
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    bool gives = c->from == comm_here()->rank, takes = c->to == comm_here()->rank;
    config.maxCTAs = MOST;
    device_clear(d, x->gathered, 1);
    device_meet(d);
    device_wait(d, NULL);
    NCCL(pipeline, nccl.CommSplit(pipeline, gives || takes ? 0 : NCCL_SPLIT_NOCOLOR, takes, &l->comm, &config));
    l->open = true;
    if (gives) {
        CUDA(cudaStreamCreateWithFlags(&l->stream, cudaStreamNonBlocking));
        CUDA(cudaEventCreateWithFlags(&l->given, cudaEventDisableTiming));
    }
    if (gives || takes) pass_byte(d, l, gives);
}

static void free_ring(struct device *d, struct line *l)
{
    for (int i = 0; i < l->parcels; i++) CUDA(cudaEventDestroy(l->gone[i]));
    free(l->gone);
    device_release(d, l->ring, (size_t)l->parcels * l->bytes);
}

/* Several plans use a channel: its ring is as large as any of them needs. */
static void make_room(struct device *d, struct line *l, const struct channel *c)
{
    if (c->parcels <= l->parcels && c->bytes <= l->bytes) return;
    int parcels = c->parcels > l->parcels ? c->parcels : l->parcels;
    size_t bytes = c->bytes > l->bytes ? (c->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT : l->bytes;
    wait_gone(d, l);
    free_ring(d, l);
    *l = (struct line){ .open = true, .comm = l->comm, .stream = l->stream, .given = l->given, .parcels = parcels,
                        .bytes = bytes };
    l->ring = device_alloc(d, (size_t)parcels * bytes);
    l->gone = xcalloc((size_t)parcels, sizeof *l->gone);
    for (int i = 0; i < parcels; i++) CUDA(cudaEventCreateWithFlags(&l->gone[i], cudaEventDisableTiming));
}

void device_open_channel(void *device, const struct channel *c)
{
    struct device *d = device;
    struct exchange *x = d->exchange;
    if (c->number >= x->n_channels) {
        x->channel = xrealloc(x->channel, (size_t)(c->number + 1) * sizeof *x->channel);
        while (x->n_channels <= c->number) x->channel[x->n_channels++] = (struct line){ 0 };
    }
    struct line *l = &x->channel[c->number];
    if (!l->open) connect(d, l, c);
    if (c->from == comm_here()->rank) make_room(d, l, c);
}

void channel_close(struct device *d)
{
    struct exchange *x = d->exchange;
    for (struct line *l = x ? x->channel : NULL; l && l < x->channel + x->n_channels; l++) {
        if (!l->comm) continue;
        if (l->stream) {
            wait_gone(d, l);
            free_ring(d, l);
            CUDA(cudaEventDestroy(l->given));
            CUDA(cudaStreamDestroy(l->stream));
        }
        NCCL(l->comm, nccl.CommDestroy(l->comm));
        l->comm = NULL;
    }
    if (x) free(x->channel);
    if (x) x->n_channels = 0;
}

/* ---- parcels ---- */

/* A place in the ring is used again when its parcel has been taken, which it has, as the plan says how many may be
   ahead: the main stream does not come to wait for another rank here. */
void device_give(void *device, const struct parcel *p, int channel)
{
    struct device *d = device;
    struct line *l = line_of(d, channel);
    INVARIANT(l->parcels && p->bytes <= l->bytes, "channel %d: %zu bytes, and there is room for %d parcels of %zu",
              channel, p->bytes, l->parcels, l->bytes);
    int i = (int)(l->n++ % l->parcels);
    char *copy = l->ring + (size_t)i * l->bytes;
    CUDA(cudaStreamWaitEvent(d->stream, l->gone[i], 0));    /* for an event never recorded: not at all */
    device_copy(d, copy, p->data, p->bytes);
    CUDA(cudaEventRecord(l->given, d->stream));
    CUDA(cudaStreamWaitEvent(l->stream, l->given, 0));
    NCCL(l->comm, nccl.Send(copy, p->bytes, ncclUint8, TAKER, l->comm, l->stream));
    CUDA(cudaEventRecord(l->gone[i], l->stream));
}

void device_take(void *device, const struct parcel *p, int channel)
{
    struct device *d = device;
    struct line *l = line_of(d, channel);
    NCCL(l->comm, nccl.Recv(p->data, p->bytes, ncclUint8, GIVER, l->comm, d->stream));
}
