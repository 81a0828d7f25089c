//! Parses the host and port of an address, as the settings file and components write them.

use http::uri::Authority;

/// Splits a host or a bracketed address from its port, which may be missing. The brackets stay. `None`
/// for any other text, or where the port is no number from 1 to 65535.
#[must_use]
pub fn split_authority(text: &str) -> Option<(String, Option<u16>)> {
    let authority: Authority = text.parse().ok()?;
    let host = authority.host();
    // `None` where a user name precedes the host.
    let rest = text.strip_prefix(host)?;
    let port = match rest.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(authority.port_u16().filter(|port| *port > 0)?)
        }
        None if rest.is_empty() => None,
        Some(_) | None => return None,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}
