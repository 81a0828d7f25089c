//! The forms of log files, cut anywhere.

use super::*;
use crate::decode::zip::tests::{END_OF_ZIP, zip_entry};

/// Reads a body in chunks of that size, and returns what was found.
fn read(body: &[u8], size: usize) -> Vec<String> {
    let mut reader = LogFileDecoder::new("receipt_1.json");
    let mut chunks = body.chunks(size);
    let mut found = Vec::new();
    loop {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let one = match reader.read() {
            ReadResult::End => return found,
            ReadResult::File(name) => format!("file {name}"),
            ReadResult::FileBroken(why) => format!("broken: {why}"),
            ReadResult::FileEnd => "end".to_owned(),
            ReadResult::NeedsInput => {
                match chunks.next() {
                    Some(chunk) => reader.push(chunk.to_vec()),
                    None => reader.finish(),
                }
                continue;
            }
            ReadResult::NotARecord(line) => format!("no record: {}", text(line)),
            ReadResult::Record(record) => text(record),
            ReadResult::TooLong(start) => format!("too long: {}", text(&start[..9])),
            ReadResult::Broken(why) => {
                found.push(format!("all broken: {why}"));
                return found;
            }
        };
        found.push(one);
    }
}

const ODD: &str = r#"{"a":"}]\"{","b":[{"c":{}}]}"#;

#[test]
fn records_of_json_come_out_whole_whatever_the_chunks() {
    let body = format!(
        "\u{feff} {{\"type\" : \"data\", \"x\":[{{}}], \"data\" : [ {ODD},\r\n{{}} ], \"y\":1}}"
    );
    for size in [1, 2, 3, 7, 1000] {
        let expected = ["file receipt_1.json", ODD, "{}", "end"];
        assert_eq!(read(body.as_bytes(), size), expected, "{size}");
    }
    for empty in ["", " ", r#"{"type":"MTA","data":[]}"#, r#"{"data":[]"#] {
        assert_eq!(
            read(empty.as_bytes(), 5),
            ["file receipt_1.json", "end"],
            "{empty}"
        );
    }
}

#[test]
fn lines_become_objects() {
    let body = "acc=C0|Act=Acc\r\n\nno line\nacc=C1|Act=Rej";
    for size in [1, 5, 1000] {
        assert_eq!(
            read(body.as_bytes(), size)[1..],
            [
                r#"{"acc":"C0","Act":"Acc"}"#,
                "no record: no line",
                r#"{"acc":"C1","Act":"Rej"}"#,
                "end"
            ]
        );
    }
}

