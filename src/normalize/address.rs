//! E-mail and IP addresses as the upstream writes them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The bare address in `a@b`, `<a@b>` or `Name <a@b>`.
#[inline]
pub(super) fn bare(text: &str) -> Option<&str> {
    if is_bare(text) {
        return Some(text);
    }
    let (_, inner) = text.strip_suffix('>')?.rsplit_once('<')?;
    let inner = inner.trim();
    is_bare(inner).then_some(inner)
}

/// The part of an address behind the last `@`.
pub(super) fn domain(address: &str) -> Option<&str> {
    let (_, domain) = address.rsplit_once('@')?;
    (!domain.is_empty()).then_some(domain)
}

/// One `@` with something on both sides, and no character that separates addresses.
fn is_bare(text: &str) -> bool {
    let mut at = None;
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'@' if at.is_some() => return false,
            b'@' => at = Some(place),
            0..=b' ' | b'<' | b'>' | b',' | b';' | b'"' | b'\\' | 0x7f => return false,
            _ => {}
        }
    }
    let has_both_sides = at.is_some_and(|at| at > 0 && at + 1 < text.len());
    has_both_sides && (text.is_ascii() || !text.contains(char::is_whitespace))
}

/// The parts of a list of addresses, split at commas and semicolons outside quotes and angle
/// brackets.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut angled = false;
    text.split(move |c| {
        match c {
            '"' => quoted = !quoted,
            '<' => angled = true,
            '>' => angled = false,
            ',' | ';' => return !quoted && !angled,
            _ => {}
        }
        false
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

/// An IP address, and the port where there is one: `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:443`.
pub(super) fn endpoint(text: &str) -> Option<(&str, Option<&str>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    let (ip, behind) = match text.strip_prefix('[') {
        Some(inner) => inner
            .split_once(']')
            .filter(|(ip, _)| ip.parse::<Ipv6Addr>().is_ok())?,
        None => {
            let parts = text.split_at_checked(text.find(':')?)?;
            Some(parts).filter(|(ip, _)| ip.parse::<Ipv4Addr>().is_ok())?
        }
    };
    if behind.is_empty() {
        return Some((ip, None));
    }
    let port = behind.strip_prefix(':').filter(|port| is_port(port))?;
    Some((ip, Some(port)))
}

/// Whether it is the number of a port, as JSON has it.
fn is_port(text: &str) -> bool {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok();
    is_number && (text == "0" || !text.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_what_surrounds_them() {
        for (text, expected) in [
            ("ann@example.com", Some("ann@example.com")),
            ("<ann@example.com>", Some("ann@example.com")),
            ("Ann <ann@example.com>", Some("ann@example.com")),
            ("\"Li, Ann\" <ann@example.com>", Some("ann@example.com")),
            ("änn@exämple.test", Some("änn@exämple.test")),
            ("ann\u{a0}b@example.com", None),
            ("", None),
            ("<>", None),
            ("ann", None),
            ("@example.com", None),
            ("ann@", None),
            ("a@b@c", None),
            ("ann@example.com, bob@example.com", None),
        ] {
            assert_eq!(bare(text), expected, "{text}");
        }
    }

    #[test]
    fn an_ip_address_may_have_a_port() {
        for (text, expected) in [
            ("192.0.2.1", Some(("192.0.2.1", None))),
            ("192.0.2.1:443", Some(("192.0.2.1", Some("443")))),
            ("192.0.2.1:0", Some(("192.0.2.1", Some("0")))),
            ("2001:db8::1", Some(("2001:db8::1", None))),
            ("[2001:db8::1]", Some(("2001:db8::1", None))),
            ("[2001:db8::1]:65535", Some(("2001:db8::1", Some("65535")))),
            ("192.0.2.1:65536", None),
            ("192.0.2.1:080", None),
            ("192.0.2.1:+1", None),
            ("192.0.2.1:", None),
            ("[192.0.2.1]:443", None),
            ("[2001:db8::1]443", None),
            ("[2001:db8::1", None),
            ("host.example:443", None),
            ("", None),
        ] {
            assert_eq!(endpoint(text), expected, "{text}");
        }
    }

    #[test]
    fn lists_are_split_outside_quotes_and_brackets() {
        let parts: Vec<_> = split("a@x.test; \"Li, Ann\" <b@x.test>,,c@x.test").collect();
        assert_eq!(parts, ["a@x.test", "\"Li, Ann\" <b@x.test>", "c@x.test"]);
    }
}
