// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem

/// Gets images from registries, by skopeo: with the user's credentials, mirrors and certificates, as
/// containers-auth.json(5), containers-registries.conf(5) and containers-certs.d(5) have them.
public struct Registry: Sendable {
    /// Where skopeo looks for rules on whom to trust; without such a file it refuses to work.
    private static let policies = ["/etc/containers/policy.json", "/usr/share/containers/policy.json"]
    private static let manifestFile = "manifest.json"

    /// Whether certificates are checked; nil: as the user's configuration has it, but not for a registry on
    /// this host, as with docker.
    private let checksCertificates: Bool?

    public init(checksCertificates: Bool? = nil) { self.checksCertificates = checksCertificates }

    /// Writes the image for this architecture to `output` as an OCI archive, for an image store elsewhere.
    /// `directory` gets temporary files.
    public func fetch(_ reference: ImageReference, to output: Descriptor, by directory: String) throws {
        let copy = "\(directory)/image"
        defer { try? Files.removeTree(copy) }
        try download(reference, to: copy)
        let manifest = try Files.read("\(copy)/\(Self.manifestFile)")
        try ImageArchive(to: output).write([
            ImageArchive.Member(
                manifest: manifest, references: [reference], blob: { Self.file($0, in: copy) })
        ])
    }

    /// Makes a directory of skopeo's: the manifest as it is in the registry, and each blob by its digits.
    func download(_ reference: ImageReference, to directory: String) throws {
        let skopeo = try Tool("skopeo", package: "skopeo")
        try skopeo.run(
            global + ["copy", "--retry-times=2"] + certificates(for: reference)
                + ["docker://\(reference)", "dir:\(directory)"],
            what: "pulling \(reference.familiar)",
            remedy: "check the name and the network; for an image that is not public, 'skopeo login' first")
    }

    /// Blobs that are known by what skopeo calls them.
    static func file(_ digest: Digest, in directory: String) -> String {
        "\(directory)/\(digest.hexadecimal)"
    }

    private var global: [String] {
        let own = environmentVariable("HOME").map { $0 + "/.config/containers/policy.json" }
        let policies = Self.policies + [own].compactMap(\.self)
        // Who has no rules accepts every image, as with docker.
        let rules = policies.contains(where: Files.exists) ? [] : ["--insecure-policy"]
        return rules + ["--override-os=linux", "--override-arch=\(ImageError.architecture)"]
    }

    private func certificates(for reference: ImageReference) -> [String] {
        if let checksCertificates { return ["--src-tls-verify=\(checksCertificates)"] }
        return Self.isThisHost(reference.registry) ? ["--src-tls-verify=false"] : []
    }

    static func isThisHost(_ registry: String) -> Bool {
        let host = registry.prefix { $0 != ":" }
        return host == "localhost" || (host.hasPrefix("127.") && host.split(separator: ".").count == 4)
    }
}
