// SPDX-License-Identifier: Apache-2.0
import PenumbraSystem
import Testing

@Suite struct JSONTests {
    private func parse(_ text: String) throws -> JSON { try JSON(parsing: Array(text.utf8)) }

    @Test func textIsQuoted() {
        #expect(JSON.string("a\"b\\c\n\t\u{1}é").text == #""a\"b\\c\n\t\u0001é""#)
    }

    @Test func valuesNest() {
        let value = JSON.object([("a", .array([.number(1), .boolean(true)])), ("b", .object([]))])
        #expect(value.text == #"{"a":[1,true],"b":{}}"#)
        #expect(
            value.indented == """
                {
                    "a": [
                        1,
                        true
                    ],
                    "b": {}
                }
                """)
    }

    @Test(arguments: [
        "null", "true", "[]", "{}", #"{"a":[1,-2,3.5e-7,18446744073709551615,18446744073709551616]}"#,
        #"["\"\\\n\t\u0001é"]"#, #"{"":{"":[[],{}]}}"#,
    ])
    func whatWasWrittenIsReadAgain(_ text: String) throws {
        #expect(try parse(text).text == text)
        #expect(try parse(parse(text).indented).text == text)
    }

    @Test func valuesAreFound() throws {
        let value = try parse(#" { "a" : "x" , "n" : 7, "b": false, "z": null, "l": [ 1 ] } "#)
        #expect(value["a"]?.string == "x" && value["n"]?.number == 7 && value["b"]?.boolean == false)
        #expect(value["l"]?.array == [.number(1)] && value["z"] == nil && value["none"] == nil)
        #expect(value["a"]?["a"] == nil && value["a"]?.number == nil)
    }

    @Test func escapesAreUnderstood() throws {
        #expect(try parse(#""\u00e9\ud83d\ude00\/\b\f\r""#).string == "é😀/\u{8}\u{c}\r")
        #expect(try parse(#""\ud83dx\ude00\ud83d\u0041""#).string == "\u{fffd}x\u{fffd}\u{fffd}A")
    }

    @Test(arguments: [
        "", " ", "[", "[1", "[1,", "[1,]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}", "{a:1}", "tru",
        "nul",
        "01", "-", "1.", "1e", "+1", ".5", "\"", "\"\\", "\"\\u12", "\"\\x\"", "\"\n\"", "1 2", "[]]", "'a'",
        #"{"a":1,"a":2}"#,
    ])
    func otherTextIsRefused(_ text: String) {
        #expect(throws: JSON.Problem.self) { try parse(text) }
    }

    @Test func otherBytesAreRefused() {
        #expect(throws: JSON.Problem.self) { try JSON(parsing: [0x22, 0xff, 0x22]) }
    }

    @Test func nestingIsBounded() throws {
        let sound = String(repeating: "[", count: 64) + String(repeating: "]", count: 64)
        #expect(try parse(sound).text == sound)
        #expect(throws: JSON.Problem.self) { try parse(String(repeating: "[", count: 100_000)) }
    }
}
