//! Names of attachments that are listed in one text.

use std::borrow::Cow;

/// Returns the names in `"a.docx", "b, c.xlsx"` or in `report.doc`.
///
/// `count` is the text of the number of attachments. A text in quotes is taken as a list where there may
/// be more than one name, since a single name may contain quotes and commas itself; a text without quotes
/// only where it has as many parts as there are attachments, and more than one.
pub(super) fn names<'t>(text: &'t str, count: Option<&str>) -> Vec<Cow<'t, str>> {
    let quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    let inner = text.get(1..text.len().saturating_sub(1)).filter(|_| quoted);
    let is_single = matches!(count, Some("0" | "1"));
    match inner {
        Some(inner) if !is_single || inner.contains("\", \"") => parts(inner)
            .map(unquote)
            .filter(|name| !name.is_empty())
            .collect(),
        Some(inner) => vec![inner.trim().into()],
        None => split_unquoted(text.trim(), count),
    }
}

/// Returns the names in `a.docx, b.xlsx` or `a.docx, b.xlsx,`: a list only where it has as many
/// parts as there are attachments.
fn split_unquoted<'t>(text: &'t str, count: Option<&str>) -> Vec<Cow<'t, str>> {
    let parts = || {
        text.split([',', ';'])
            .map(str::trim)
            .filter(|part| !part.is_empty())
    };
    let count = count.and_then(|count| count.trim().parse::<usize>().ok());
    if count.is_some_and(|count| count > 1 && parts().count() == count) {
        return parts().map(Cow::from).collect();
    }
    vec![text.into()]
}

/// Splits at the quotes that have commas after them.
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

/// Returns a name without the quotes around it.
pub(super) fn strip_quotes(name: &str) -> &str {
    let name = name.trim();
    let inner = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    inner.unwrap_or(name).trim()
}

/// Returns a name of a list without the quotes around it, and with one quote where there are two inside.
fn unquote(part: &str) -> Cow<'_, str> {
    let part = part.trim_start();
    let name = part.strip_prefix('"').unwrap_or(part).trim();
    if name.contains('"') {
        return name.replace("\"\"", "\"").into();
    }
    name.into()
}

/// Returns the extension of a file name, if it has one.
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
    fn names_are_distinguished_from_the_commas_in_them() {
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
            ("a.docx, b.ods", "2", &["a.docx", "b.ods"]),
            ("a.docx, b.ods, c.jpg,", " 3", &["a.docx", "b.ods", "c.jpg"]),
            ("Q1, Q2.ods", "1", &["Q1, Q2.ods"]),
            ("Q1, Q2.ods, c.jpg", "2", &["Q1, Q2.ods, c.jpg"]),
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
