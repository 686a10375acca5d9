/* Sums over rows; see columns.cuh. Bound by memory: x is read once, and lines of its sums, 1/128 of x,
   are written and read. */
#include "columns.cuh"
#include "row.cuh"

enum { ACROSS = 8, DOWN = BLOCK / ACROSS, TILE = ACROSS * LANES };     /* threads of a block; columns that it sums */
/* rows that one line sums at once; else rows of a line, until there are many */
enum { ONE_LINE = 512, PER_LINE = 128, MOST_LINES = 256 };

static __global__ void __launch_bounds__(BLOCK)
columns_sum(struct view x, const int32_t *offsets, int64_t rows, int width, int64_t per_line, float scale,
            struct sum to)
{
    __shared__ float part[DOWN][TILE];
    int across = threadIdx.x % ACROSS, down = threadIdx.x / ACROSS, c = blockIdx.x * TILE + across * LANES;
    int64_t from = offsets ? offsets[blockIdx.y] : blockIdx.y * per_line,
            end = offsets ? offsets[blockIdx.y + 1] : from + per_line < rows ? from + per_line : rows;
    struct eight sum = {};
    for (int64_t r = from + down; r < end; r += DOWN) {
        struct eight e = row_load(x, r * width, c, width, 0);
        for (int l = 0; l < LANES; l++) sum.v[l] += e.v[l];
    }
    for (int l = 0; l < LANES; l++) part[down][across * LANES + l] = sum.v[l];
    __syncthreads();
    int column = blockIdx.x * TILE + threadIdx.x;
    if (threadIdx.x >= TILE || column >= width) return;
    float total = 0;
    for (int d = 0; d < DOWN; d++) total += part[d][threadIdx.x];
    add(to, (int64_t)blockIdx.y * width + column, scale * total);
}

static int64_t lines_of(int64_t rows)
{
    int64_t lines = (rows + PER_LINE - 1) / PER_LINE;
    return rows <= ONE_LINE ? 1 : lines < MOST_LINES ? lines : (int64_t)MOST_LINES;
}

size_t columns_bytes(int64_t rows, int64_t width)
{
    int64_t lines = lines_of(rows);
    return lines > 1 ? (size_t)(lines * width) * sizeof(float) : 0;
}

void columns_add(const struct args *a, struct view x, int64_t rows, int64_t width, float scale, struct sum to)
{
    int64_t lines = lines_of(rows);
    unsigned tiles = (unsigned)((width + TILE - 1) / TILE);
    if (lines > 1) {
        struct view line = { a->scratch, false };
        struct sum all = { line, 0 };
        LAUNCH(a, columns_sum, dim3(tiles, (unsigned)lines), BLOCK, 0, x, NULL, rows, (int)width,
               (rows + lines - 1) / lines, 1.0f, all);
        x = line;
        rows = lines;
    }
    LAUNCH(a, columns_sum, tiles, BLOCK, 0, x, NULL, rows, (int)width, rows, scale, to);
}

void columns_add_groups(const struct args *a, struct view x, const int32_t *offsets, int64_t groups, int64_t width,
                        struct sum to)
{
    dim3 grid((unsigned)((width + TILE - 1) / TILE), (unsigned)groups);
    LAUNCH(a, columns_sum, grid, BLOCK, 0, x, offsets, 0, (int)width, 0, 1.0f, to);
}
