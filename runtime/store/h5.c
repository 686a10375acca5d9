/* HDF5 as the store uses it: how it is started, how its failures become ours, and the types. */
#include "private.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const store_group_path[STORE_GROUPS] = { "/metrics/train", "/metrics/eval" };
const char *const store_group_name[STORE_GROUPS] = { "train", "eval" };

static hid_t access_properties;

/* Without an exit handler: HDF5's would close an abandoned file, and closing after a failed write destroys it. */
void h5_begin(void)
{
    static bool begun;
    if (begun) return;
    begun = true;
    INVARIANT(H5dont_atexit() >= 0 && H5open() >= 0, "HDF5 cannot be started");
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    access_properties = H5Pcreate(H5P_FILE_ACCESS);
    /* A reader under SWMR repeats a failed metadata read after 1, 2, 4, ... ns: the default of 100 times never ends. */
    INVARIANT(H5Pset_metadata_read_attempts(access_properties, 24) >= 0
                  && H5Pset_libver_bounds(access_properties, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0
                  && H5Pset_file_locking(access_properties, false, true) >= 0
                  && H5Pset_fclose_degree(access_properties, H5F_CLOSE_STRONG) >= 0,
                  "HDF5 refuses the access properties");
}

hid_t h5_access(void) { return access_properties; }

static herr_t take_cause(unsigned n, const H5E_error2_t *record, void *to)
{
    struct h5_cause *c = to;
    if (n == 0) snprintf(c->text, sizeof c->text, "%s", record->desc);
    const char *number = strstr(record->desc, "errno = ");
    if (number && !c->number) c->number = atoi(number + strlen("errno = "));
    return 0;
}

struct h5_cause h5_cause(void)
{
    struct h5_cause c = { 0, "no reason given" };
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_cause, &c);
    if (c.number) snprintf(c.text, sizeof c.text, "%s", strerror(c.number));
    return c;
}

void store_broken(struct store *s, const char *what, const char *call, struct h5_cause cause)
{
    s->failed = true;
    s->cause = cause.number;
    err_set(&s->err, "%s: %.*s(%s): %s; committed rows are kept (train %lld, eval %lld)", s->path,
            (int)strcspn(call, "("), call, what, cause.text, (long long)s->metrics[STORE_TRAIN].committed,
            (long long)s->metrics[STORE_EVAL].committed);
}

void store_broken_by_system(struct store *s, const char *call)
{
    struct h5_cause c = { errno, "" };
    snprintf(c.text, sizeof c.text, "%s", strerror(errno));
    store_broken(s, "", call, c);
}

long long store_checked(struct store *s, const char *what, const char *call, long long result)
{
    if (result < 0 && !s->failed) store_broken(s, what, call, h5_cause());
    return result;
}

int store_result(const struct store *s, struct err *e)
{
    if (!s->failed) return 0;
    *e = s->err;
    errno = s->cause;
    return -1;
}

struct number store_number(enum store_type type)
{
    switch (type) {
    case STORE_F64: return (struct number){ 8, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, NAN };
    case STORE_F32: return (struct number){ 4, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, NAN };
    case STORE_I64: return (struct number){ 8, H5T_STD_I64LE, H5T_NATIVE_INT64, -0x1p63 };
    case STORE_U32: return (struct number){ 4, H5T_STD_U32LE, H5T_NATIVE_UINT32, 0xFFFFFFFFu };
    case STORE_U8:  return (struct number){ 1, H5T_STD_U8LE, H5T_NATIVE_UINT8, 0xFF };
    case STORE_I16: return (struct number){ 2, H5T_STD_I16LE, H5T_NATIVE_INT16, INT16_MIN };
    case STORE_TYPES: break;
    }
    INVARIANT(false, "no store type %d", type);
}

/* NaN becomes the fill value; a value that the type cannot hold is refused. */
bool store_convert(enum store_type type, double value, void *to)
{
    struct number n = store_number(type);
    bool missing = isnan(value), whole = value == floor(value);
    if (missing) value = n.missing;
    switch (type) {
    case STORE_F64: *(double *)to = value; return true;
    case STORE_F32: *(float *)to = (float)value; return true;
    case STORE_I64:
        if (!missing && !(whole && fabs(value) < 0x1p63)) return false;
        *(int64_t *)to = missing ? INT64_MIN : (int64_t)value;
        return true;
    case STORE_U32:
    case STORE_U8:
        if (!missing && !(whole && value >= 0 && value < n.missing)) return false;
        if (type == STORE_U32) *(uint32_t *)to = (uint32_t)value;
        else *(uint8_t *)to = (uint8_t)value;
        return true;
    case STORE_I16:
        if (!missing && !(whole && value > n.missing && value <= INT16_MAX)) return false;
        *(int16_t *)to = (int16_t)value;
        return true;
    case STORE_TYPES: break;
    }
    return false;
}

size_t dims_count(int rank, const int64_t *dim)
{
    size_t count = 1;
    for (int i = 0; i < rank; i++) count *= (size_t)dim[i];
    return count;
}

int64_t series_count(const struct series *s) { return (int64_t)dims_count(s->rank, s->dim); }

char *store_library(char out[32])
{
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    snprintf(out, 32, "%u.%u.%u", major, minor, release);
    return out;
}
