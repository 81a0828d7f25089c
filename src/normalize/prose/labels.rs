//! Labels in the prose of an audit event, and the values after them: `IP: 192.0.2.1, Method: Cloud`.
//!
//! A separator, which is a run of colons and spaces, divides a label from its value. Labels are looked
//! for in front of separators, since a text has few separators and many letters. Only labels that end
//! in a verb, such as `Remote IP is`, need no separator.

use super::super::address::endpoint;
use super::super::values::{is_placeholder, positions_ignore_case};

/// Labels that end the value before them, in lower case. One that ends in a verb (`remote ip is`) needs no colon.
pub(super) const LABELS: &[&str] = &[
    "application",
    "method",
    "2fa",
    "reason",
    "remote ip is",
    "remote ip",
    "ip address",
    "ip",
    "date",
    "time",
    "processed",
    "success",
    "status",
    "size",
];

/// Longer than any IP address with a port. It also bounds the search for the end of one.
const ENDPOINT_BYTES_MAX: usize = 64;

/// In how many bytes from the start of a value its end is looked for first, since most values are short.
const FIRST_WINDOW_BYTES: usize = 1024;

/// The end of a value is not accepted this close to where a window cuts the text: what ends the value may be
/// cut, such as a label before its colon.
const WINDOW_EDGE_BYTES: usize = 64;

/// How many occurrences are tried, so that a search takes linear time: of a label from the last on, of braces and
/// people from the first on.
pub(super) const OCCURRENCES_MAX: usize = 8;

#[cfg(test)]
std::thread_local! {
    /// How many bytes were searched for labels.
    pub(super) static SEARCHED_BYTES: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

/// The start of the separator after a label, and the text after the separator.
pub(super) type Separator<'a> = (usize, &'a str);

/// The start of a label, and the text after the label and its separator.
type Occurrence<'a> = (usize, &'a str);

/// Returns the value of the last of these labels that has one; `parse` reads it from the text after the
/// label.
pub(super) fn last_value<'a, T>(
    text: &'a str,
    labels: &[&str],
    parse: fn(&'a str) -> Option<T>,
) -> Option<T> {
    // Found once for all labels.
    let separators: Vec<_> = separators(text).collect();
    let found = labels.iter().filter_map(|label| {
        let parse_at = |(at, after)| Some((at, parse(after)?));
        if ends_in_verb(label) {
            let occurrences: Vec<_> = verb_label_occurrences(text, label).collect();
            return occurrences
                .into_iter()
                .rev()
                .take(OCCURRENCES_MAX)
                .find_map(parse_at);
        }
        let separators = separators.iter().rev();
        let occurrences = separators.filter_map(|separator| occurrence_at(text, *separator, label));
        occurrences.take(OCCURRENCES_MAX).find_map(parse_at)
    });
    found.max_by_key(|(at, _)| *at).map(|(_, value)| value)
}

/// Tries the labels in the order of the list and returns the value after the first occurrence of the
/// label, for the first label where that is a value. None of the labels may end in a verb.
pub(super) fn value_by_priority<'a>(text: &'a str, labels: &[&str]) -> Option<&'a str> {
    let separators: Vec<_> = separators(text).collect();
    labels.iter().find_map(|label| {
        let mut occurrences = separators
            .iter()
            .filter_map(|separator| occurrence_at(text, *separator, label));
        text_value(occurrences.next()?.1)
    })
}

/// Returns the start of the first of these labels in the text.
pub(super) fn first_label(text: &str, labels: &[&str]) -> Option<usize> {
    let label_of = |(end, _): Separator<'_>| {
        // Most labels are ruled out by their last letter.
        let last = last_letter(text.as_bytes().get(..end)?);
        let possible = labels
            .iter()
            .filter(|label| last_letter(label.as_bytes()) == last && !ends_in_verb(label));
        let starts = possible.filter_map(|label| label_start(text, end, label));
        starts.min()
    };
    let verb_label = labels.iter().filter(|label| ends_in_verb(label));
    let verb_label = verb_label.filter_map(|label| verb_label_occurrences(text, label).next());
    let separated = separators(text).find_map(label_of);
    separated
        .into_iter()
        .chain(verb_label.map(|(at, _)| at))
        .min()
}

/// Returns the start of the last label of that name at or after `from`.
pub(super) fn last_label(text: &str, from: usize, label: &str) -> Option<usize> {
    let (at, _) = occurrences(text.get(from..)?, label).last()?;
    Some(from + at)
}

/// Returns the occurrences of a label in the order of the text.
fn occurrences<'a>(text: &'a str, label: &str) -> impl Iterator<Item = Occurrence<'a>> {
    let separated = (!ends_in_verb(label))
        .then(|| separators(text).filter_map(|separator| occurrence_at(text, separator, label)));
    let verb_label = ends_in_verb(label).then(|| verb_label_occurrences(text, label));
    let separated = separated.into_iter().flatten();
    separated.chain(verb_label.into_iter().flatten())
}

