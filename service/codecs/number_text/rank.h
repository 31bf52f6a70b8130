/* The greatest rank of an array that is read or written. */

#ifndef RANK_H
#define RANK_H

#define MAX_RANK 32

#endif
