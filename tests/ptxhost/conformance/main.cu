/* The conformance kit: see conformance.h. */
#include "conformance.h"
#include <string.h>

bool conform_listing, conform_contracted;
cudaStream_t conform_stream;
int conform_arch;
static long passed, failed, skipped;

void conform_name(const char *opcode) { puts(opcode); }
void conform_result(const char *opcode, long cases, const char *failure)
{
    printf("%-6s %-64s %6ld cases%s%s\n", failure ? "FAILED" : "ok", opcode, cases, failure ? ": " : "", failure ? failure : "");
    if (failure) failed++;
    else passed++;
}
void conform_skip(const char *opcode, int needs)
{
    printf("%-6s %-64s needs sm_%d\n", "-", opcode, needs);
    skipped++;
}

u64 conform_random()
{
    static u64 state;
    u64 z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static __global__ void arch_of(int *arch)
{
#ifdef __CUDA_ARCH__
    *arch = __CUDA_ARCH__ / 10;
#endif
}

int main(int argc, char **argv)
{
    conform_listing = argc == 2 && strcmp(argv[1], "list") == 0;
    conform_contracted = argc == 2 && strcmp(argv[1], "contracted") == 0;
    if (argc > 2 || (argc == 2 && !conform_listing && !conform_contracted)) {
        fprintf(stderr, "usage: %s [contracted | list]\n", argv[0]);
        return 2;
    }
    if (!conform_listing) {
        CUDA(cudaStreamCreateWithFlags(&conform_stream, cudaStreamNonBlocking));
        int *arch = device<int>(NULL, 1);
        arch_of<<<1, 1, 0, conform_stream>>>(arch);
        host(&conform_arch, arch, 1);
        CUDA(cudaFree(arch));
    }
    check_integer();
    check_compare();
    check_floating();
    check_approximate();
    check_half();
    check_convert();
    check_memory();
    check_atomic();
    check_warp();
    check_matrix();
    check_special();
    check_contraction();
    if (!conform_listing) printf("%ld forms passed, %ld failed, %ld not on sm_%d\n", passed, failed, skipped, conform_arch);
    return failed != 0;
}
