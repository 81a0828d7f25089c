//! The scanner against `serde_json`.

use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value};

fn accepts(text: &str) -> bool {
    scan_object(text, &mut Vec::new()).is_ok()
}

fn assert_agrees_with_serde_json(text: &str) {
    let reference = serde_json::from_str::<Map<String, Value>>(text);
    assert_eq!(accepts(text), reference.is_ok(), "{text:?}: {reference:?}");
}

#[test]
fn the_grammar_is_that_of_serde_json() {
    for text in [
        "{}",
        " {} ",
        "{} x",
        "",
        "[]",
        "null",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1 \"b\":2}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":-0}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1e}",
        "{\"a\":1e5}",
        "{\"a\":1E-5}",
        "{\"a\":1e999}",
        "{\"a\":1e-999}",
        "{\"a\":+1}",
        "{\"a\":NaN}",
        "{\"a\":nul}",
        "{\"a\":nulll}",
        "{\"a\":tru",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\ud800\\u0041\"}",
        "{\"a\":\"\\ud83d\\ude00\"}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\u{7f}\"}",
        "{\"a\":\"",
        "{\"a\":\"\\",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"a\":[]}",
        "{\"a\":[{}]}",
        "{\"a\":[}]}",
        "\u{feff}{}",
        "{\u{a0}}",
        "{\"a\":\u{c}1}",
        "{\"a\" :\n1\r,\t\"b\":2}",
    ] {
        assert_agrees_with_serde_json(text);
    }
    assert_agrees_with_serde_json(&format!("{{\"a\":{}}}", "9".repeat(308)));
    assert_agrees_with_serde_json(&format!("{{\"a\":{}}}", "9".repeat(310)));
}

#[test]
fn nesting_has_a_limit_and_hostile_depth_is_survived() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(accepts(&nested(63)));
    assert_eq!(
        scan_object(&nested(64), &mut Vec::new()).unwrap_err(),
        Error {
            reason: "nested deeper than 64 levels",
            offset: 68
        }
    );
    assert!(!accepts(&"{\"a\":".repeat(1_000_000)));
}

#[test]
fn unescaped_ascii_is_detected() {
    let long = "x".repeat(40);
    for (value, expected) in [("x", true), ("é", false), ("\\n", false), ("\u{85}", false)] {
        for text in [
            format!("{{\"a\":\"{value}\"}}"),
            format!("{{\"a\":\"{long}{value}{long}\",\"b\":1}}"),
            format!("{{\"a\":[\"{value}\"]}}"),
            format!("{{\"{value}\":{{\"b\":1}}}}"),
        ] {
            let scanned_object = scan_object(&text, &mut Vec::new()).unwrap();
            assert_eq!(scanned_object.is_unescaped_ascii, expected, "{text}");
        }
    }
}

#[test]
fn members_are_what_stands_in_the_text() {
    let text = " {\"b\":\"x\\/\", \"a\" : [1, 2],\"longer name\":{\"k\":null}} ";
    let mut members = Vec::new();
    let scanned_object = scan_object(text, &mut members).unwrap();
    assert!(
        !scanned_object.sorted
            && !scanned_object.canonical
            && !scanned_object.multiline
            && !scanned_object.is_unescaped_ascii
    );
    assert_eq!(scanned_object.span.of(text), text.trim());
    let seen: Vec<_> = members
        .iter()
        .map(|m| {
            (
                m.key.of(text),
                m.value.of(text),
                m.kind,
                m.escaped,
                m.canonical,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("b", "x\\/", Kind::String, true, false),
            ("a", "[1, 2]", Kind::Array, false, false),
            ("longer name", "{\"k\":null}", Kind::Object, false, true),
        ]
    );
}

/// Text that is nearly JSON: valid documents with a few pieces exchanged.
fn nearly_json() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        "[{}\\[\\],:]",
        "\"[a-c\\\\/\"u0d8é]{0,12}\"",
        "-?[0-9.eE+-]{1,6}",
        "(null|true|false|nul)",
        "[ \n\t\r]",
        "\\PC"
    ];
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| format!("{{{}}}", pieces.concat()))
}

proptest! {
    #[test]
    fn accepts_what_serde_json_accepts(text in nearly_json()) {
        assert_agrees_with_serde_json(&text);
    }

    #[test]
    fn the_parser_agrees_with_serde_json_after_a_changed_byte(
        texts in prop::collection::btree_map("[a-c\"\\\\\u{1}é]{0,9}", any::<String>(), 0..5),
        at in any::<prop::sample::Index>(),
        byte in prop::sample::select(&b"\"\\{}[],:0e-u \n\x01"[..]),
    ) {
        let text = serde_json::to_string(&texts).unwrap();
        assert_agrees_with_serde_json(&text);
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes) {
            assert_agrees_with_serde_json(&text);
        }
    }

    #[test]
    fn is_sorted_is_the_order_of_bytes(
        keys in prop::collection::vec("[a-b]{0,10}", 0..5)
    ) {
        let members = keys.iter().map(|key| format!("\"{key}\":0")).collect::<Vec<_>>();
        let text = format!("{{{}}}", members.join(","));
        let scanned_object = scan_object(&text, &mut Vec::new()).unwrap();
        prop_assert_eq!(scanned_object.sorted, keys.is_sorted_by(|a, b| a < b));
    }
}
