/* The tensors of a checkpoint on their way between a state and files. Alone a rank writes all of them; of several each
   writes what it keeps, a piece at a time, and reads no more than it has. */
#include "checkpoint_files.h"
#include "base/file.h"
#include "base/text.h"
#include "safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *checkpoint_join(const char *dir, const char *name, const char *suffix)
{
    char *path = text_new("%s/%s%s", dir, name, suffix);
    return path;
}

char *checkpoint_state_name(int rank)
{
    return comm_here()->ranks == 1 ? xstrdup("state.safetensors") : text_new("state-%05d.safetensors", rank);
}

static const char *leaf_dtype(const struct leaf *l)
{
    return l->decl.dtype == DTYPE_I32 ? "I32" : l->decl.dtype == DTYPE_U8 ? "U8" : sizeof(real) == 8 ? "F64" : "F32";
}

/* As it lies in memory. */
struct stored checkpoint_tensor(const struct leaf *l) { return stored_new(l->path, leaf_dtype(l), l->whole); }

/* Of all that are saved; returns how many. */
static int tensors_of(const struct leaves *leaves, struct stored **tensor)
{
    int n = 0;
    *tensor = xcalloc((size_t)leaves->n + 1, sizeof **tensor);
    for (int i = 0; i < leaves->n; i++)
        if (leaf_is_saved(leaves->leaf[i])) (*tensor)[n++] = checkpoint_tensor(leaves->leaf[i]);
    return n;
}

uint64_t checkpoint_bytes(const struct leaves *leaves)
{
    struct stored *tensor;
    uint64_t bytes = 0;
    size_t header;
    int n = tensors_of(leaves, &tensor);
    free(safetensors_header(n, tensor, NULL, &header));
    for (int i = 0; i < n; i++) bytes += tensor[i].bytes;
    free(tensor);
    return header + bytes;
}

/* ---- writing ---- */

static bool is_written(const struct leaf *l) { return leaf_is_saved(l) && state_writes(l); }

/* Of what this rank has of a leaf. */
static struct box box_of(const struct leaf *l)
{
    struct box b = { .rank = l->decl.shape.rank };
    for (int d = 0; d < b.rank; d++) b.extent[d] = l->decl.shape.dim[d];
    if (b.rank) b.begin[l->cut] = state_begin(l);
    return b;
}

/* whole: of all that are saved, with their offsets. */
static char *header_of_pieces(const struct leaves *leaves, const struct stored *whole, size_t *bytes)
{
    size_t room = (size_t)leaves->n + 1;
    struct stored *piece = xcalloc(room, sizeof *piece), *of = xcalloc(room, sizeof *of);
    struct box *box = xcalloc(room, sizeof *box);
    int n = 0, saved = 0;
    for (int i = 0; i < leaves->n; i++) {
        const struct leaf *l = leaves->leaf[i];
        if (is_written(l)) {
            piece[n] = stored_new(l->path, leaf_dtype(l), l->decl.shape);
            of[n] = whole[saved];
            box[n++] = box_of(l);
        }
        saved += leaf_is_saved(l);
    }
    json_t *about = safetensors_about_pieces(n, of, box);
    char *header = safetensors_header(n, piece, about, bytes);
    json_decref(about);
    free(piece);
    free(of);
    free(box);
    return header;
}

static char *header_of(const struct leaves *leaves, size_t *bytes)
{
    struct stored *whole;
    int n = tensors_of(leaves, &whole);
    char *header = safetensors_header(n, whole, NULL, bytes);
    if (comm_here()->ranks > 1) {
        free(header);
        header = header_of_pieces(leaves, whole, bytes);
    }
    free(whole);
    return header;
}

static void put_state(FILE *to, struct leaves *leaves, struct state *state)
{
    size_t bytes;
    char *header = header_of(leaves, &bytes);
    fwrite(header, 1, bytes, to);
    for (int i = 0; i < leaves->n && !ferror(to); i++) {
        const struct leaf *l = leaves->leaf[i];
        if (!is_written(l)) continue;
        void *data = xmalloc(leaf_bytes(l));
        state_get_part(state, l, data);
        fwrite(data, 1, leaf_bytes(l), to);
        free(data);
    }
    free(header);
}

static int write_file(const char *path, struct leaves *leaves, struct state *state)
{
    struct err e;
    struct file *file = file_begin(path, FILE_REGULAR, &e);
    if (!file) return -1;
    put_state(file_stream(file), leaves, state);
    return file_commit(file, &e);
}

/* Length and hash are those of the file as our own reader takes it. */
static int measure(const char *path, struct answer *out)
{
    struct safetensors *written;
    struct err e;
    if (safetensors_open(&written, path, &e) < 0) return -1;
    hash_print(safetensors_hash(written), out->hash);
    out->bytes = safetensors_bytes(written);
    safetensors_close(written);
    return 0;
}

int checkpoint_sees(const char *folder, struct err *e)
{
    if (access(folder, F_OK) == 0) return 0;
    return err_set(e, "%s: %s, though rank 0 has it: the output folder (--out) has to lie on a file system that all "
                      "ranks see, under the same path", folder, strerror(errno));
}

void checkpoint_write_state(const char *folder, struct leaves *leaves, struct state *state, struct answer *out)
{
    char *name = checkpoint_state_name(comm_here()->rank), *path = checkpoint_join(folder, name, "");
    *out = (struct answer){ 0 };
    errno = 0;
    if (checkpoint_sees(folder, &out->err)) out->failed = true;
    else if (write_file(path, leaves, state) || measure(path, out)) {
        out->failed = true;
        err_set(&out->err, "%s", strerror(errno));
    }
    out->cause = errno;
    free(path);
    free(name);
}

/* ---- reading ---- */

void checkpoint_fill(const struct safetensors *tensors, struct leaves *leaves, struct state *state)
{
    for (int i = 0; i < leaves->n; i++) {
        const struct leaf *l = leaves->leaf[i];
        if (!leaf_is_saved(l) || state_is_foreign(l)) continue;
        const struct box box = box_of(l);
        void *data = xmalloc(leaf_bytes(l));
        safetensors_read(tensors, safetensors_find(tensors, l->path), &box, data);
        state_put_part(state, l, data);
        free(data);
    }
}
