// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import PenumbraVMM

extension XenBackend {
    /// Waits until nothing of the guest's half is left that is to go.
    func finishLeaving(in store: inout XenStore) throws {
        while isLeaving {
            try #require(changed?.waitReadable(seconds: 60) == true)
            changed?.takeEvent()
            _ = attend(in: &store)
        }
    }
}
