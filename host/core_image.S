/* SPDX-License-Identifier: GPL-2.0-only */
/* The core image, the only ring-0 code that ever runs in slot 261. */
#include <linux/linkage.h>

	/* Writable until the module has chosen its barriers (penumbra_barriers_init). */
	.section .data..ro_after_init, "aw"
	.balign 4096
SYM_DATA_START(penumbra_core_image)
	.incbin PENUMBRA_CORE_IMAGE_FILE
SYM_DATA_END_LABEL(penumbra_core_image, SYM_L_GLOBAL, penumbra_core_image_end)
