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

    /// Returns the literal texts between the placeholders.
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

    /// Renders the template for an event of a source, with `change` applied to each value.
    fn render_with(&self, event: &Event<'_>, source: &str, change: fn(&str) -> String) -> String {
        let render_piece = |piece: &Piece| match piece {
            Piece::Kind => change(event.kind),
            Piece::Namespace => change(event.namespace),
            Piece::Source => change(source),
            Piece::Stream => change(event.stream),
            Piece::Text(text) => text.clone(),
        };
        self.pieces.iter().map(render_piece).collect()
    }

    /// Returns whether it renders the same text for every event.
    fn is_fixed(&self) -> bool {
        self.pieces
            .iter()
            .all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// Returns the parts of an event on which the text depends; the rest is the same in
    /// a delivery.
    pub(super) fn partition_key<'a>(&self, event: &Event<'a>) -> (&'a str, &'a str) {
        let contains = |wanted: &Piece| self.pieces.contains(wanted);
        (
            if contains(&Piece::Kind) {
                event.kind
            } else {
                ""
            },
            if contains(&Piece::Stream) {
                event.stream
            } else {
                ""
            },
        )
    }
}

/// Stands for any text without a separator in [`PathTemplate::pattern`]. No path has this character.
pub const PATTERN_WILDCARD: char = '\0';

/// The path of a file, with placeholders for properties of an event. Their values are escaped, so that
/// they cannot lead to another directory.
#[derive(Clone, Debug)]
pub struct PathTemplate {
    /// The directory that a relative path is relative to.
    base: PathBuf,
    text: String,
    template: Template,
}

impl PathTemplate {
    /// Parses a path; a relative one is relative to `base`. The error is a clause about it.
    pub(super) fn parse(base: &Path, text: &str) -> Result<Self, String> {
        let template = Template::parse(text)?;
        let after_brace = text.split_once('{').map_or("", |(_, after)| after);
        let is_parent = |part: Component<'_>| matches!(part, Component::ParentDir);
        if Path::new(after_brace).components().any(is_parent) {
            return Err("has `..` after a placeholder; write the path without it".to_owned());
        }
        Ok(Self {
            base: base.to_owned(),
            text: text.to_owned(),
            template,
        })
    }

    /// Creates a template without placeholders for one file.
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

    /// Returns the path, if it is the same for every event.
    #[must_use]
    pub fn fixed(&self) -> Option<PathBuf> {
        let is_fixed = self.template.is_fixed();
        is_fixed.then(|| self.base.join(&self.text))
    }

    /// Returns the pattern of its paths, with [`PATTERN_WILDCARD`] for each placeholder except that of
    /// the source, if one is given.
    #[must_use]
    pub fn pattern(&self, source: Option<&str>) -> PathBuf {
        let pieces = self.template.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Source => {
                source.map_or_else(|| PATTERN_WILDCARD.to_string(), encode_path_component)
            }
            Piece::Kind | Piece::Namespace | Piece::Stream => PATTERN_WILDCARD.to_string(),
        });
        self.base.join(pieces.collect::<String>())
    }

    /// Returns the directory that all its paths have in common.
    pub(super) fn directory(&self) -> PathBuf {
        let before = self.text.split('{').next().unwrap_or_default();
        let end = before.rfind('/').map_or(0, |at| at + 1);
        self.base.join(before.get(..end).unwrap_or_default())
    }

    /// Returns the template; events for which it renders different texts go to different files.
    pub(super) fn template(&self) -> &Template {
        &self.template
    }

    /// Returns the path of the file for an event of a source.
    pub(super) fn render(&self, event: &Event<'_>, source: &str) -> PathBuf {
        self.base.join(
            self.template
                .render_with(event, source, encode_path_component),
        )
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.join(&self.text).display().fmt(f)
    }
}

/// Encodes a value as part of a file name: letters, digits, `-`, `_`, and `.` where it is not the first
/// are kept. Other bytes are percent-encoded, so that two values that are not empty never have
/// the same name; an empty one is `_`.
fn encode_path_component(word: &str) -> String {
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
    fn a_path_has_the_values_as_parts_of_names() {
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
    fn no_value_leads_to_another_directory() {
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
                assert!(
                    !rendered.to_str().unwrap().contains(PATTERN_WILDCARD),
                    "{rendered:?}"
                );
            }
        }
        assert_ne!(encode_path_component("a/b"), encode_path_component("a%2Fb"));
    }

    #[test]
    fn a_path_with_a_parent_directory_after_a_placeholder_is_refused() {
        let refused = |text| PathTemplate::parse(Path::new("/base"), text).unwrap_err();
        assert!(refused("{source}/../x").contains("`..` after a placeholder"));
        assert!(refused("{tenant}/x").contains("has `{tenant}`; it may have {kind}"));
        path("../{source}..x/a..b");
    }
}
