/* A step as a CUDA graph: what its calls launch is captured once and launched as one from then on.
   SLUICE_CUDA_GRAPH=off leaves every launch by itself, to find the one that fails: with CUDA_LAUNCH_BLOCKING=1, as CUDA
   tells of faults when it gets to them. A pipeline is not recorded: what it gives waits for other ranks beside what
   comes next, and that branches of a graph run beside each other is nowhere promised; where one waited in front of what
   its taker waits for, the ranks would hang. */
#include "device.h"
#include "parts.h"

bool device_record(void *device)
{
    struct device *d = device;
    if (device_switch("SLUICE_CUDA_GRAPH", "off", "on")) return false;
    if (channel_any(d)) return false;
    CUDA(cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal));
    return true;
}

void *device_recorded(void *device)
{
    struct device *d = device;
    cudaGraph_t graph;
    cudaGraphExec_t step;
    CUDA(cudaStreamEndCapture(d->stream, &graph));
    CUDA(cudaGraphInstantiate(&step, graph, 0));
    CUDA(cudaGraphDestroy(graph));
    return step;
}

void device_replay(void *device, void *recording)
{
    struct device *d = device;
    CUDA(cudaGraphLaunch(recording, d->stream));
}

void device_forget(void *device, void *recording)
{
    struct device *d = device;
    device_wait(d, NULL);
    CUDA(cudaGraphExecDestroy(recording));
}
