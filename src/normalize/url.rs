//! Splits a URL into its parts; nothing is decoded or corrected.

/// The parts of an absolute URL that has a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UrlParts<'a> {
    pub(super) scheme: &'a str,
    pub(super) username: &'a str,
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) fragment: &'a str,
    pub(super) extension: &'a str,
}

/// The greatest number of characters that is taken for an extension and not for a sentence.
const EXTENSION_CHARS_MAX: usize = 10;

/// Splits an absolute URL with a host. Missing parts are empty.
pub(super) fn split(text: &str) -> Option<UrlParts<'_>> {
    let (scheme, rest) = split_scheme(text).filter(|_| !text.contains(char::is_whitespace))?;
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    // Browsers take a backslash for a slash.
    let path_at = rest.find(['/', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(path_at)?;
    let (user, host_port) = authority.rsplit_once('@').unwrap_or(("", authority));
    let username = user.split(':').next().unwrap_or_default();
    let (host, port) = split_port(host_port);
    if host.is_empty() {
        return None;
    }
    let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_extension = extension.len() <= EXTENSION_CHARS_MAX
        && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let extension = if is_extension { extension } else { "" };
    Some(UrlParts {
        scheme,
        username,
        host,
        port,
        path,
        query,
        fragment,
        extension,
    })
}

/// Splits after the scheme. A `://` after anything else belongs to a URL inside this one.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    (!scheme.is_empty() && scheme.bytes().all(is_scheme)).then_some((scheme, rest))
}

/// Returns the URL in the details of a rejection:
/// `Type: [Phishing & Fraud],Url: [https://…],UrlBlock: [true]`.
/// It ends at the bracket after which the next detail begins.
pub(super) fn in_rejection_info(text: &str) -> Option<&str> {
    let at = text.to_ascii_lowercase().find("url: [")?;
    let rest = text.get(at..)?.split_once('[')?.1;
    let end = rest.find("],").or_else(|| rest.find(']'))?;
    let found = rest.get(..end)?.trim();
    host(found).map(|_| found)
}

/// Returns the host of a URL, absolute or not (`mail.example.com/path`, `//mail.example.com`), with or
/// without blanks in it. It has a dot or is an IP address.
pub(super) fn host(text: &str) -> Option<&str> {
    let after_scheme = split_scheme(text).map(|(_, rest)| rest);
    let after_scheme = after_scheme.or_else(|| text.strip_prefix("//"));
    let rest = after_scheme.unwrap_or(text);
    let is_end = |c: char| matches!(c, '/' | '?' | '#' | '\\') || c.is_whitespace();
    let authority = rest.split(is_end).next()?;
    // Without a scheme, what has an `@` is the address of a person.
    if authority.contains('@') && after_scheme.is_none() {
        return None;
    }
    let host_port = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let (host, _) = split_port(host_port);
    let is_ip = host
        .trim_matches(['[', ']'])
        .parse::<core::net::IpAddr>()
        .is_ok();
    let is_name = |host: &str| {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let mut labels = host.split('.');
        host.contains('.') && labels.all(|label| !label.is_empty()) && host.chars().all(is_part)
    };
    (is_ip || is_name(host)).then_some(host)
}

/// Splits host and port; the colons of an IPv6 address are in brackets.
fn split_port(text: &str) -> (&str, &str) {
    match text.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') =>
        {
            // Ports above 65535 or with a leading zero are left out: numbers of JSON have no leading zeros.
            let is_port = port.parse::<u16>().is_ok() && !port.starts_with('0');
            (host, if is_port { port } else { "" })
        }
        _ => (text, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_rejection_stands_in_brackets() {
        for (text, found) in [
            (
                "[Type: [Phishing & Fraud],Url: [https://qr.example.net/p?id=9],UrlBlock: [true]]",
                Some("https://qr.example.net/p?id=9"),
            ),
            ("[Url: [qr.example.net/p]]", Some("qr.example.net/p")),
            (
                "URL: [ https://qr.example.net/[1] ],x",
                Some("https://qr.example.net/[1]"),
            ),
            ("Url: []", None),
            ("see Url: https://qr.example.net", None),
        ] {
            assert_eq!(in_rejection_info(text), found, "{text}");
        }
    }

    #[test]
    fn urls_are_split() {
        let parts = split("https://ann:secret@login.example.com:8443/a/b.html?x=1#top").unwrap();
        assert_eq!(
            parts,
            UrlParts {
                scheme: "https",
                username: "ann",
                host: "login.example.com",
                port: "8443",
                path: "/a/b.html",
                query: "x=1",
                fragment: "top",
                extension: "html",
            }
        );
        let parts = split("http://[2001:db8::1]/").unwrap();
        assert_eq!(
            (parts.host, parts.port, parts.path),
            ("[2001:db8::1]", "", "/")
        );
        let parts = split("http://[2001:db8::1]:80").unwrap();
        assert_eq!(
            (parts.host, parts.port, parts.path),
            ("[2001:db8::1]", "80", "")
        );
        assert_eq!(split("http://example.com:99999/").unwrap().port, "");
        assert_eq!(
            split("http://example.com?next=http://other.test/")
                .unwrap()
                .path,
            ""
        );
    }

    #[test]
    fn a_backslash_ends_the_host_as_in_browsers() {
        let parts = split(r"https://evil.example\@good.example/x").unwrap();
        assert_eq!(
            (parts.username, parts.host, parts.path),
            ("", "evil.example", r"\@good.example/x")
        );
    }

    #[test]
    fn what_is_no_absolute_url_is_left_alone() {
        for text in [
            "",
            "example.com/a",
            "mailto:ann@example.com",
            "http://",
            "ht tp://x",
            "://x",
            "pay.example.net/login?next=https://www.example.com/home",
            "//pay.example.net/r?u=http://good.example/",
        ] {
            assert_eq!(split(text), None, "{text}");
        }
    }

    #[test]
    fn hosts_are_found_where_a_url_is_not_absolute() {
        for (text, expected) in [
            ("pay.example.net/login", Some("pay.example.net")),
            ("//pay.example.net/login", Some("pay.example.net")),
            ("203.0.113.7/x", Some("203.0.113.7")),
            ("pay.example.net:8443", Some("pay.example.net")),
            ("https://pay.example.net/a b", Some("pay.example.net")),
            ("https://u:p@pay.example.net/a b", Some("pay.example.net")),
            ("//[2001:db8::7]/x", Some("[2001:db8::7]")),
            (
                "pay.example.net/login?next=https://www.example.com/home",
                Some("pay.example.net"),
            ),
            (
                "//pay.example.net/r?u=http://good.example/",
                Some("pay.example.net"),
            ),
            ("ann@example.com?u=http://good.example/", None),
            ("/login", None),
            ("login", None),
            ("ann@example.com", None),
            ("", None),
        ] {
            assert_eq!(host(text), expected, "{text}");
        }
    }
}
