/* Powers of ten as 128-bit numbers: the table that both directions need.

   `powers_of_ten[k - MIN_POWER]` is 10^k, scaled by a power of two to 128 bits and rounded up:
   10^k = (high * 2^64 + low) * 2^(floor(k * log2(10)) - 127), exact for k from 0 to 55.
   Python fills it when the module is loaded (powers.py). */

#ifndef POWERS_H
#define POWERS_H

#include <stdint.h>

#define MIN_POWER (-348)
#define MAX_POWER 347

typedef struct {
    uint64_t high, low;
} Power;

/* Hidden from other modules, so that its address is known without a look into memory. */
extern __attribute__((visibility("hidden"))) Power powers_of_ten[MAX_POWER - MIN_POWER + 1];

#endif