#[test]
fn files_that_are_malformed_say_why() {
    for (body, why) in [
        (r#"{"type":"MTA","data":"#, TRUNCATED),
        (r#"{"type":"MTA","data":[{"a":1"#, TRUNCATED),
        (r#"{"data":[1]}"#, NOT_OBJECTS),
        (r#"{"data":null}"#, NO_DATA),
        (r#"{"meta":{"data":[]},"fail":[]}"#, NO_DATA),
        ("<html>\n<p>", UNKNOWN_FORMAT),
    ] {
        for size in [1, 1000] {
            let found = read(body.as_bytes(), size);
            assert_eq!(found[1..], [format!("broken: {why}")], "{body}");
        }
    }
    let some = read(br#"{"data":[{"a":1},{"b":"#, 4);
    assert_eq!(
        some[1..],
        [r#"{"a":1}"#.to_owned(), format!("broken: {TRUNCATED}")]
    );
}

#[test]
fn an_archive_is_read_file_by_file_and_a_bad_one_costs_no_other() {
    let json = br#"{"data":[{"a":1}]}"#;
    let files = [
        zip_entry("logs/process_1.json", json, false),
        zip_entry("../../etc/passwd", json, true),
        zip_entry("c:\\receipt_1.json", json, false),
        zip_entry("/receipt_1.json", json, false),
        zip_entry("broken_1.json", br#"{"data":["#, false),
        zip_entry("lines_1.txt", b"a=1", true),
    ];
    let body = [files.concat(), END_OF_ZIP.to_vec()].concat();
    for size in [1, 64, 100_000] {
        assert_eq!(
            read(&body, size),
            [
                "file process_1.json",
                r#"{"a":1}"#,
                "end",
                "file passwd",
                "broken: its name leads out of the archive",
                "file receipt_1.json",
                "broken: its name leads out of the archive",
                "file receipt_1.json",
                "broken: its name leads out of the archive",
                "file broken_1.json",
                "broken: the file ends in the middle of its JSON",
                "file lines_1.txt",
                r#"{"a":"1"}"#,
                "end"
            ]
        );
    }
    let cut = read(&body[..body.len() - 60], 10);
    assert_eq!(cut.last().unwrap(), "all broken: the archive ends early");
}

#[test]
fn the_unreadable_bytes_of_a_file_are_none_of_another() {
    let json = br#"{"data":[{"a":1}]}"#;
    let good = zip_entry("good_1.json", json, false);
    let mut wrong_sum = zip_entry("sum_1.json", json, false);
    wrong_sum[14] ^= 1;
    let mut corrupt = zip_entry("corrupt_1.json", json, false);
    let data_at = 30 + "corrupt_1.json".len();
    corrupt[data_at] = 0xff;
    let unsafe_name = zip_entry("../passwd", json, false);
    let streamed = zip_entry("../passwd", json, true);
    let unreadable_of = |body: Vec<u8>| {
        let mut reader = LogFileDecoder::new("receipt_1.json");
        reader.push(body);
        reader.finish();
        let mut found = Vec::new();
        loop {
            match reader.read() {
                ReadResult::FileBroken(_) => {}
                ReadResult::Broken(_) => {
                    found.push(reader.unreadable_bytes().to_vec());
                    return found;
                }
                ReadResult::End => return found,
                ReadResult::File(_)
                | ReadResult::FileEnd
                | ReadResult::NeedsInput
                | ReadResult::NotARecord(_)
                | ReadResult::Record(_)
                | ReadResult::TooLong(_) => continue,
            }
            found.push(reader.unreadable_bytes().to_vec());
        }
    };
    for (bad, may_be_empty) in [
        (wrong_sum, true),
        (corrupt, false),
        (unsafe_name, false),
        (streamed, true),
    ] {
        let body = [&bad[..], &good, END_OF_ZIP].concat();
        let found = unreadable_of(body);
        assert_eq!(found.len(), 1);
        assert!(bad.ends_with(&found[0]), "{:?}", found[0]);
        assert_eq!(found[0].is_empty(), may_be_empty);
    }
    let cut = zip_entry("cut_1.json", br#"{"data":[{"b":"#, false);
    let found = unreadable_of([&cut[..], b"no file"].concat());
    assert_eq!(found, [br#"{"b":"#.to_vec(), b"no file".to_vec()]);
}

#[test]
fn what_is_too_long_is_cut_with_bounded_memory_and_the_next_record_is_whole() {
    let long = "x".repeat(3 * LINE_BYTES_MAX);
    let json = format!(r#"{{"data":[{{"a":"{long}"}},{{"b":1}}]}}"#);
    assert_eq!(
        read(json.as_bytes(), 100_000)[1..],
        ["too long: {\"a\":\"xxx", r#"{"b":1}"#, "end"]
    );
    let lines = format!("a={long}\nb=1\n");
    assert_eq!(
        read(lines.as_bytes(), 100_000)[1..],
        ["too long: a=xxxxxxx", r#"{"b":"1"}"#, "end"]
    );
}

proptest::proptest! {
    #[test]
    fn the_chunks_make_no_difference(
        body in "(\\{\"data\":\\[|PK\\x03\\x04|a=)?[\\[\\]{}\",:=|a\\\\ \n]{0,60}",
        size in 1_usize..20,
    ) {
        let whole = read(body.as_bytes(), body.len().max(1));
        proptest::prop_assert_eq!(read(body.as_bytes(), size), whole);
    }
}

/// A gigabyte of one record without an end, which is never in memory as a whole.
#[test]
fn a_line_of_a_gigabyte_costs_the_memory_of_one() {
    let mut reader = LogFileDecoder::new("receipt_1.txt");
    let mut chunks = 0;
    let mut found = 0;
    loop {
        match reader.read() {
            ReadResult::NeedsInput if chunks < 1024 => {
                chunks += 1;
                reader.push(vec![b'a'; 1 << 20]);
            }
            ReadResult::NeedsInput => reader.finish(),
            ReadResult::End => break,
            ReadResult::TooLong(_) => found += 1,
            ReadResult::File(_) | ReadResult::FileEnd => {}
            ReadResult::FileBroken(_)
            | ReadResult::NotARecord(_)
            | ReadResult::Record(_)
            | ReadResult::Broken(_) => {
                panic!("a file of one long line")
            }
        }
        assert!(reader.window.capacity() <= 4 << 20);
    }
    assert_eq!(found, 1);
}
