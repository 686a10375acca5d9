/* Fields of a JSON object, by their types. */
#include "fields.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind[] = {                         /* by json_type */
    "an object", "a list", "a string", "a number", "a number", "true", "false", "null" };

const json_t *fields_find(const json_t *object, const char *path)
{
    for (const char *dot; object && (dot = strchr(path, '.')); path = dot + 1)
        object = json_object_getn(object, path, (size_t)(dot - path));
    return json_object_get(object, path);
}

void fields_fail(struct fields *f, const char *format, ...)
{
    char text[400];
    va_list list;
    if (f->failed) return;
    f->failed = true;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    err_set(f->e, "%s", text);
}

static const json_t *absent(struct fields *f, const char *path)
{
    enum { MOST = 32 };
    const char *all[MOST + 1], *key;
    char there[256] = "", hint[HINT];
    json_t *value;
    int n = 0, used = 0;
    json_object_foreach((json_t *)(uintptr_t)f->object, key, value) {
        if (n == MOST) break;
        if (used < (int)sizeof there)
            used += snprintf(there + used, sizeof there - (size_t)used, "%s%s", n ? ", " : "", key);
        all[n++] = key;
    }
    all[n] = NULL;
    fields_fail(f, "no field '%s'%s; there is %s", path, did_you_mean(nearest_name(path, all), hint), there);
    return NULL;
}

static const json_t *typed(struct fields *f, const char *path, json_type type)
{
    const json_t *value = fields_find(f->object, path);
    if (!value) return absent(f, path);
    if (json_typeof(value) == type) return value;
    fields_fail(f, "'%s' is %s: must be %s", path, kind[json_typeof(value)], kind[type]);
    return NULL;
}

const char *fields_text(struct fields *f, const char *path)
{
    const json_t *value = typed(f, path, JSON_STRING);
    return value ? arena_text(f->arena, "%s", json_string_value(value)) : "";
}

const char *fields_text_or(struct fields *f, const char *path, const char *otherwise)
{
    return fields_find(f->object, path) ? fields_text(f, path) : otherwise;
}

const json_t *fields_list(struct fields *f, const char *path)
{
    const json_t *value = typed(f, path, JSON_ARRAY);
    if (value && json_array_size(value) == 0) fields_fail(f, "'%s' is empty", path);
    return value;
}

const char *fields_item(struct fields *f, const char *path, int i)
{
    const json_t *value = json_array_get(fields_list(f, path), (size_t)i);
    if (json_is_string(value)) return arena_text(f->arena, "%s", json_string_value(value));
    fields_fail(f, "'%s': item %d is %s: must be a string", path, i, value ? kind[json_typeof(value)] : "missing");
    return "";
}

int fields_index(struct fields *f, const char *path, int first, int n)
{
    const json_t *value = fields_find(f->object, path);
    char *end = NULL;
    long long index = json_integer_value(value);
    bool is_index = json_is_integer(value) || json_is_boolean(value);
    if (!value) { absent(f, path); return 0; }
    if (json_is_boolean(value)) index = json_is_true(value);
    if (json_is_string(value)) {
        index = strtoll(json_string_value(value), &end, 10);
        is_index = *json_string_value(value) && !*end;
    }
    if (!is_index) fields_fail(f, "'%s' is %s: must be a number", path, kind[json_typeof(value)]);
    else if (index < first || index >= first + n)
        fields_fail(f, "'%s' is %lld: must be from %d to %d", path, index, first, first + n - 1);
    return f->failed ? 0 : (int)(index - first);
}
