//! HTTP responses and transport failures as plain values.

use core::fmt;

/// The status and the headers that matter; the body follows in chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Names in lower case, values as text; values that are not UTF-8 are left out.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a header, by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// How long the upstream asks to wait, in milliseconds.
    ///
    /// `Retry-After` is in seconds. `X-RateLimit-Reset` is in **milliseconds** until calls are
    /// available again (`mimecast-api.md` §6.3); a value of 10⁷ or more would be an epoch and is
    /// not believed.
    #[must_use]
    pub fn asked_wait_ms(&self) -> Option<i64> {
        self.retry_after_ms().or_else(|| {
            self.number("x-ratelimit-reset")
                .filter(|ms| (0..10_000_000).contains(ms))
        })
    }

    /// How long `Retry-After` asks to wait, in milliseconds. A failing server means no more than
    /// this: when the quota begins anew says nothing about when it works again.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<i64> {
        let seconds = self.number("retry-after")?;
        Some(seconds.clamp(0, 24 * 3600).saturating_mul(1000))
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.header(name)?.trim().parse().ok()
    }
}

/// Why no response, or no whole response, came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// The host's allow-list or address gate refused the request. The payload is the origin.
    Denied(String),
    /// The connection could not be made or broke. The payload is for people.
    Failed(String),
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(origin) => write!(f, "the host refused the origin {origin}"),
            Self::Failed(detail) => f.write_str(detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&str, &str)]) -> Head {
        let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        Head {
            status: 429,
            headers: headers.iter().map(own).collect(),
        }
    }

    #[test]
    fn the_reset_header_is_read_as_milliseconds() {
        assert_eq!(
            head(&[("x-ratelimit-reset", "4851")]).asked_wait_ms(),
            Some(4851)
        );
        assert_eq!(
            head(&[("x-ratelimit-reset", "1731862950")]).asked_wait_ms(),
            None
        );
    }

    #[test]
    fn retry_after_comes_first_and_is_in_seconds() {
        let both = head(&[("x-ratelimit-reset", "10"), ("retry-after", "3")]);
        assert_eq!(both.asked_wait_ms(), Some(3000));
        assert_eq!(head(&[]).asked_wait_ms(), None);
    }
}
