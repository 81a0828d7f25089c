//! Names made from an event, such as `{namespace}.{stream}`: Forward tags, NATS
//! subjects, paths of URLs and of files.

use std::fmt::{self, Write as _};
use std::path::{Component, Path, PathBuf};

use source_common::exit::Failure;
use source_common::section::Section;

use super::Event;

/// A text with placeholders for properties of an event.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

/// Omits the text, which may be an endpoint with a credential in its path.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template(..)")
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Kind,
    Namespace,
    Source,
    Stream,
    Text(String),
}

impl Template {
    /// Parses `{kind}`, `{namespace}`, `{source}` and `{stream}` in a template. The error is a
    /// clause that does not quote the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((word, after)) = after.split_once('}') else {
                return Err("has a `{` whose `}` is missing".to_owned());
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(match word {
                "kind" => Piece::Kind,
                "namespace" => Piece::Namespace,
                "source" => Piece::Source,
                "stream" => Piece::Stream,
                _ => {
                    return Err(format!(
                        "has `{{{word}}}`; it may have {{kind}}, {{namespace}}, {{source}} and \
                         {{stream}}"
                    ));
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }

    /// Parses the text of a setting, which has a default.
    pub(super) fn read(
        section: &mut Section<'_>,
        key: &'static str,
        default: &str,
    ) -> Result<Self, Failure> {
        let text = section.string(key)?;
        Self::parse(text.as_deref().unwrap_or(default))
            .map_err(|reason| section.error(key, &reason))
    }

    /// Parses the text of a setting, where it is set.
    pub(super) fn read_optional(
        section: &mut Section<'_>,
        key: &'static str,
    ) -> Result<Option<Self>, Failure> {
        let text = section.string(key)?;
        let parsed = text.as_deref().map(Self::parse).transpose();
        parsed.map_err(|reason| section.error(key, &reason))
    }

    /// The texts between the places.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Kind | Piece::Namespace | Piece::Source | Piece::Stream => None,
        })
    }

    /// Renders the template for an event of a source.
    pub(super) fn render(&self, event: &Event<'_>, source: &str) -> String {
        self.render_with(event, source, str::to_owned)
    }

    /// The text for an event of a source, with each word as by `change`.
    fn render_with(&self, event: &Event<'_>, source: &str, change: fn(&str) -> String) -> String {
        let words = |piece: &Piece| match piece {
            Piece::Kind => change(event.kind),
            Piece::Namespace => change(event.namespace),
            Piece::Source => change(source),
            Piece::Stream => change(event.stream),
            Piece::Text(text) => text.clone(),
        };
        self.pieces.iter().map(words).collect()
    }

    /// Whether it is the same text for every event.
    fn is_fixed(&self) -> bool {
        self.pieces
            .iter()
            .all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// Returns the parts of an event on which the text depends; the rest is the same in
    /// a delivery.
    pub(super) fn partition_key<'a>(&self, event: &Event<'a>) -> (&'a str, &'a str) {
        let asks = |wanted: &Piece| self.pieces.contains(wanted);
        (
            if asks(&Piece::Kind) { event.kind } else { "" },
            if asks(&Piece::Stream) {
                event.stream
            } else {
                ""
            },
        )
    }
}

/// In the pattern of a path: any text without a separator. No path has this character.
pub const ANY: char = '\0';

/// The path of a file, with places for the words of an event. What is put into them is part of a
/// name and leads to no other directory.
#[derive(Clone, Debug)]
pub struct PathTemplate {
    /// Where a relative path begins.
    base: PathBuf,
    text: String,
    template: Template,
}

impl PathTemplate {
    /// Parses a path, of which a relative one begins at `base`. The error is a clause about it.
    pub(super) fn parse(base: &Path, text: &str) -> Result<Self, String> {
        let template = Template::parse(text)?;
        let behind = text.split_once('{').map_or("", |(_, behind)| behind);
        let climbs = |part: Component<'_>| matches!(part, Component::ParentDir);
        if Path::new(behind).components().any(climbs) {
            return Err("has `..` after a placeholder; write the path without it".to_owned());
        }
        Ok(Self {
            base: base.to_owned(),
            text: text.to_owned(),
            template,
        })
    }

    /// The path of one file.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        let text = path.file_name().unwrap_or_default().to_string_lossy();
        Self {
            base: path.parent().unwrap_or_else(|| Path::new("")).to_owned(),
            template: Template {
                pieces: vec![Piece::Text(text.clone().into_owned())],
            },
            text: text.into_owned(),
        }
    }

    /// The path, where it is the same for every event.
    #[must_use]
    pub fn fixed(&self) -> Option<PathBuf> {
        let is_fixed = self.template.is_fixed();
        is_fixed.then(|| self.base.join(&self.text))
    }

    /// The paths that it can have, with [`ANY`] for each word; that of the source is known where one
    /// is given.
    #[must_use]
    pub fn pattern(&self, source: Option<&str>) -> PathBuf {
        let pieces = self.template.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Source => source.map_or_else(|| ANY.to_string(), path_word),
            Piece::Kind | Piece::Namespace | Piece::Stream => ANY.to_string(),
        });
        self.base.join(pieces.collect::<String>())
    }

    /// The directory that all its paths have in common.
    pub(super) fn directory(&self) -> PathBuf {
        let before = self.text.split('{').next().unwrap_or_default();
        let end = before.rfind('/').map_or(0, |at| at + 1);
        self.base.join(before.get(..end).unwrap_or_default())
    }

    /// Events for which it says different texts go to different files.
    pub(super) fn template(&self) -> &Template {
        &self.template
    }

    /// The file for an event of a source.
    pub(super) fn render(&self, event: &Event<'_>, source: &str) -> PathBuf {
        self.base
            .join(self.template.render_with(event, source, path_word))
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.join(&self.text).display().fmt(f)
    }
}

