/* silu(gate) up, silu(g) = g s with s = 1/(1 + e^-g). Memory bounds it: forward moves three tensors, backward five, which is the
   least; the sigmoid is computed again in backward, which is cheaper than keeping it. */
#include "values.cuh"

struct swiglu_values {
    static __device__ float value(float gate, float up, float) { return gate * sigmoid(gate) * up; }

    /* dgate = dy up s (1 + gate (1 - s));  dup = dy gate s. */
    static __device__ void gradient(float gate, float up, float dy, float, float *dgate, float *dup)
    {
        float s = sigmoid(gate), t = dy * s;
        *dgate = t * up * (1 + gate * (1 - s));
        *dup = t * gate;
    }
};

static void forward(const struct args *a) { forward_values<swiglu_values>(a, view_of(a->in[0]), view_of(a->in[1]), 0); }
static void backward(const struct args *a) { backward_values<swiglu_values>(a, view_of(a->in[0]), view_of(a->in[1]), 0); }
TWIN(swiglu, forward, backward);
