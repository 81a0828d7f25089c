//! The pattern of a threat indicator: `[file:hashes.'SHA-256' = '…']` and similar.

use std::borrow::Cow;

use super::address::endpoint;
use super::objects::hash_algorithm_id;

/// What can be found in the pattern of a threat indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StixPart {
    /// The MD5 hash of a file.
    Md5,
    /// The SHA-1 hash of a file.
    Sha1,
    /// The SHA-256 hash of a file.
    Sha256,
    /// The type of the indicator, in the words of ECS.
    EcsType,
    /// The IP address.
    Ip,
    /// The e-mail address.
    Email,
    /// The URL.
    Url,
    /// The domain.
    Domain,
}

/// The objects that a pattern can name, with the type in ECS's words and OCSF's `osint.type_id`.
const OBJECTS: &[(&str, &str, i64)] = &[
    ("file:hashes", "file", 4),
    ("url:value", "url", 5),
    ("domain-name:value", "domain-name", 2),
    ("ipv4-addr:value", "ipv4-addr", 1),
    ("ipv6-addr:value", "ipv6-addr", 1),
    ("email-addr:value", "email-addr", 9),
];

/// Returns that part of the pattern.
#[inline(never)]
pub(super) fn find(pattern: &str, part: StixPart) -> Option<Cow<'_, str>> {
    let value = |name| comparison(pattern, name).map(|(value, _)| value);
    match part {
        StixPart::EcsType if is_hash(pattern) => Some(Cow::Borrowed("file")),
        StixPart::EcsType => {
            let object = OBJECTS
                .iter()
                .find(|(name, ..)| comparison(pattern, name).is_some())?;
            Some(Cow::Borrowed(object.1))
        }
        StixPart::Md5 => hash(pattern, 32),
        StixPart::Sha1 => hash(pattern, 40),
        StixPart::Sha256 => hash(pattern, 64),
        StixPart::Domain => value("domain-name:value"),
        StixPart::Email => value("email-addr:value"),
        StixPart::Ip => value("ipv4-addr:value")
            .or_else(|| value("ipv6-addr:value"))
            .and_then(|value| without_port(&value)),
        StixPart::Url => value("url:value"),
    }
}

/// Returns the type and the value as `osint` has them.
#[inline(never)]
pub(super) fn osint(pattern: &str) -> Option<(i64, Cow<'_, str>)> {
    if is_hash(pattern) {
        return Some((4, Cow::Owned(pattern.to_ascii_lowercase())));
    }
    OBJECTS.iter().find_map(|(name, _, type_id)| {
        let (value, _) = comparison(pattern, name)?;
        if *type_id == 4 {
            return Some((4, Cow::Owned(value.to_ascii_lowercase())));
        }
        // A range of addresses has no port and stays as it is.
        let ip = without_port(&value).filter(|_| *type_id == 1);
        Some((*type_id, ip.unwrap_or(value)))
    })
}

/// Returns the IP address without the port that may follow it.
fn without_port<'p>(value: &str) -> Option<Cow<'p, str>> {
    let (ip, _) = endpoint(value)?;
    Some(Cow::Owned(ip.to_owned()))
}

/// Returns the value that the object's property is equal to, and what follows it. Other
/// comparisons (`!=`, `LIKE`, `IN`) name no one value.
#[inline(never)]
fn comparison<'p>(pattern: &'p str, name: &str) -> Option<(Cow<'p, str>, &'p str)> {
    let mut rest = pattern;
    loop {
        let (_, tail) = rest.split_once(name)?;
        rest = tail;
        let literal = without_key(tail)
            .trim_start()
            .strip_prefix('=')
            .and_then(|tail| tail.trim_start().strip_prefix('\''));
        let Some((value, after)) = literal.and_then(split_literal) else {
            continue;
        };
        let value = value.trim();
        if !value.is_empty() && !super::values::is_placeholder(value) {
            return Some((unescaped(value), after));
        }
    }
}

/// Returns the text after the key of a property: `.MD5`, `.'SHA-256'`.
fn without_key(text: &str) -> &str {
    let Some(key) = text.strip_prefix('.') else {
        return text;
    };
    match key.strip_prefix('\'') {
        Some(quoted) => quoted.split_once('\'').map_or("", |(_, tail)| tail),
        None => key.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_-".contains(c)),
    }
}

