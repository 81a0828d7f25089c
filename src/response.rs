//! HTTP responses and transport failures as plain values.

use core::fmt;

use crate::retry;
use crate::time::Timestamp;

/// The status and the headers; the body follows in chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Names in lower case, values as text; values that are not UTF-8 are left out.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// Returns the first value of a header, by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the upstream's clock at the time of the response, in whole seconds.
    #[must_use]
    pub fn date(&self) -> Option<Timestamp> {
        Timestamp::parse_http(self.header("date")?)
    }

    /// Returns how long the upstream asks to wait, in milliseconds and at most
    /// [`retry::WAIT_MS_MAX`]. `now` is the upstream's clock, for responses without a `Date`.
    ///
    /// `X-RateLimit-Reset` is in **milliseconds** until calls are available again
    /// (`mimecast-api.md` §6.3). A value beyond the bound is more likely a point in time, and is
    /// ignored: the waits of the retry table apply.
    #[must_use]
    pub fn rate_limit_wait_ms(&self, now: Timestamp) -> Option<i64> {
        self.retry_after_ms(now).or_else(|| {
            let reset = whole_number(self.header("x-ratelimit-reset")?)?;
            (reset <= retry::WAIT_MS_MAX).then_some(reset)
        })
    }

    /// Returns how long `Retry-After` asks to wait, in milliseconds and at most
    /// [`retry::WAIT_MS_MAX`]: a number of seconds, or an HTTP date (RFC 9110, section 10.2.3).
    /// `None` where it is neither.
    ///
    /// Only this header counts when the server fails: the reset of the quota does not show when the server
    /// works again.
    #[must_use]
    pub fn retry_after_ms(&self, now: Timestamp) -> Option<i64> {
        let text = self.header("retry-after")?;
        let wait_ms = match whole_number(text) {
            Some(seconds) => seconds.saturating_mul(1000),
            None => {
                // Both dates are of one clock, which may differ from the host's.
                let answered_at = self.date().unwrap_or(now).millis();
                let at = Timestamp::parse_http(text)?.millis();
                at.saturating_sub(answered_at)
            }
        };
        Some(retry::bounded_ms(wait_ms))
    }
}

/// Returns a number without a sign. A fraction is cut off, and a number that is too large is the
/// largest there is.
fn whole_number(text: &str) -> Option<i64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (is_digits(whole) && is_digits(fraction)).then(|| whole.parse().unwrap_or(i64::MAX))
}

/// Why there is no response, or no complete one.
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

    /// 1994-11-06T08:49:37Z.
    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000);
    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn the_reset_header_is_read_as_milliseconds() {
        for (reset, wait_ms) in [
            ("4851", Some(4851)),
            ("86400000", Some(DAY_MS)),
            ("1731862950", None),
            ("1731862950000", None),
            ("-1", None),
            ("soon", None),
        ] {
            let head = head(&[("x-ratelimit-reset", reset)]);
            assert_eq!(head.rate_limit_wait_ms(NOW), wait_ms, "{reset}");
        }
    }

    #[test]
    fn retry_after_comes_first_and_is_in_seconds() {
        let both = head(&[("x-ratelimit-reset", "10"), ("retry-after", "3")]);
        assert_eq!(both.rate_limit_wait_ms(NOW), Some(3000));
        assert_eq!(head(&[]).rate_limit_wait_ms(NOW), None);
    }

    #[test]
    fn retry_after_is_a_number_or_a_date_and_never_longer_than_the_bound() {
        for (value, wait_ms) in [
            ("0", Some(0)),
            (" 7300 ", Some(7_300_000)),
            ("86400", Some(DAY_MS)),
            ("2592000", Some(retry::WAIT_MS_MAX)),
            ("99999999999999999999999999", Some(retry::WAIT_MS_MAX)),
            ("1.5", Some(1000)),
            ("-5", None),
            ("1e3", None),
            ("soon", None),
            ("", None),
            ("Sun, 06 Nov 1994 10:49:37 GMT", Some(7_200_000)),
            ("Sun, 06 Nov 1994 08:49:36 GMT", Some(0)),
            ("Tue, 06 Dec 1994 08:49:37 GMT", Some(retry::WAIT_MS_MAX)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(retry::WAIT_MS_MAX)),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ] {
            let alone = head(&[("retry-after", value)]);
            assert_eq!(alone.retry_after_ms(NOW), wait_ms, "{value}");
        }
        // The upstream's own clock is an hour ahead of what is known of it.
        let head = head(&[
            ("retry-after", "Sun, 06 Nov 1994 09:50:37 GMT"),
            ("date", "Sun, 06 Nov 1994 09:49:37 GMT"),
        ]);
        assert_eq!(head.retry_after_ms(NOW), Some(60_000));
    }
}
