// SPDX-License-Identifier: Apache-2.0
/* What the kit's assembly and Swift share in memory. */
#include "kit.h"

struct kit_cpu kit_cpus[KIT_MAX_CPUS];
kit_handler kit_handlers[KIT_HANDLER_COUNT];
