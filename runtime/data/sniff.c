/* What is not text, by the bytes that it begins with. */
#include "inputs.h"

#include <string.h>

static const struct { int at, length; const char *magic, *is; } known[] = {
    { 0, 8, "SLUICETK", "a token file; token files are joined when they are named themselves, and alone" },
    { 0, 4, "\x88\xd8\x34\x01", "a shard of llm.c; token files are joined when they are named themselves, and alone" },
    { 0, 4, "\x8a\xd8\x34\x01", "a multiple-choice file of llm.c" },
    { 0, 4, "\xa1\xd9\x34\x01", "a shard of llm.c; token files are joined when they are named themselves, and alone" },
    { 0, 6, "\x93NUMPY", "a numpy array; token files are joined when they are named themselves, and alone" },
    { 0, 9, "MMIDIDX\0\0", "the index of a Megatron data set; the .bin beside it is a token file" },
    { 0, 4, "PAR1", "Parquet; from Python: "
        "pandas.read_parquet(FILE).to_json(\"FILE.jsonl\", orient=\"records\", lines=True)" },
    { 0, 6, "ARROW1", "Arrow; from Python: datasets.Dataset.from_file(FILE).to_json(\"FILE.jsonl\")" },
    { 0, 4, "\xff\xff\xff\xff", "an Arrow stream; from Python: "
        "datasets.Dataset.from_file(FILE).to_json(\"FILE.jsonl\")" },
    { 0, 8, "\x89HDF\r\n\x1a\n", "HDF5" },
    { 0, 5, "%PDF-", "PDF; pdftotext FILE.pdf makes text of it" },
    { 0, 4, "PK\x03\x04", "a ZIP archive (or a .docx, .epub, .xlsx): unpack or convert it" },
    { 4, 6, "1AY&SY", "bzip2; bunzip2 it, or pack it as gzip or zstd" },
    { 0, 6, "\xfd" "7zXZ\0", "xz; unxz it, or pack it as gzip or zstd" },
    { 0, 6, "7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it" },
    { 0, 4, "\x04\x22\x4d\x18", "lz4; unlz4 it, or pack it as gzip or zstd" },
    { 0, 6, "Rar!\x1a\x07", "a RAR archive: unpack it" },
    { 0, 2, "\x1f\x8b", "gzip within gzip or zstd" },
    { 0, 4, "\x28\xb5\x2f\xfd", "zstd within gzip or zstd" },
    { 257, 5, "ustar", "a tar archive: unpack it" },
    { 0, 4, "\x89PNG", "an image" },
    { 0, 3, "\xff\xd8\xff", "an image" },
    { 0, 5, "GIF87", "an image" },
    { 0, 5, "GIF89", "an image" },
    { 0, 4, "\x7f" "ELF", "a program" },
    { 0, 15, "SQLite format 3", "an SQLite database" },
    { 0, 2, "\xff\xfe", "UTF-16; iconv -f UTF-16 -t UTF-8 makes UTF-8 of it" },
    { 0, 2, "\xfe\xff", "UTF-16; iconv -f UTF-16 -t UTF-8 makes UTF-8 of it" },
};

const char *sniff_magic(const struct map *m, int least)
{
    for (int i = 0; i < COUNT(known); i++) {
        size_t at = (size_t)known[i].at, n = (size_t)known[i].length;
        bool matches = m->size >= at + n && !memcmp(m->bytes + at, known[i].magic, n);
        if (matches && known[i].length >= least) return known[i].is;
    }
    return NULL;
}

/* A zero byte, or more than one byte in ten that is no UTF-8: text of one language in Latin-1 stays below. */
const char *sniff_other(const struct map *m)
{
    enum { LOOK = 1 << 16 };
    const char *is = sniff_magic(m, 1), *at = (const char *)m->bytes;
    size_t wrong = 0, look = m->size < LOOK ? m->size : LOOK;
    if (is || !look) return is;
    if (memchr(at, 0, look)) return "binary: it holds zero bytes";
    for (const char *end = at + look, *next; at < end; at = next) {
        int n = utf8_length(at, end);
        next = at + (n ? n : 1);
        wrong += !n;
    }
    return wrong * 10 > look ? "binary, or text that is not UTF-8; iconv -f ENCODING -t UTF-8 makes UTF-8 of it" : NULL;
}
