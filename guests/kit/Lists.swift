// SPDX-License-Identifier: Apache-2.0

/// Calls `body` with each element: a guest has no heap, and so no array to iterate over.
func forEach<let count: Int, Element>(
    _ list: InlineArray<count, Element>, _ body: (Element) -> Void
) {
    for index in list.indices {
        body(list[index])
    }
}
