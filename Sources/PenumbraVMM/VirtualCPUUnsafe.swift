// SPDX-License-Identifier: Apache-2.0
import CPenumbra
import Glibc
import PenumbraSystem

/// One vCPU: its file and its run page. Used by one thread at a time.
final class VirtualCPU: @unchecked Sendable {
    /// Why the module gave the vCPU back.
    enum Exit: Equatable {
        case request(number: UInt64, UInt64, UInt64)
        case shutdown(kind: UInt64, status: UInt64)
        case crash(CrashReport)
        /// Another vCPU or the VMM ended the VM before.
        case dead(CrashReport)
        /// Nothing for the VMM: run again.
        case none
    }

    private let file: Descriptor
    /// The module writes the page only while RUN is in progress on this vCPU, and that call is made
    /// by the one thread that reads it; the mapping lives as long as the object.
    private let page: UnsafeMutablePointer<penumbra_run>

    init(file: Descriptor) throws(VMMError) {
        let address = mmap(nil, Int(PENUMBRA_PAGE_SIZE), PROT_READ | PROT_WRITE, MAP_SHARED, file.number, 0)
        guard let address, address != MAP_FAILED else {
            throw .system(SystemError(call: "mmap", subject: "a vCPU's run page", code: errno))
        }
        self.file = file
        page = address.bindMemory(to: penumbra_run.self, capacity: 1)
    }

    deinit { munmap(page, Int(PENUMBRA_PAGE_SIZE)) }

    func run() throws(VMMError) -> Exit {
        try control(file, PENUMBRA_IOCTL_RUN, "running the guest")
        switch Int32(bitPattern: page.pointee.exit_reason) {
        case PENUMBRA_EXIT_REQUEST:
            return .request(number: page.pointee.arg.0, page.pointee.arg.1, page.pointee.arg.2)
        case PENUMBRA_EXIT_SHUTDOWN:
            return .shutdown(kind: page.pointee.arg.0, status: page.pointee.arg.1)
        case PENUMBRA_EXIT_CRASH: return .crash(crashReport)
        case PENUMBRA_EXIT_DEAD: return .dead(crashReport)
        default: return .none
        }
    }

    private var crashReport: CrashReport {
        let run = page.pointee
        return CrashReport(
            reason: run.crash_reason, rip: run.crash_rip, cr2: run.crash_cr2, errorCode: run.crash_error,
            vector: run.crash_vector, detail: run.crash_detail)
    }

    /// The bytes that belong to the request.
    func requestData() throws(VMMError) -> [UInt8] {
        let length = page.pointee.data_length
        guard length <= UInt32(PENUMBRA_RUN_DATA_SIZE) else { throw .brokenRequest(length: length) }
        let offset = MemoryLayout<penumbra_run>.offset(of: \penumbra_run.data)!
        // Within the page: the offset plus the checked length is at most the structure's size.
        return [UInt8](UnsafeRawBufferPointer(start: UnsafeRawPointer(page) + offset, count: Int(length)))
    }

    func answer(_ result: UInt64) { page.pointee.result = result }
}
