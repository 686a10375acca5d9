/* Cases of the op bench: products. See op_check.h. */
#define PRODUCT_CASES(CASE)

#define PRODUCT_LARGE_CASES(CASE)
