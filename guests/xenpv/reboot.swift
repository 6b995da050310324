// SPDX-License-Identifier: Apache-2.0
// A kernel that wants to be started again: told apart from one that powers off.
// Expect: exit 75
import XenKit

func guestMain() { end(.reboot) }
