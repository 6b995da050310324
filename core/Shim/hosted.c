/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the core's tests hook; no part of the core itself. */
#include "CCore.h"

void (*ccore_hook_invlpg)(uint64_t linear);
void (*ccore_hook_load_cr3)(uint64_t value);

void ccore_set_hooks(void (*invlpg)(uint64_t linear), void (*load_cr3)(uint64_t value))
{
	ccore_hook_invlpg = invlpg;
	ccore_hook_load_cr3 = load_cr3;
}
