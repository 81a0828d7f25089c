//! What holds for every row of the table.

use super::*;

#[test]
fn every_row_stands_at_the_index_of_its_stream() {
    for (index, row) in STREAMS.iter().enumerate() {
        assert_eq!(row.stream.index(), index);
        assert_eq!(Stream::from_name(row.name), Some(row.stream));
        assert!(!row.summary.is_empty());
    }
}

/// The table of the README, so that it stays as true as this one.
#[test]
fn the_readme_says_the_same_of_every_stream() {
    let readme = include_str!("../../README.md");
    for row in STREAMS {
        let name = format!("`{}`", row.name);
        let path = format!("| `{}` |", row.endpoint);
        let mut lines = readme.lines().filter(|line| line.contains(&path));
        let line = lines.find(|line| line.contains(&name)).unwrap();
        let kept = row
            .retention_hours
            .map_or(String::new(), |hours| format!("{} days", hours / 24));
        let facts = [
            row.permission.replace('|', "\\|"),
            kept,
            row.identity.to_owned(),
        ];
        assert!(
            line.ends_with(&format!("| {} |", facts.join(" | "))),
            "{line}"
        );
    }
}
