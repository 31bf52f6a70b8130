/* The reader for processors with AVX2 and BMI2: the same source, with their instructions. */

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt"))), \
                             apply_to = function)
#else
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#endif

#define READER_AVX2
#include "reader.c"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
