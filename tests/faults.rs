//! Every test that `docs/faults.md` names is there.

use std::fs;
use std::path::Path;

#[test]
fn every_fault_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/faults.md")).unwrap();
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| fault "));
    let mut faults = 0;
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let words: Vec<&str> = cell.split('`').collect();
        let ["", file, " ", test, ""] = words.as_slice() else {
            panic!("no `file` and `test` in the last cell: {row}");
        };
        let source = fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(source.contains(&format!("fn {test}()")), "{file} {test}");
        faults += 1;
    }
    assert!(faults > 30, "{faults}");
}
