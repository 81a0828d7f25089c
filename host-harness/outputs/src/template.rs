//! Templates for names made from an event, such as `{namespace}.{stream}`: Forward tags, NATS
//! subjects and paths of URLs.

use std::fmt;

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

    /// Iterates over the literal texts between the placeholders.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Kind | Piece::Namespace | Piece::Source | Piece::Stream => None,
        })
    }

    /// Renders the template for an event of a source.
    pub(super) fn render(&self, event: &Event<'_>, source: &str) -> String {
        let words = |piece: &Piece| match piece {
            Piece::Kind => event.kind.to_owned(),
            Piece::Namespace => event.namespace.to_owned(),
            Piece::Source => source.to_owned(),
            Piece::Stream => event.stream.to_owned(),
            Piece::Text(text) => text.clone(),
        };
        self.pieces.iter().map(words).collect()
    }

    /// Returns a key that differs for events of one delivery that render differently.
    pub(super) fn key<'a>(&self, event: &Event<'a>) -> (&'a str, &'a str) {
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
    fn the_words_of_an_event_are_put_in_their_places() {
        let template = Template::parse("test.{stream}").unwrap();
        assert_eq!(template.render(&EVENT, "acme"), "test.siem.receipt");
        assert_eq!(template.key(&EVENT), ("", "siem.receipt"));
        let template = Template::parse("{source}/{kind}/x").unwrap();
        assert_eq!(template.render(&EVENT, "acme"), "acme/email.receipt/x");
        assert_eq!(template.key(&EVENT), ("email.receipt", ""));
    }

    #[test]
    fn an_unknown_word_or_an_open_brace_is_refused() {
        assert!(Template::parse("a{tag}").unwrap_err().contains("`{tag}`"));
        assert!(Template::parse("a{stream").unwrap_err().contains("missing"));
    }
}
