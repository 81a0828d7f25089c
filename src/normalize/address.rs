//! E-mail and IP addresses as the upstream writes them.

use core::net::{IpAddr, Ipv4Addr};

use crate::encode::lowercase;

/// Returns the bare address in `a@b`, `<a@b>` or `Name <a@b>`.
#[inline]
pub(super) fn bare(text: &str) -> Option<&str> {
    if is_bare(text) {
        return Some(text);
    }
    let (_, inner) = text.strip_suffix('>')?.rsplit_once('<')?;
    let inner = inner.trim();
    is_bare(inner).then_some(inner)
}

/// Returns whether the text is the address alone, without the name of the person.
pub(super) fn is_alone(address: &str, text: &str) -> bool {
    // Angle brackets and white space.
    text.len() <= address.len() + 2 || text.trim_matches(['<', '>', ' ']) == address
}

/// Returns the part after the last `@`, if it is a domain. A domain has nothing to escape.
pub(super) fn domain(text: &str) -> Option<&str> {
    let at = text.bytes().rposition(|byte| byte == b'@')?;
    text.get(at + 1..).filter(|domain| is_domain(domain))
}

/// Returns whether there is text without separators, white space and `@`.
fn is_domain(text: &str) -> bool {
    let is_separated = text.bytes().any(|byte| byte == b'@' || is_separator(byte));
    !text.is_empty() && !is_separated && (text.is_ascii() || !text.contains(char::is_whitespace))
}

/// Returns whether the text is one bare address: one `@` with something on both sides, and no
/// separator. Text in quotes before the `@` may be anything.
fn is_bare(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('"') {
        let Some((local, domain)) = rest.rsplit_once("\"@") else {
            return false;
        };
        // A quotation mark inside follows a backslash.
        let is_quoted = !local.replace("\\\\", "").replace("\\\"", "").contains('"');
        return !local.is_empty() && is_quoted && is_domain(domain);
    }
    let (ats, has_separator) = at_signs(text.as_bytes());
    let has_both_sides = !text.starts_with('@') && !text.ends_with('@');
    ats == 1
        && !has_separator
        && has_both_sides
        && (text.is_ascii() || !text.contains(char::is_whitespace))
}

/// Returns how many `@` there are, and whether there is a separator. Most texts are addresses, so it
/// reads all bytes, eight at a time, and branches on none.
fn at_signs(text: &[u8]) -> (usize, bool) {
    const SEPARATOR: u8 = 2;
    const KINDS: [u8; 256] = {
        let mut kinds = [0; 256];
        let mut byte = 0_u8;
        while byte < 128 {
            #[expect(
                clippy::as_conversions,
                clippy::indexing_slicing,
                reason = "at compile time"
            )]
            if is_separator(byte) {
                kinds[byte as usize] = SEPARATOR;
            } else if byte == b'@' {
                kinds[byte as usize] = 1;
            }
            byte += 1;
        }
        kinds
    };
    let mut ats = 0;
    let mut all = 0;
    let mut add = |byte: &u8| {
        let kind = KINDS.get(usize::from(*byte)).copied().unwrap_or_default();
        all |= kind;
        ats += usize::from(kind & 1);
    };
    let (blocks, rest) = text.as_chunks::<8>();
    blocks
        .iter()
        .for_each(|block| block.iter().for_each(&mut add));
    rest.iter().for_each(&mut add);
    (ats, all & SEPARATOR != 0)
}

/// Returns whether a byte separates addresses, or cannot be in an address that is not quoted.
const fn is_separator(byte: u8) -> bool {
    matches!(
        byte,
        0..=b' ' | b'<' | b'>' | b',' | b';' | b'"' | b'\\' | 0x7f
    )
}

/// Returns the address with its domain in punycode (RFC 3492), where that is not ASCII.
pub(super) fn with_ascii_domain(address: &str) -> Option<String> {
    if address.is_ascii() {
        return None;
    }
    let (local, domain) = address.rsplit_once('@')?;
    if domain.is_ascii() {
        return None;
    }
    let domain = lowercase(domain).replace(['。', '．', '｡'], ".");
    let labels = domain.split('.').map(|label| {
        if label.is_ascii() {
            return Some(label.to_owned());
        }
        punycode(label).map(|encoded| format!("xn--{encoded}"))
    });
    let labels: Option<Vec<String>> = labels.collect();
    Some(format!("{local}@{}", labels?.join(".")))
}

