//! What can be found in the prose of an audit event, each thing by itself.
//!
//! The wording changes from release to release, so there is no pattern for a whole sentence.

use super::address::endpoint;
use super::table::Prose;

/// Labels a part may have, in lower case; the value follows, perhaps after colons and spaces.
const LABELS: &[(Prose, &[&str])] = &[
    (Prose::Application, &["application"]),
    (Prose::Method, &["method"]),
    (Prose::Mfa, &["2fa"]),
    (Prose::Reason, &["reason"]),
];

/// The labels of the address from which somebody came.
const IP_LABELS: &[&str] = &["remote ip is", "remote ip", "ip address", "ip"];

/// Longer than any IP address with a port. It also bounds the search for where one ends.
const ENDPOINT_BYTES_MAX: usize = 64;

/// That part of the text, if it is there and says something.
pub(super) fn find(text: &str, part: Prose) -> Option<&str> {
    let ip = || labelled(text, IP_LABELS, ip_value);
    match part {
        Prose::Application | Prose::Method | Prose::Mfa | Prose::Reason => {
            let (_, labels) = LABELS.iter().find(|(name, _)| *name == part)?;
            labelled(text, labels, text_value)
        }
        Prose::FullName => full_name(text),
        Prose::Ip => ip().map(|(ip, _)| ip),
        Prose::Port => ip().and_then(|(_, port)| port),
    }
}

/// The value behind the first label that has one.
fn labelled<'a, T>(text: &'a str, labels: &[&str], value: fn(&'a str) -> Option<T>) -> Option<T> {
    labels.iter().find_map(|label| {
        let mut rest = text;
        while let Some(after) = after_word(rest, label) {
            if let Some(value) = marked(after, label).and_then(value) {
                return Some(value);
            }
            rest = after;
        }
        None
    })
}

/// What comes after the label's value mark: a colon, or a label that ends in a verb.
fn marked<'a>(after: &'a str, label: &str) -> Option<&'a str> {
    let marked = after.trim_start_matches([':', ' ']);
    let mark = after.get(..after.len() - marked.len())?;
    if marked.starts_with(',') || (!mark.contains(':') && !label.ends_with(" is")) {
        return None;
    }
    Some(marked)
}

/// The IP address that the text begins with, and its port.
fn ip_value(marked: &str) -> Option<(&str, Option<&str>)> {
    let mut bytes = marked.bytes().take(ENDPOINT_BYTES_MAX);
    let end = bytes
        .position(|byte| matches!(byte, b',' | b' ' | b')' | b';'))
        .or_else(|| (marked.len() <= ENDPOINT_BYTES_MAX).then_some(marked.len()))?;
    endpoint(marked.get(..end)?.trim_end_matches('.'))
}

/// The text up to the next label.
fn text_value(marked: &str) -> Option<&str> {
    // A value ends where the next label begins, at `, Word:`, or with the text.
    let end = marked.match_indices(", ").find(|(at, _)| {
        let next = marked.get(at + 2..).unwrap_or_default();
        let word = next.split([' ', ',']).next().unwrap_or_default();
        word.ends_with(':')
            || next
                .get(word.len()..)
                .is_some_and(|tail| tail.starts_with(" :"))
    });
    let text = marked
        .get(..end.map_or(marked.len(), |(at, _)| at))?
        .trim()
        .trim_end_matches(',');
    (!super::values::is_placeholder(text)).then_some(text)
}

/// The text after a word that stands by itself.
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let bytes = text.as_bytes();
    let is_letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let found = super::values::places_ignore_case(text, word)
        .find(|at| !at.checked_sub(1).is_some_and(is_letter) && !is_letter(at + word.len()));
    text.get(found? + word.len()..)
}

/// The name in `<Last, First>`; an address in brackets is none.
fn full_name(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let (_, behind) = rest.split_once('<')?;
        let (name, behind) = behind.split_once('>')?;
        let name = name.trim();
        if !name.is_empty() && !name.contains(['@', '<']) {
            return Some(name);
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGON: &str = "Failed authentication for ann@example.com <Li, Ann>, Date: 2026-02-03, \
        Time: 04:05:06 GMT-05:00, IP: 198.51.100.7, Application: Administration Console, \
        Method: Cloud, Reason: Bad password, or locked, 2FA: TOTP";

    #[test]
    fn the_parts_of_a_logon() {
        assert_eq!(find(LOGON, Prose::Ip), Some("198.51.100.7"));
        assert_eq!(
            find(LOGON, Prose::Application),
            Some("Administration Console")
        );
        assert_eq!(find(LOGON, Prose::Method), Some("Cloud"));
        assert_eq!(find(LOGON, Prose::Reason), Some("Bad password, or locked"));
        assert_eq!(find(LOGON, Prose::Mfa), Some("TOTP"));
        assert_eq!(find(LOGON, Prose::FullName), Some("Li, Ann"));
    }

    #[test]
    fn addresses_in_all_spellings() {
        for text in [
            "x IP: 2001:db8::7, Application: Y",
            "x IP : 2001:db8::7",
            "x, IP: :2001:db8::7",
            "x IP Address : 2001:db8::7",
            "x Remote IP is 2001:db8::7.",
            "remote IP : 2001:db8::7)",
        ] {
            assert_eq!(find(text, Prose::Ip), Some("2001:db8::7"), "{text}");
        }
        assert_eq!(find("x IP: null, Application: Y", Prose::Ip), None);
        for (text, ip) in [
            ("x IP: 203.0.113.7:443, Application: Y", "203.0.113.7"),
            ("x Remote IP is [2001:db8::7]:443.", "2001:db8::7"),
        ] {
            assert_eq!(find(text, Prose::Ip), Some(ip), "{text}");
            assert_eq!(find(text, Prose::Port), Some("443"), "{text}");
        }
        let first = "IP: 192.0.2.4, Remote: x, IP: 203.0.113.7:443";
        assert_eq!(find(first, Prose::Port), None);
        assert_eq!(find("Internal IP range, zip: 1", Prose::Ip), None);
    }

    #[test]
    fn a_text_without_parts_has_none() {
        for part in [
            Prose::Application,
            Prose::FullName,
            Prose::Ip,
            Prose::Method,
            Prose::Mfa,
            Prose::Port,
            Prose::Reason,
        ] {
            assert_eq!(find("Directory sync completed", part), None);
            assert_eq!(find("", part), None);
            assert_eq!(
                find("IP:IP:<é>: Reason: , Reason", part).filter(|_| part != Prose::FullName),
                None
            );
        }
    }

    #[test]
    fn long_texts_are_searched_in_linear_time_and_without_recursion() {
        for piece in [
            "IP:",
            "IP: x",
            "<a@b>",
            "Reason:",
            "method: -, ",
            "Remote IP is ",
        ] {
            let text = piece.repeat(1_000_000 / piece.len());
            for part in [Prose::FullName, Prose::Ip, Prose::Port, Prose::Reason] {
                let _whatever_is_found = find(&text, part);
            }
        }
    }

    #[test]
    fn an_application_in_the_middle_of_a_sentence() {
        let text = "New connection, application : Mail Sync, IP : 192.0.2.4";
        assert_eq!(find(text, Prose::Application), Some("Mail Sync"));
        assert_eq!(find(text, Prose::Ip), Some("192.0.2.4"));
    }
}
