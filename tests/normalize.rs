//! Every fixture becomes exactly the events beside it. `BLESS=1` writes them anew.

use std::fs;
use std::path::Path;

use mimecast_source::normalize::{Format, Normalizer, Options};
use mimecast_source::record::Parser;
use mimecast_source::stream::STREAMS;
use mimecast_source::time::Timestamp;

/// What the fixtures take for the present.
const NOW: Timestamp = Timestamp::from_millis(1_770_100_000_000);

#[test]
fn fixtures_become_the_events_beside_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let bless = std::env::var_os("BLESS").is_some();
    let mut count = 0;
    for row in STREAMS {
        let mut paths: Vec<_> = fs::read_dir(root.join(row.name))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().ends_with(".upstream.ndjson"))
            .collect();
        paths.sort();
        assert!(!paths.is_empty(), "no fixture for {}", row.name);
        for path in paths {
            let mut parser = Parser::new();
            let mut normalizer = Normalizer::new(Format::Ecs, Options::default());
            let mut actual = String::new();
            for line in fs::read_to_string(&path).unwrap().lines() {
                let record = parser.parse(row.stream, line).unwrap();
                normalizer.write(&record, &record.id(), NOW, &mut actual);
                count += 1;
            }
            let expected_path = path
                .to_string_lossy()
                .replace(".upstream.", ".expected.ecs.");
            if bless {
                fs::write(&expected_path, &actual).unwrap();
            }
            let expected = fs::read_to_string(&expected_path).unwrap_or_default();
            for (number, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
                assert_eq!(actual, expected, "{expected_path}:{}", number + 1);
            }
            assert_eq!(
                actual.lines().count(),
                expected.lines().count(),
                "{expected_path}"
            );
        }
    }
    assert!(count >= 40, "only {count} records");
}
