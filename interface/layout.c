/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Compiles every shared layout once, so that their assertions are checked in user space too. */
#include "penumbra/device.h"
#include "penumbra/exit.h"
#include "penumbra/test_abi.h"
#include "penumbra/vcpu.h"
#include "penumbra/vm.h"
#include "penumbra/xen.h"
