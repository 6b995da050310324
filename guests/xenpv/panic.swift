// SPDX-License-Identifier: Apache-2.0
// A kernel that panics says so by SHUTDOWN_crash, and penumbra exits with a status of its own.
// Expect: exit 74
import XenKit

func guestMain() { end(.crash) }