/// Encodes a label in punycode, RFC 3492 §6.3; `None` where it has more than 63 characters.
fn punycode(label: &str) -> Option<String> {
    const BASE: u32 = 36;
    let characters: Vec<u32> = label.chars().map(u32::from).collect();
    if characters.len() > 63 {
        return None;
    }
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(out.len()).ok()?;
    if basic > 0 {
        out.push('-');
    }
    let (mut n, mut delta, mut bias, mut handled) = (128_u32, 0_u32, 72_u32, basic);
    while usize::try_from(handled).ok()? < characters.len() {
        let next = characters.iter().copied().filter(|c| *c >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(handled.checked_add(1)?)?)?;
        n = next;
        for &character in &characters {
            if character < n {
                delta = delta.checked_add(1)?;
            }
            if character != n {
                continue;
            }
            let mut q = delta;
            let mut k = BASE;
            loop {
                let t = k.saturating_sub(bias).clamp(1, 26);
                if q < t {
                    break;
                }
                out.push(digit(t + (q - t) % (BASE - t))?);
                q = (q - t) / (BASE - t);
                k += BASE;
            }
            out.push(digit(q)?);
            // The adaptation of the bias, RFC 3492 §6.1.
            let mut scaled = delta / if handled == basic { 700 } else { 2 };
            scaled += scaled / (handled + 1);
            let mut k = 0;
            while scaled > 455 {
                scaled /= BASE - 1;
                k += BASE;
            }
            bias = k + BASE * scaled / (scaled + 38);
            delta = 0;
            handled += 1;
        }
        delta = delta.checked_add(1)?;
        n = n.checked_add(1)?;
    }
    Some(out)
}

/// Returns a digit of punycode: `a` to `z`, then `0` to `9`.
fn digit(value: u32) -> Option<char> {
    let value = u8::try_from(value).ok()?;
    Some(char::from(match value {
        0..=25 => b'a'.checked_add(value)?,
        _ => b'0'.checked_add(value.checked_sub(26)?)?,
    }))
}

/// Returns the parts of a list of addresses, split at commas and semicolons outside quotes and
/// angle brackets.
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

/// Returns an IP address, and the port where there is one: `192.0.2.1`, `192.0.2.1:443`,
/// `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:443`, and the same brackets around an IPv4
/// address.
pub(super) fn endpoint(text: &str) -> Option<(&str, Option<&str>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    let (ip, after_ip) = match text.strip_prefix('[') {
        Some(inner) => inner
            .split_once(']')
            .filter(|(ip, _)| ip.parse::<IpAddr>().is_ok())?,
        None => {
            let parts = text.split_at_checked(text.find(':')?)?;
            Some(parts).filter(|(ip, _)| ip.parse::<Ipv4Addr>().is_ok())?
        }
    };
    if after_ip.is_empty() {
        return Some((ip, None));
    }
    let port = after_ip.strip_prefix(':').filter(|port| is_port(port))?;
    Some((ip, Some(port)))
}

/// Returns whether it is the number of a port, written as a JSON number.
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
    fn a_domain_has_no_separators() {
        for (text, expected) in [
            ("ann@example.com", Some("example.com")),
            ("ann@[192.0.2.1]", Some("[192.0.2.1]")),
            ("\"a@b\"@exämple.test", Some("exämple.test")),
            ("Ann <ann@example.com>", None),
            ("ann@\"b", None),
            ("ann@b\\c", None),
            ("ann@b\u{1}", None),
            ("ann@b\u{2028}c", None),
            ("ann@", None),
            ("ann", None),
        ] {
            assert_eq!(domain(text), expected, "{text}");
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
            ("[192.0.2.1]", Some(("192.0.2.1", None))),
            ("[192.0.2.1]:443", Some(("192.0.2.1", Some("443")))),
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

    #[test]
    fn a_quoted_local_part_may_be_anything() {
        for address in [
            r#""ops team"@example.net"#,
            r#""a@b, c"@example.net"#,
            r#""a \"b\" c"@example.net"#,
            "root@nas",
            "büro@example.com",
            "eve@evil_mail.example",
        ] {
            assert_eq!(bare(address), Some(address));
        }
        for text in [
            r#""a" "b"@example.net"#,
            r#"""@example.net"#,
            r#""ops team"@"#,
            r#""ops team"@a b"#,
            r#""a"@b@c"#,
            "a b@c.d",
            "a@b@c.d",
            "@a.b",
        ] {
            assert_eq!(bare(text), None, "{text}");
        }
    }

    #[test]
    fn domains_of_other_scripts_are_written_in_punycode() {
        for (address, expected) in [
            ("post@bücher.example", "post@xn--bcher-kva.example"),
            ("a@Bücher.Example", "a@xn--bcher-kva.example"),
            ("a@例え.テスト", "a@xn--r8jz45g.xn--zckzah"),
            ("a@ولايات.example", "a@xn--mgbaj5htao.example"),
            ("büro@münchen.example", "büro@xn--mnchen-3ya.example"),
        ] {
            assert_eq!(with_ascii_domain(address).as_deref(), Some(expected));
        }
        assert_eq!(with_ascii_domain("a@example.com"), None);
        assert_eq!(with_ascii_domain(&format!("a@{}", "é".repeat(64))), None);
    }
}
