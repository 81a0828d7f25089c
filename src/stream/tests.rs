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

/// The README names every family, and the page of fields, which is written from the tables, the rest.
#[test]
fn the_readme_names_every_family() {
    let readme = include_str!("../../README.md");
    for row in STREAMS {
        let family = row.stream.family();
        assert!(readme.contains(&format!("`{family}`")), "{family}");
    }
}

/// The table of products and permissions in the page about setting up API 2.0.
#[test]
fn the_page_about_setting_up_names_the_product_and_permission_of_every_stream() {
    let page = include_str!("../../docs/setup-api-2.md");
    let lines: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for row in STREAMS
        .iter()
        .filter(|row| !matches!(row.fetch, FetchKind::LogFiles))
    {
        let begins = |line: &&&str| {
            [row.name, row.stream.family()]
                .iter()
                .any(|name| line.starts_with(&format!("| `{name}` ")))
        };
        let line = lines.iter().find(begins).expect(row.name);
        let permission = row.permission.replace('|', "\\|");
        let facts = format!("| {} | {permission} |", row.product);
        assert!(line.ends_with(&facts), "{}: {line}", row.name);
    }
    let page = include_str!("../../docs/setup-api-1.md");
    for name in ["audit", "siem"] {
        let row = STREAMS.iter().find(|row| row.name == name).unwrap();
        let facts = format!(
            "| `{name}` (`{}`) | {} |",
            row.endpoint,
            row.permission.replace('|', "\\|")
        );
        assert!(page.contains(&facts), "{facts}");
    }
}
