// SPDX-License-Identifier: Apache-2.0
import Testing

/// The host under guests that never yield, and under hostile users: nothing is lost, nothing
/// leaks, nothing is left in the log. One test at a time: each keeps all CPUs busy.
@Suite(.serialized)
struct StressTests {}