/// A word as part of the name of a file: letters, digits, `-`, `_`, and `.` where it is not the first.
/// Another byte is written as in a URL, so that two words never give one name.
fn path_word(word: &str) -> String {
    if word.is_empty() {
        return "_".to_owned();
    }
    let mut safe = String::with_capacity(word.len());
    for (at, byte) in word.bytes().enumerate() {
        let is_plain =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && at > 0);
        if is_plain {
            safe.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(safe, "%{byte:02X}");
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: Event<'_> = Event {
        body: "{}",
        occurred_at: 0,
        kind: "email.receipt",
        stream: "siem.receipt",
        namespace: "test",
    };

    #[test]
    fn placeholders_are_replaced_by_the_values_of_the_event() {
        let template = Template::parse("test.{stream}").unwrap();
        assert_eq!(template.render(&EVENT, "acme"), "test.siem.receipt");
        assert_eq!(template.partition_key(&EVENT), ("", "siem.receipt"));
        let template = Template::parse("{source}/{kind}/x").unwrap();
        assert_eq!(template.render(&EVENT, "acme"), "acme/email.receipt/x");
        assert_eq!(template.partition_key(&EVENT), ("email.receipt", ""));
    }

    #[test]
    fn an_unknown_word_or_an_open_brace_is_refused() {
        assert!(Template::parse("a{tag}").unwrap_err().contains("`{tag}`"));
        assert!(Template::parse("a{stream").unwrap_err().contains("missing"));
    }

    fn path(text: &str) -> PathTemplate {
        PathTemplate::parse(Path::new("/base"), text).unwrap()
    }

    #[test]
    fn a_path_has_the_words_as_parts_of_names() {
        let template = path("{source}/{stream}.ndjson");
        assert_eq!(
            template.render(&EVENT, "acme"),
            Path::new("/base/acme/siem.receipt.ndjson")
        );
        assert_eq!(template.fixed(), None);
        assert_eq!(template.to_string(), "/base/{source}/{stream}.ndjson");
        assert_eq!(path("a/b").fixed().unwrap(), Path::new("/base/a/b"));
        for (text, directory) in [
            ("{source}/x", "/base/"),
            ("a/b/c-{kind}", "/base/a/b/"),
            ("/var/log/{kind}", "/var/log/"),
            ("a/b", "/base/a/"),
        ] {
            assert_eq!(path(text).directory(), Path::new(directory), "{text}");
        }
        assert_eq!(
            path("{source}/{stream}").pattern(Some("acme")),
            Path::new("/base/acme/\0")
        );
        assert_eq!(path("{source}/x").pattern(None), Path::new("/base/\0/x"));
    }

    #[test]
    fn no_word_leads_to_another_directory() {
        for word in [
            "..",
            "../../etc/passwd",
            "/etc",
            "a/b",
            ".",
            "",
            "a\0b",
            "..\\x",
            "ä",
            ".",
        ] {
            let event = Event {
                kind: word,
                stream: word,
                ..EVENT
            };
            for text in [
                "x/{kind}",
                "x/{kind}{stream}",
                "x/.{kind}",
                "x/{kind}.",
                "x/{stream}.ndjson",
            ] {
                let rendered = path(text).render(&event, "acme");
                let parts: Vec<Component<'_>> = rendered.components().collect();
                let is_name = |part: &Component<'_>| matches!(part, Component::Normal(_));
                assert_eq!(parts.len(), 4, "{text} {word}: {rendered:?}");
                assert!(
                    parts.iter().skip(1).all(is_name),
                    "{text} {word}: {rendered:?}"
                );
                assert!(rendered.starts_with("/base/x"), "{rendered:?}");
                assert!(!rendered.to_str().unwrap().contains(ANY), "{rendered:?}");
            }
        }
        assert_ne!(path_word("a/b"), path_word("a%2Fb"));
    }

    #[test]
    fn a_path_that_climbs_behind_a_placeholder_is_refused() {
        let refused = |text| PathTemplate::parse(Path::new("/base"), text).unwrap_err();
        assert!(refused("{source}/../x").contains("`..` after a placeholder"));
        assert!(refused("{tenant}/x").contains("has `{tenant}`; it may have {kind}"));
        path("../{source}..x/a..b");
    }
}