/// Returns the occurrence of a label that a separator follows, if this label is in front of it.
fn occurrence_at<'a>(
    text: &str,
    (end, after): Separator<'a>,
    label: &str,
) -> Option<Occurrence<'a>> {
    Some((label_start(text, end, label)?, after))
}

/// Returns the occurrences of a label that ends in a verb.
fn verb_label_occurrences<'a>(text: &'a str, label: &str) -> impl Iterator<Item = Occurrence<'a>> {
    #[cfg(test)]
    SEARCHED_BYTES.set(SEARCHED_BYTES.get() + text.len());
    positions_ignore_case(text, label).filter_map(|at| {
        let end = at + label.len();
        label_start(text, end, label)?;
        let after = text.get(end..)?;
        let is_word_end = !after.starts_with(|c: char| c.is_ascii_alphanumeric());
        let value = after.trim_start_matches([':', ' ']);
        (is_word_end && !value.starts_with(',')).then_some((at, value))
    })
}

/// Returns whether a label needs no colon after it, because it ends in a verb.
fn ends_in_verb(label: &str) -> bool {
    label.ends_with(" is")
}

/// Returns the separators of a text: runs of colons and spaces that contain a colon, without those that
/// a comma follows, which have no value.
pub(super) fn separators(text: &str) -> impl Iterator<Item = Separator<'_>> {
    #[cfg(test)]
    SEARCHED_BYTES.set(SEARCHED_BYTES.get() + text.len());
    let bytes = text.as_bytes();
    let mut done = 0;
    memchr::memchr_iter(b':', bytes).filter_map(move |colon| {
        if colon < done {
            return None;
        }
        let is_part = |byte: &&u8| matches!(byte, b':' | b' ');
        let (before, from) = bytes.split_at_checked(colon)?;
        let start = colon - before.iter().rev().take_while(is_part).count();
        done = colon + from.iter().take_while(is_part).count();
        let after = text.get(done..)?;
        (!after.starts_with(',')).then_some((start, after))
    })
}

/// Returns the last byte in lower case.
fn last_letter(text: &[u8]) -> Option<u8> {
    text.last().map(u8::to_ascii_lowercase)
}

/// Returns the start of a label that ends at `end`, if it is there and is no part of a longer word.
pub(super) fn label_start(text: &str, end: usize, label: &str) -> Option<usize> {
    let before = text.as_bytes().get(..end)?;
    if last_letter(before) != last_letter(label.as_bytes()) {
        return None;
    }
    let (before, found) = before.split_at_checked(end.checked_sub(label.len())?)?;
    let is_word = !before.last().is_some_and(u8::is_ascii_alphanumeric);
    (is_word && found.eq_ignore_ascii_case(label.as_bytes())).then_some(before.len())
}

/// Returns the IP address with which a text begins, and its port.
pub(super) fn ip_value(text: &str) -> Option<(&str, Option<&str>)> {
    let mut bytes = text.bytes().take(ENDPOINT_BYTES_MAX);
    let end = bytes
        .position(|byte| matches!(byte, b',' | b' ' | b')' | b';' | b'\n' | b'\r'))
        .or_else(|| (text.len() <= ENDPOINT_BYTES_MAX).then_some(text.len()))?;
    endpoint(text.get(..end)?.trim_end_matches('.'))
}

/// Returns a text as far as the next label or line break, unless that is a placeholder.
pub(super) fn text_value(text: &str) -> Option<&str> {
    let value = text
        .get(..value_end(text))?
        .trim()
        .trim_end_matches([',', ';'])
        .trim_end();
    (!is_placeholder(value)).then_some(value)
}

/// Returns where the value ends with which a text begins. The windows in which the end is looked for double,
/// so that the time depends on the length of the value and not on that of the text.
fn value_end(text: &str) -> usize {
    let mut window_bytes = FIRST_WINDOW_BYTES;
    loop {
        let window = text
            .get(..text.floor_char_boundary(window_bytes))
            .unwrap_or(text);
        let end = value_end_in(window);
        if window.len() == text.len() {
            return end.unwrap_or(text.len());
        }
        if let Some(end) = end.filter(|end| end + WINDOW_EDGE_BYTES <= window.len()) {
            return end;
        }
        window_bytes = window_bytes.saturating_mul(2);
    }
}

/// Returns the start of the first label or line break.
fn value_end_in(window: &str) -> Option<usize> {
    // A label that is not known comes after a comma.
    let unknown = window.match_indices(", ").find(|(at, _)| {
        let next = window.get(at + 2..).unwrap_or_default();
        let word = next.split([' ', ',']).next().unwrap_or_default();
        word.ends_with(':')
            || next
                .get(word.len()..)
                .is_some_and(|tail| tail.starts_with(" :"))
    });
    first_label(window, LABELS)
        .into_iter()
        .chain(unknown.map(|(at, _)| at))
        .chain(window.find(['\n', '\r']))
        .min()
}
