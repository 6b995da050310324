/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Fixed-width types for the layouts that the module, the core, the VMM and the
 * micro-guests share. Constants in these headers also serve the assembler, so
 * everything that is not a preprocessor constant stands behind __ASSEMBLER__. They are
 * plain literals: the assembler knows no suffix, and Swift imports no constant that a
 * function-like macro made (a hexadecimal literal that needs 64 bits is unsigned long).
 */
#ifndef PENUMBRA_TYPES_H
#define PENUMBRA_TYPES_H

#ifdef __ASSEMBLER__
#define PENUMBRA_U64(x) x
#else
#ifdef __KERNEL__
#include <linux/types.h>
typedef u8 penumbra_u8;
typedef u16 penumbra_u16;
typedef u32 penumbra_u32;
typedef u64 penumbra_u64;
typedef s32 penumbra_s32;
typedef s64 penumbra_s64;
#else
#include <stdint.h>
typedef uint8_t penumbra_u8;
typedef uint16_t penumbra_u16;
typedef uint32_t penumbra_u32;
typedef uint64_t penumbra_u64;
typedef int32_t penumbra_s32;
typedef int64_t penumbra_s64;
#endif
#define PENUMBRA_U64(x) x##ull
#define PENUMBRA_ASSERT_SIZE(type, size) \
	_Static_assert(sizeof(type) == (size), "size of " #type)
#define PENUMBRA_ASSERT_OFFSET(type, field, offset) \
	_Static_assert(__builtin_offsetof(type, field) == (offset), "offset of " #type "." #field)
#endif

#define PENUMBRA_PAGE_SIZE 4096
#define PENUMBRA_PAGE_SHIFT 12

#endif
