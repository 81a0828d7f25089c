//! Every test that `docs/faults.md` names exists and is a test. `ci/test-report` looks for the same
//! names among the tests that ran and passed.

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
        assert!(is_test(&source, test), "{file} has no test `{test}`");
        faults += 1;
    }
    assert!(faults > 30, "{faults}");
}

/// Whether a function of that name has an attribute of a test, and runs.
fn is_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let declared = [format!("fn {name}()"), format!("fn {name}(")];
    let declares = |line: &&str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        declared.iter().any(|start| line.starts_with(start))
    };
    let Some(at) = lines.iter().position(declares) else {
        return false;
    };
    let before = lines.iter().take(at).rev();
    let attributes: Vec<&&str> = before
        .take_while(|line| line.starts_with('#') || line.starts_with("//"))
        .collect();
    let is = |start: &str| attributes.iter().any(|line| line.starts_with(start));
    (is("#[test]") || is("#[tokio::test")) && !is("#[ignore")
}

#[test]
fn a_function_that_is_no_test_or_is_ignored_does_not_count() {
    let source = "#[test]\nfn a() {}\nfn b() {}\n#[ignore]\n#[test]\nfn c() {}\n\
                  #[tokio::test]\n#[cfg(unix)]\nasync fn d() {}\n// fn e()\n";
    let tests = ["a", "b", "c", "d", "e", "f"].map(|name| is_test(source, name));
    assert_eq!(tests, [true, false, false, true, false, false]);
}
