//! Attachments named in one text.

use std::borrow::Cow;

/// The names in `"a.docx", "b, c.xlsx"` or in `report.doc`.
///
/// The text is taken as a list only if all of it reads as names in quotes with commas between
/// them, and there may be more than one: a single name may contain quotes and commas itself.
pub(super) fn names<'t>(text: &'t str, count: Option<&str>) -> Vec<Cow<'t, str>> {
    let quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    let inner = text.get(1..text.len().saturating_sub(1)).filter(|_| quoted);
    let is_single = matches!(count, Some("0" | "1"));
    match inner {
        Some(inner) if !is_single || inner.contains("\", \"") => parts(inner)
            .map(clean)
            .filter(|name| !name.is_empty())
            .collect(),
        Some(inner) => vec![inner.trim().into()],
        None => vec![text.trim().into()],
    }
}

/// What stands between the quotes that have commas behind them.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let ends = memchr::memchr_iter(b'"', bytes).filter(|at| bytes.get(at + 1) == Some(&b','));
    let mut start = 0;
    ends.chain([text.len()]).filter_map(move |end| {
        let part = text.get(start..end);
        start = end + 2;
        part
    })
}

fn clean(part: &str) -> Cow<'_, str> {
    let part = part.trim_start();
    let name = part.strip_prefix('"').unwrap_or(part).trim();
    if name.contains('"') {
        return name.replace("\"\"", "\"").into();
    }
    name.into()
}

/// The extension of a file name, if it has one.
pub(super) fn extension(name: &str) -> Option<&str> {
    let (stem, extension) = name.rsplit_once('.')?;
    let is_extension = !stem.is_empty()
        && (1..=10).contains(&extension.len())
        && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_extension.then_some(extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_from_the_commas_in_them() {
        for (text, count, expected) in [
            ("\"a.pdf\"", "1", &["a.pdf"][..]),
            (
                "\"~WRD0001.jpg\", \"image001.png\"",
                "2",
                &["~WRD0001.jpg", "image001.png"],
            ),
            ("\"b, c.xlsx\", \"d.txt\"", "2", &["b, c.xlsx", "d.txt"]),
            ("\"a.txt\",\"b.txt\"", "2", &["a.txt", "b.txt"]),
            ("\"a.txt\", \"b.txt\"", "0", &["a.txt", "b.txt"]),
            ("tpsreport.doc", "1", &["tpsreport.doc"]),
            (
                "so-called \"REPORT\", we need it.pdf",
                "1",
                &["so-called \"REPORT\", we need it.pdf"],
            ),
            (
                "\"the \"REPORT\",final.pdf\"",
                "1",
                &["the \"REPORT\",final.pdf"],
            ),
        ] {
            assert_eq!(names(text, Some(count)), expected, "{text}");
        }
    }

    #[test]
    fn extensions_are_short_words() {
        assert_eq!(extension("Report.PDF"), Some("PDF"));
        assert_eq!(extension(".profile"), None);
        assert_eq!(extension("a.tar and more"), None);
        assert_eq!(extension("noextension"), None);
    }
}