/// Splits at the quote that ends a literal. One after a backslash does not.
fn split_literal(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'\'' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

/// Returns the text of a literal, in which quotes and backslashes are escaped by a backslash.
#[cold]
fn unescaped(literal: &str) -> Cow<'_, str> {
    if !literal.contains('\\') {
        return Cow::Borrowed(literal);
    }
    let mut text = String::with_capacity(literal.len());
    let mut is_escaped = false;
    for character in literal.chars() {
        if character == '\\' && !is_escaped {
            is_escaped = true;
            continue;
        }
        if is_escaped && !matches!(character, '\'' | '\\') {
            text.push('\\');
        }
        is_escaped = false;
        text.push(character);
    }
    if is_escaped {
        text.push('\\');
    }
    Cow::Owned(text)
}

/// Returns whether the text is a bare hash.
fn is_hash(text: &str) -> bool {
    hash_algorithm_id(text).is_some()
}

/// Returns the hash of that many digits: names of algorithms are spelt in several ways.
fn hash(pattern: &str, digits: usize) -> Option<Cow<'_, str>> {
    if pattern.len() == digits && is_hash(pattern) {
        return Some(Cow::Borrowed(pattern));
    }
    let mut rest = pattern;
    loop {
        let (value, tail) = comparison(rest, "file:hashes")?;
        if value.len() == digits && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(value);
        }
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_patterns() {
        let md5 = "0123456789abcdef0123456789abcdef";
        let pattern =
            format!("[file:hashes.MD5 = '{md5}' OR file:hashes.'SHA-1' = '{md5}01234567']");
        assert_eq!(find(&pattern, StixPart::Md5).as_deref(), Some(md5));
        assert_eq!(find(&pattern, StixPart::Sha1).unwrap().len(), 40);
        assert_eq!(find(&pattern, StixPart::Sha256), None);
        assert_eq!(find(&pattern, StixPart::EcsType).as_deref(), Some("file"));
        assert_eq!(osint(&pattern), Some((4, md5.into())));
        let upper = md5.to_ascii_uppercase();
        assert_eq!(osint(&upper), Some((4, md5.into())));
        let pattern = format!("[file:hashes.MD5 = '{upper}']");
        assert_eq!(osint(&pattern), Some((4, md5.into())));
        let pattern = "[url:value='https://bad.example.test/a']";
        assert_eq!(
            find(pattern, StixPart::Url).as_deref(),
            Some("https://bad.example.test/a")
        );
        assert_eq!(osint(pattern).unwrap().0, 5);
        assert_eq!(osint("[x:y = 'z']"), None);
        assert_eq!(osint("file:hashes = ''"), None);
    }

    #[test]
    fn a_value_is_what_something_is_equal_to_and_nothing_else() {
        for (pattern, expected) in [
            (
                r"[url:value='https://bad.test/a\'b']",
                Some((5, r"https://bad.test/a'b")),
            ),
            (r"[url:value = 'a\\b\c']", Some((5, r"a\b\c"))),
            (r"[url:value = 'a\\' AND x:y = 'z']", Some((5, r"a\"))),
            (
                "[url:value LIKE 'https://a.test/%' AND domain-name:value = 'b.test']",
                Some((2, "b.test")),
            ),
            (
                "[domain-name:value = 'bad.test' AND url:value != 'https://good.test/']",
                Some((2, "bad.test")),
            ),
            ("[url:value NOT = 'a' OR url:value='b']", Some((5, "b"))),
            ("[url:value = '' OR url:value='b']", Some((5, "b"))),
            ("[ipv4-addr:value='192.0.2.7:80']", Some((1, "192.0.2.7"))),
            (
                "[ipv4-addr:value='192.0.2.0/24']",
                Some((1, "192.0.2.0/24")),
            ),
            ("[url:value IN ('a','b')]", None),
            ("[url:value = 'a", None),
        ] {
            let expected = expected.map(|(type_id, value)| (type_id, value.into()));
            assert_eq!(osint(pattern), expected, "{pattern}");
        }
    }
}
