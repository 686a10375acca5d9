/* What a variant is known by: its configuration, its data, its seed. */
#include "study.h"

#include <stdlib.h>
#include <string.h>

char *study_config_text(const json_t *config)
{
    json_t *own = json_deep_copy(config);
    json_object_del(json_object_get(own, "train"), "ranks");
    char *text = config_canonical(own);
    json_decref(own);
    return text;
}

struct hash study_identity(const json_t *config, const struct corpus_info *data, uint64_t seed)
{
    char *text = study_config_text(config);
    uint64_t words[] = { data->hash.low, data->hash.high, STUDY_VERSION, seed };
    struct hash h = hash_more(hash_bytes(words, sizeof words), text, strlen(text));
    free(text);
    return h;
}
