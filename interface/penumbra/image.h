/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The core image as the module embeds it: a flat binary, linked at PENUMBRA_CORE_IMAGE,
 * this header first. Three runs of whole pages follow one another: entry text (both
 * views, executable), text (full view, executable), constants (full view, read-only).
 *
 * Diversions. A CPU that needs no barrier executes none, nor a test for one: at load the
 * module writes a jump to `target` over the five bytes at `site` of each diversion whose
 * barriers have all been chosen (barriers.h). Of several for one site the last counts.
 */
#ifndef PENUMBRA_IMAGE_H
#define PENUMBRA_IMAGE_H

#include "types.h"

#define PENUMBRA_IMAGE_MAGIC PENUMBRA_U64(0x65726f436172626e)
#define PENUMBRA_IMAGE_DEBUG 1 /* flags: built with the invariant checker and planted bugs */
/* Bytes between the interrupt stubs of two vectors. */
#define PENUMBRA_STUB_STRIDE 16

#ifndef __ASSEMBLER__
struct penumbra_image_header {
	penumbra_u64 magic;
	penumbra_u64 flags;
	penumbra_u64 entry_text_size, text_size, constants_size; /* bytes, whole pages */
	/* Addresses in slot 261. */
	penumbra_u64 world_enter;
	penumbra_u64 interrupt_stubs;
	penumbra_u64 syscall_entry;      /* LSTAR without SMAP */
	penumbra_u64 syscall_entry_smap; /* LSTAR with SMAP */
	penumbra_u64 syscall32_entry;    /* CSTAR */
	penumbra_u64 build_id;           /* of the GNU build-id note */
	penumbra_u64 diversions;         /* struct penumbra_diversion[], all of the entry text */
	penumbra_u64 diversion_count;
};
PENUMBRA_ASSERT_SIZE(struct penumbra_image_header, 104);

struct penumbra_diversion {
	penumbra_u64 site, target; /* addresses in the entry text */
	penumbra_u64 barriers;     /* PENUMBRA_BARRIER_* */
};
PENUMBRA_ASSERT_SIZE(struct penumbra_diversion, 24);
#endif
#endif
