//! What can be found in the prose of an audit event, each thing by itself.
//!
//! The wording changes from release to release, so there is no pattern for a whole sentence. Some
//! texts quote what others have written: the sender and the subject of a message, the words of a
//! search, the name with which a logon was tried. What is quoted is never evidence: facts are
//! read from before the quotation and from the trailer after it (`Processed: …` or
//! `Date: …, Time: …, IP: …`), and the last occurrence of a label counts.

use super::address::{self, endpoint};
use super::files;
use super::values::{is_placeholder, places_ignore_case};
use core::ops::Range;

/// What can be found in the prose of an audit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProsePart {
    /// The application that was used.
    Application,
    /// The name of a file.
    File,
    /// The extension of that name, in lower case.
    FileExtension,
    /// The size of a file in bytes.
    FileSize,
    /// The display name after the address of who acted.
    FullName,
    /// A hexadecimal hash of that many digits.
    Hash(usize),
    /// Where the user came from.
    Ip,
    /// How the user was authenticated.
    Method,
    /// The second factor.
    Mfa,
    /// What was acted on.
    Object,
    /// The port from which the user came.
    Port,
    /// Why something failed.
    Reason,
    /// The role that was given or taken.
    Role,
}

/// Labels that end a value, in lower case. The labels of addresses may stand without a colon.
const LABELS: &[&str] = &[
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

/// The labels of the address from which a user came.
const IP_LABELS: &[&str] = &["remote ip is", "remote ip", "ip address", "ip"];

/// The labels of texts that an administrator does not write: whoever sent the message does.
const QUOTED: &[&str] = &["from", "to", "subject", "sender", "recipient"];

/// The labels of texts that a user types.
const TYPED: &[&str] = &[
    "search text",
    "text",
    "query",
    "keywords",
    "comment",
    "comments",
];

/// The labels of outcomes.
const OUTCOMES: &[&str] = &["success", "status", "result", "outcome"];

/// Values of an outcome that mean that it was not done.
const NOT_DONE_OUTCOMES: &[&str] = &[
    "false",
    "no",
    "failed",
    "failure",
    "error",
    "unsuccessful",
    "denied",
    "rejected",
];

/// How a text begins that says that something was not done.
const NOT_DONE_AT_START: &[&str] = &[
    "failed",
    "failure",
    "unable",
    "could not",
    "cannot",
    "unsuccessful",
    "error",
    "denied",
    "rejected",
];

/// What such a text contains.
const NOT_DONE: &[&str] = &[
    "failed to ",
    "has failed",
    "have failed",
    "was denied",
    "was rejected",
    "not successful",
    "unsuccessful",
    "not have the required permission",
    "could not be",
    "was not ",
    "were not ",
    "did not ",
];

/// What an object is called by in front of its name.
const OBJECT_LABELS: &[&str] = &[
    "name",
    "group",
    "folder",
    "case",
    "connector",
    "task",
    "report",
    "definition",
    "policy",
    "incident",
    "created",
    "updated",
    "changed",
    "edited",
    "deleted",
    "removed",
    "added",
];

/// Where the name of a role ends.
const ROLE_ENDS: &[&str] = &[
    " assigned",
    " added",
    " removed",
    " granted",
    " revoked",
    " was ",
    " has ",
    " to ",
    " for ",
    " from ",
    " by ",
    ",",
    ";",
    "\n",
    "\r",
];

/// Longer than any IP address with a port. It also bounds the search for where one ends.
const ENDPOINT_BYTES_MAX: usize = 64;

/// How far the next label is looked for after a value, in bytes.
const VALUE_BYTES_MAX: usize = 1024;

/// How many occurrences of a label are tried, from the last on, so that a search is linear.
const TRIES: usize = 8;

/// What has been found in the prose of one record. Its rows and rules ask for the same parts many
/// times, and finding them is dear.
#[derive(Default)]
pub(super) struct FoundProse {
    /// The length of the text, once it was read. A record has only one field of prose, so a text of
    /// the same length is the same.
    length: Option<usize>,
    ranges: SectionRanges,
    /// The words of the sentence.
    words: Vec<Range<usize>>,
    /// The addresses among them.
    people: Vec<Range<usize>>,
    /// Where the parts stand that were asked for, by [`ProsePart::cache_index`]; `Some(None)` for those that
    /// are not there.
    parts: [Option<Option<Range<usize>>>; REMEMBERED_PARTS],
    /// Whether the text says that something was not done, once that was asked.
    says_not_done: Option<bool>,
}

/// How many parts are remembered.
const REMEMBERED_PARTS: usize = 11;

impl FoundProse {
    /// Forgets all, for another record.
    pub(super) fn clear(&mut self) {
        if self.length.take().is_some() {
            self.parts = Default::default();
            self.says_not_done = None;
        }
    }

    /// Returns the parts of the text, after reading it unless it is the one that was read.
    fn sections<'a>(&'a mut self, text: &'a str) -> ProseSections<'a> {
        if self.length != Some(text.len()) {
            self.clear();
            self.length = Some(text.len());
            self.ranges = SectionRanges::find(text);
            let sentence = text.get(self.ranges.sentence.clone()).unwrap_or_default();
            self.words.clear();
            self.words
                .extend(words(sentence).map(|word| range(text, word)));
            self.people.clear();
            let with_at = words(sentence).filter(|word| word.contains('@'));
            let people = with_at.filter_map(address::bare);
            self.people.extend(people.map(|person| range(text, person)));
        }
        let part = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        let [trailer, before] = &self.ranges.labelled;
        ProseSections {
            text,
            sentence: part(&self.ranges.sentence),
            labelled: [part(trailer), part(before)],
            before_trailer: part(&self.ranges.before_trailer),
            words: &self.words,
        }
    }
}

/// Returns where a part stands in a text.
fn range(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start + part.len()
}

/// The sections of a text in which parts are looked for.
struct ProseSections<'a> {
    text: &'a str,
    /// The sentence: what was done, by whom and to what. It ends before the first label.
    sentence: &'a str,
    /// Where labels are looked for: the trailer, then what stands before a quotation.
    labelled: [&'a str; 2],
    /// What stands before the trailer where nothing is quoted. Only an outcome is looked for there.
    before_trailer: &'a str,
    /// Where the words of the sentence stand in the text.
    words: &'a [Range<usize>],
}

/// Where the [`ProseSections`] stand in their text.
#[derive(Clone, Debug, Default)]
struct SectionRanges {
    sentence: Range<usize>,
    labelled: [Range<usize>; 2],
    before_trailer: Range<usize>,
}

impl SectionRanges {
    fn find(text: &str) -> Self {
        let behind = |at: usize| text.get(at..).unwrap_or_default();
        let before = |at: usize| text.get(..at).unwrap_or_default();
        let quoted = first(text, QUOTED);
        // Search criteria are JSON.
        let typed = first(text, TYPED).into_iter().chain(text.find('{')).min();
        let trailer = |from: usize| {
            let last = |label| {
                let at = places(behind(from), label).last()?.0;
                Some(from + at)
            };
            last("processed").or_else(|| {
                let date = last("date")?;
                places(behind(date), "time").next().map(|_| date)
            })
        };
        let length = text.len();
        let mut before_trailer = 0..0;
        let (whole, labelled) = match quoted.into_iter().chain(typed).min() {
            Some(at) => {
                // What a user types may lack the date, what outsiders write must not decide it.
                let last_ip = || {
                    let ips = IP_LABELS
                        .iter()
                        .filter_map(|label| places(behind(at), label).last());
                    Some(at + ips.map(|(place, _)| place).max()?)
                };
                let tail = trailer(at).or_else(|| quoted.is_none().then(last_ip)?);
                (at, [tail.unwrap_or(length)..length, 0..at])
            }
            None => match trailer(0) {
                Some(at) => {
                    before_trailer = 0..at;
                    (at, [at..length, 0..0])
                }
                None => (length, [0..length, 0..0]),
            },
        };
        let end = first(before(whole), LABELS);
        Self {
            sentence: 0..end.unwrap_or(whole),
            labelled,
            before_trailer,
        }
    }
}

impl<'a> ProseSections<'a> {
    fn words(&self) -> impl Iterator<Item = &'a str> {
        let text = self.text;
        self.words
            .iter()
            .filter_map(move |word| text.get(word.clone()))
    }

    /// Returns the value of the last label that has one.
    fn value<T>(&self, labels: &[&str], value: fn(&'a str) -> Option<T>) -> Option<T> {
        self.labelled.iter().find_map(|part| {
            // Found once for all labels.
            let marks: Vec<_> = marks(part).collect();
            let found = labels.iter().filter_map(|label| {
                let try_place = |(at, behind)| Some((at, value(behind)?));
                if is_verb(label) {
                    let places: Vec<_> = verb_places(part, label).collect();
                    return places.into_iter().rev().take(TRIES).find_map(try_place);
                }
                let marks = marks.iter().rev();
                let places = marks.filter_map(|mark| place_at(part, *mark, label));
                places.take(TRIES).find_map(try_place)
            });
            found.max_by_key(|(at, _)| *at).map(|(_, value)| value)
        })
    }
}

impl ProsePart {
    /// Returns the index in [`FoundProse::parts`]; `None` if it costs little, or is asked for once.
    const fn cache_index(self) -> Option<usize> {
        Some(match self {
            Self::Application => 0,
            Self::File => 1,
            Self::FileSize => 2,
            Self::FullName => 3,
            Self::Ip => 4,
            Self::Method => 5,
            Self::Mfa => 6,
            Self::Object => 7,
            Self::Port => 8,
            Self::Reason => 9,
            Self::Role => 10,
            Self::FileExtension | Self::Hash(_) => return None,
        })
    }
}

/// Returns that part of the text, if it is there and says something.
pub(super) fn find<'t>(found: &mut FoundProse, text: &'t str, part: ProsePart) -> Option<&'t str> {
    if part == ProsePart::FileExtension {
        return find(found, text, ProsePart::File).and_then(files::extension);
    }
    let sections = found.sections(text);
    let Some(place) = part.cache_index() else {
        return sections
            .find(part)
            .and_then(|part| text.get(range(text, part)));
    };
    let known = found.parts.get(place).cloned().flatten();
    let range = known.unwrap_or_else(|| {
        let found_now = found
            .sections(text)
            .find(part)
            .map(|part| range(text, part));
        if let Some(slot) = found.parts.get_mut(place) {
            *slot = Some(found_now.clone());
        }
        found_now
    });
    text.get(range?)
}

impl<'a> ProseSections<'a> {
    fn find(&self, part: ProsePart) -> Option<&'a str> {
        let sentence = self.sentence;
        let ip = || self.value(IP_LABELS, ip_value);
        match part {
            ProsePart::Application => self.value(&["application"], text_value),
            ProsePart::Method => self.value(&["method"], text_value),
            ProsePart::Mfa => self.value(&["2fa"], text_value),
            ProsePart::Reason => self.value(&["reason"], text_value),
            ProsePart::FullName => full_name(sentence),
            ProsePart::Ip => ip().map(|(ip, _)| ip),
            ProsePart::Port => ip().and_then(|(_, port)| port),
            ProsePart::Role => role(sentence),
            ProsePart::Object => object(self),
            ProsePart::File => file(self),
            ProsePart::FileExtension => file(self).and_then(files::extension),
            ProsePart::FileSize => self.value(&["size"], text_value).and_then(size),
            ProsePart::Hash(digits) => {
                let is_hash = |word: &&str| {
                    word.len() == digits && word.bytes().all(|byte| byte.is_ascii_hexdigit())
                };
                self.words().find(is_hash)
            }
        }
    }
}

/// Returns the addresses that the sentence names.
pub(super) fn people<'t>(found: &mut FoundProse, text: &'t str) -> impl Iterator<Item = &'t str> {
    found.sections(text);
    found
        .people
        .iter()
        .filter_map(move |person| text.get(person.clone()))
}

/// Returns whether the sentence names a person and a role.
pub(super) fn names_role(found: &mut FoundProse, text: &str) -> bool {
    find(found, text, ProsePart::Role).is_some() && people(found, text).next().is_some()
}

/// Returns whether the sentence contains one of the words.
pub(super) fn says(found: &mut FoundProse, text: &str, words: &[&str]) -> bool {
    let sentence = found.sections(text).sentence;
    words.iter().any(|word| spoken(sentence, word).is_some())
}

/// Returns where a sentence has a word that begins with this text and is no address. A text that ends
/// in a space is looked for at the start only.
fn spoken(sentence: &str, text: &str) -> Option<usize> {
    let is_word = |at: &usize| {
        let (before, rest) = sentence.split_at_checked(*at).unwrap_or_default();
        let begun = before.rsplit(char::is_whitespace).next();
        let ended = rest.split(char::is_whitespace).next();
        let has_at = |part: Option<&str>| part.is_some_and(|part| part.contains('@'));
        !before.ends_with(char::is_alphanumeric)
            && !has_at(begun)
            && !has_at(ended)
            && (before.is_empty() || !text.ends_with(' '))
    };
    places_ignore_case(sentence, text).take(TRIES).find(is_word)
}

/// Returns whether the text says that something was not done.
pub(super) fn says_not_done(found: &mut FoundProse, text: &str) -> bool {
    found.sections(text);
    if let Some(known) = found.says_not_done {
        return known;
    }
    let says_not_done = found.sections(text).say_not_done();
    found.says_not_done = Some(says_not_done);
    says_not_done
}

impl ProseSections<'_> {
    fn say_not_done(&self) -> bool {
        let outcome = self.value(OUTCOMES, text_value);
        if let Some(outcome) = outcome.or_else(|| first_value(self.before_trailer, OUTCOMES)) {
            return NOT_DONE_OUTCOMES
                .iter()
                .any(|word| outcome.eq_ignore_ascii_case(word));
        }
        let sentence = self.sentence.trim().trim_end_matches(['.', ':', ',']);
        let begins = |word: &&str| {
            sentence
                .get(..word.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(word))
        };
        let ends = || {
            let end = sentence.len().checked_sub(" failed".len());
            end.and_then(|at| sentence.get(at..))
                .is_some_and(|end| end.eq_ignore_ascii_case(" failed"))
        };
        NOT_DONE_AT_START.iter().any(begins)
            || ends()
            || NOT_DONE
                .iter()
                .any(|words| places_ignore_case(sentence, words).next().is_some())
    }
}

/// Returns where a label stands that has a value mark, and what comes after the mark: a colon, or
/// a label that ends in a verb.
fn places<'a>(text: &'a str, label: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let marked =
        (!is_verb(label)).then(|| marks(text).filter_map(|mark| place_at(text, mark, label)));
    let verbs = is_verb(label).then(|| verb_places(text, label));
    let marked = marked.into_iter().flatten();
    marked.chain(verbs.into_iter().flatten())
}

/// Returns where the label of a value mark stands, and what comes after the mark.
fn place_at<'a>(text: &str, (end, behind): Mark<'a>, label: &str) -> Option<(usize, &'a str)> {
    Some((label_before(text, end, label)?, behind))
}

/// Returns where a label stands that ends in a verb, and what comes after it.
fn verb_places<'a>(text: &'a str, label: &str) -> impl Iterator<Item = (usize, &'a str)> {
    places_ignore_case(text, label).filter_map(|at| {
        let end = at + label.len();
        label_before(text, end, label)?;
        let behind = text.get(end..)?;
        let is_word_end = !behind.starts_with(|c: char| c.is_ascii_alphanumeric());
        let marked = behind.trim_start_matches([':', ' ']);
        (is_word_end && !marked.starts_with(',')).then_some((at, marked))
    })
}

/// Returns the value of the first of these labels that has one. None of them ends in a verb.
fn first_value<'a>(text: &'a str, labels: &[&str]) -> Option<&'a str> {
    let marks: Vec<_> = marks(text).collect();
    labels.iter().find_map(|label| {
        let mut places = marks.iter().filter_map(|mark| place_at(text, *mark, label));
        text_value(places.next()?.1)
    })
}

/// Returns where the first of these labels stands that has a value mark.
fn first(text: &str, labels: &[&str]) -> Option<usize> {
    let at_mark = |(end, _): Mark<'_>| {
        // Most labels end in another letter.
        let last = last_letter(text.as_bytes().get(..end)?);
        let possible = labels
            .iter()
            .filter(|label| last_letter(label.as_bytes()) == last && !is_verb(label));
        let places = possible.filter_map(|label| label_before(text, end, label));
        places.min()
    };
    let verbs = labels.iter().filter(|label| is_verb(label));
    let verbs = verbs.filter_map(|label| verb_places(text, label).next());
    let marked = marks(text).find_map(at_mark);
    marked.into_iter().chain(verbs.map(|(at, _)| at)).min()
}

/// Returns whether a label needs no colon after it.
fn is_verb(label: &str) -> bool {
    label.ends_with(" is")
}

/// A value mark: where it begins and what comes after it.
type Mark<'a> = (usize, &'a str);

/// Returns the value marks of a text: runs of colons and blanks with a colon in them. Labels are
/// looked for in front of their marks, since texts have few marks and many letters.
fn marks(text: &str) -> impl Iterator<Item = Mark<'_>> {
    let bytes = text.as_bytes();
    let mut done = 0;
    memchr::memchr_iter(b':', bytes).filter_map(move |colon| {
        if colon < done {
            return None;
        }
        let is_mark = |byte: &&u8| matches!(byte, b':' | b' ');
        let (before, from) = bytes.split_at_checked(colon)?;
        let start = colon - before.iter().rev().take_while(is_mark).count();
        done = colon + from.iter().take_while(is_mark).count();
        let behind = text.get(done..)?;
        (!behind.starts_with(',')).then_some((start, behind))
    })
}

/// Returns the last byte in lower case.
fn last_letter(text: &[u8]) -> Option<u8> {
    text.last().map(u8::to_ascii_lowercase)
}

/// Returns where a label begins that ends there and is a word of its own.
fn label_before(text: &str, end: usize, label: &str) -> Option<usize> {
    let before = text.as_bytes().get(..end)?;
    if last_letter(before) != last_letter(label.as_bytes()) {
        return None;
    }
    let (before, found) = before.split_at_checked(end.checked_sub(label.len())?)?;
    let is_word = !before.last().is_some_and(u8::is_ascii_alphanumeric);
    (is_word && found.eq_ignore_ascii_case(label.as_bytes())).then_some(before.len())
}

/// Returns the IP address that the text begins with, and its port.
fn ip_value(marked: &str) -> Option<(&str, Option<&str>)> {
    let mut bytes = marked.bytes().take(ENDPOINT_BYTES_MAX);
    let end = bytes
        .position(|byte| matches!(byte, b',' | b' ' | b')' | b';' | b'\n' | b'\r'))
        .or_else(|| (marked.len() <= ENDPOINT_BYTES_MAX).then_some(marked.len()))?;
    endpoint(marked.get(..end)?.trim_end_matches('.'))
}

/// Returns the text up to the next label or line.
fn text_value(marked: &str) -> Option<&str> {
    let window = window(marked);
    // Labels that are not known stand after a comma.
    let unknown = window.match_indices(", ").find(|(at, _)| {
        let next = window.get(at + 2..).unwrap_or_default();
        let word = next.split([' ', ',']).next().unwrap_or_default();
        word.ends_with(':')
            || next
                .get(word.len()..)
                .is_some_and(|tail| tail.starts_with(" :"))
    });
    let end = first(window, LABELS)
        .into_iter()
        .chain(unknown.map(|(at, _)| at))
        .chain(window.find(['\n', '\r']))
        .min();
    let text = marked
        .get(..end.unwrap_or(marked.len()))?
        .trim()
        .trim_end_matches([',', ';'])
        .trim_end();
    (!is_placeholder(text)).then_some(text)
}

/// Returns the beginning of a text, as far as the end of a value is looked for.
fn window(text: &str) -> &str {
    let end = text.len().min(VALUE_BYTES_MAX);
    (0..4)
        .find_map(|back| text.get(..end.checked_sub(back)?))
        .unwrap_or_default()
}

/// Returns the words of a sentence, without the marks around them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| {
        c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')' | '=' | '<' | '>' | '\'' | '"')
    })
    .map(|word| word.trim_matches(['.', ':', '[', ']']))
    .filter(|word| !word.is_empty())
}

/// Returns the name in `for ADDRESS <Last, First>` or `by ADDRESS<…>`.
fn full_name(sentence: &str) -> Option<&str> {
    let names = sentence.match_indices('<').take(TRIES);
    names.into_iter().find_map(|(at, _)| {
        let before = sentence.get(..at)?.trim_end();
        let (before, person) = before.rsplit_once(' ')?;
        let word = before.trim_end().rsplit(' ').next()?;
        let is_person = ["for", "by"]
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known));
        let (name, _) = sentence.get(at + 1..)?.split_once('>')?;
        let name = name.trim();
        let is_name = !name.is_empty() && !name.contains(['@', '<']);
        (is_person && is_name && address::bare(person).is_some()).then_some(name)
    })
}

/// The words of the name of a role, at most.
const ROLE_WORDS_MAX: usize = 5;

/// Returns the role in `… role NAME …` or `… to the NAME role`.
fn role(sentence: &str) -> Option<&str> {
    let trim = |text: &'static [char], part| -> &str { str::trim_matches(part, text) };
    let marks = &[' ', ':', '\'', '"', '.', '\n', '\r'];
    for word in ["role", "permission", "privilege"] {
        let Some(at) = spoken(sentence, word) else {
            continue;
        };
        let behind = sentence.get(at + word.len()..)?;
        let behind = behind.strip_prefix('s').unwrap_or(behind);
        let end = ROLE_ENDS.iter().filter_map(|end| behind.find(end)).min();
        let name = trim(marks, behind.get(..end.unwrap_or(behind.len()))?);
        if !name.is_empty() && address::bare(name).is_none() {
            return Some(name);
        }
        let before = sentence.get(..at)?;
        let name = [" to the ", " from the ", " to ", " from "]
            .iter()
            .find_map(|link| before.rsplit_once(link))
            .map(|(_, name)| trim(marks, name))
            .filter(|name| !name.is_empty() && address::bare(name).is_none())
            // More are a clause and no name.
            .filter(|name| name.split_whitespace().count() <= ROLE_WORDS_MAX);
        if name.is_some() {
            return name;
        }
    }
    None
}

/// Returns what was acted on: the number of an incident, a name in quotes or after a label, or what a
/// connector is for.
fn object<'a>(sections: &ProseSections<'a>) -> Option<&'a str> {
    let sentence = sections.sentence;
    let is_incident = |word: &&str| word.starts_with("TR-") && word.len() > 3;
    if let Some(incident) = sections.words().find(is_incident) {
        return Some(incident);
    }
    for quote in ['\'', '"'] {
        let quoted = sentence
            .split_once(quote)
            .and_then(|(_, rest)| rest.split_once(quote));
        if let Some((name, _)) = quoted
            && !name.trim().is_empty()
        {
            return Some(name.trim());
        }
    }
    let labelled = first_value(sentence, OBJECT_LABELS);
    if labelled.is_some() {
        return labelled;
    }
    let at = places_ignore_case(sentence, "connector").next()?;
    let (_, name) = sentence.get(at..)?.split_once(" for ")?;
    let name = name.split(['\n', '\r', ',']).next()?.trim();
    (!is_placeholder(name) && address::bare(name).is_none()).then_some(name)
}

/// Returns the name of a file: after its label, or a word with an extension.
fn file<'a>(sections: &ProseSections<'a>) -> Option<&'a str> {
    let sentence = sections.sentence;
    let labelled = first_value(sentence, &["file name", "filename", "file"]);
    let known = |word: &&str| {
        let is_known = |extension: &str| {
            [
                "csv", "eml", "json", "pdf", "pst", "txt", "xls", "xlsx", "xml", "zip",
            ]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(extension))
        };
        !word.contains('@') && files::extension(word).is_some_and(is_known)
    };
    labelled.or_else(|| sections.words().find(known))
}

/// Returns the digits of a size in bytes.
fn size(text: &str) -> Option<&str> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit());
    let (digits, unit) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let is_bytes = matches!(unit.trim(), "" | "B" | "bytes" | "byte");
    (is_bytes && super::values::long(digits).is_some()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, part: ProsePart) -> Option<&str> {
        super::find(&mut FoundProse::default(), text, part)
    }

    fn people(text: &str) -> impl Iterator<Item = &str> {
        let people: Vec<&str> = super::people(&mut FoundProse::default(), text).collect();
        people.into_iter()
    }

    fn says_not_done(text: &str) -> bool {
        super::says_not_done(&mut FoundProse::default(), text)
    }

    const LOGON: &str = "Failed authentication for ann@example.com <Li, Ann>, Date: 2026-02-03, \
        Time: 04:05:06 GMT-05:00, IP: 198.51.100.7, Application: Administration Console, \
        Method: Cloud, Reason: Bad password, or locked, 2FA: TOTP";

    const PARTS: [ProsePart; 14] = [
        ProsePart::Application,
        ProsePart::File,
        ProsePart::FileSize,
        ProsePart::FullName,
        ProsePart::Hash(32),
        ProsePart::Hash(40),
        ProsePart::Hash(64),
        ProsePart::Ip,
        ProsePart::Method,
        ProsePart::Mfa,
        ProsePart::Object,
        ProsePart::Port,
        ProsePart::Reason,
        ProsePart::Role,
    ];

    #[test]
    fn what_was_found_in_one_record_is_not_found_in_the_next() {
        let mut found = FoundProse::default();
        let texts = [
            "Failed for ann@a.test, Method: Cloud, IP: 192.0.2.1",
            "Added by bob@b.test, Reason: asked, IP: 192.0.2.22",
            "",
            "Logon of cyd@c.test, Method: Local, IP: 192.0.2.3",
        ];
        for text in texts.iter().chain(&texts) {
            found.clear();
            for part in PARTS.into_iter().chain(PARTS) {
                assert_eq!(
                    super::find(&mut found, text, part),
                    find(text, part),
                    "{text}"
                );
            }
            let of_people: Vec<_> = super::people(&mut found, text).collect();
            assert_eq!(of_people, people(text).collect::<Vec<_>>());
            assert_eq!(super::says_not_done(&mut found, text), says_not_done(text));
        }
    }

    #[test]
    fn the_parts_of_a_logon() {
        assert_eq!(find(LOGON, ProsePart::Ip), Some("198.51.100.7"));
        assert_eq!(
            find(LOGON, ProsePart::Application),
            Some("Administration Console")
        );
        assert_eq!(find(LOGON, ProsePart::Method), Some("Cloud"));
        assert_eq!(
            find(LOGON, ProsePart::Reason),
            Some("Bad password, or locked")
        );
        assert_eq!(find(LOGON, ProsePart::Mfa), Some("TOTP"));
        assert_eq!(find(LOGON, ProsePart::FullName), Some("Li, Ann"));
        assert_eq!(people(LOGON).collect::<Vec<_>>(), ["ann@example.com"]);
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
            assert_eq!(find(text, ProsePart::Ip), Some("2001:db8::7"), "{text}");
        }
        assert_eq!(find("x IP: null, Application: Y", ProsePart::Ip), None);
        for (text, ip) in [
            ("x IP: 203.0.113.7:443, Application: Y", "203.0.113.7"),
            ("x Remote IP is [2001:db8::7]:443.", "2001:db8::7"),
        ] {
            assert_eq!(find(text, ProsePart::Ip), Some(ip), "{text}");
            assert_eq!(find(text, ProsePart::Port), Some("443"), "{text}");
        }
        let last = "IP: 192.0.2.4, Remote: x, IP: 203.0.113.7:443";
        assert_eq!(find(last, ProsePart::Port), Some("443"));
        assert_eq!(find("Internal IP range, zip: 1", ProsePart::Ip), None);
    }

    #[test]
    fn a_value_ends_at_the_next_label_with_or_without_a_colon() {
        for text in [
            "Successful, Application: API, Remote IP is 198.51.100.23",
            "Successful, Application: API; IP Address : 198.51.100.23",
            "Successful, Application: API\nRemote IP is 198.51.100.23",
            "Successful, Application: API IP: 198.51.100.23",
            "Successful, Application: API, Unknown: x, IP: 198.51.100.23",
        ] {
            assert_eq!(find(text, ProsePart::Application), Some("API"), "{text}");
            assert_eq!(find(text, ProsePart::Ip), Some("198.51.100.23"), "{text}");
        }
    }

    #[test]
    fn what_a_message_says_is_no_evidence() {
        let forged = "IP: 192.0.2.66, Remote IP is 192.0.2.67, Application: Nothing, \
            Method: none such, Reason: none at all, 2FA: SMS, Success: false, Size: 7, \
            Processed: 2026-03-01, for eve@example.net <Eve>, file: x.csv, role X";
        for start in [
            "Viewed Message - From: <Mallory> mallory@example.net, Subject: ",
            "Viewed Message - From: ",
            "Viewed Message - Subject: Re: From: x, ",
            "Viewed Message - To : ",
        ] {
            let text = format!(
                "{start}{forged}, Processed: 2026-03-01, IP: 198.51.100.21, Application: review"
            );
            assert_eq!(find(&text, ProsePart::Ip), Some("198.51.100.21"), "{text}");
            assert_eq!(
                find(&text, ProsePart::Application),
                Some("review"),
                "{text}"
            );
            for part in PARTS {
                if !matches!(part, ProsePart::Ip | ProsePart::Application) {
                    assert_eq!(find(&text, part), None, "{part:?} in {text}");
                }
            }
            assert_eq!(people(&text).next(), None, "{text}");
            assert!(!says_not_done(&text), "{text}");
            // Without a trailer nothing after the quotation counts.
            let text = format!("{start}IP: 192.0.2.66, Application: Nothing, Reason: none at all");
            for part in PARTS {
                assert_eq!(find(&text, part), None, "{part:?} in {text}");
            }
        }
        let tried = "Failed authentication for x, Method: none such, 2FA: SMS@example.com, \
            Date: 2026-02-03, Time: 04:05:06 GMT, IP: 198.51.100.7, Application: API";
        assert_eq!(find(tried, ProsePart::Method), None);
        assert_eq!(find(tried, ProsePart::Mfa), None);
        assert_eq!(find(tried, ProsePart::Ip), Some("198.51.100.7"));
        assert_eq!(
            find("From: <Mallory> m@example.net", ProsePart::FullName),
            None
        );
    }

    #[test]
    fn who_and_what_was_changed() {
        for (text, person) in [
            (
                "Password reset for user: bob@example.com, IP: 198.51.100.21",
                "bob@example.com",
            ),
            (
                "Password reset for emailAddress=bob@example.test",
                "bob@example.test",
            ),
            (
                "User bob@example.com added to role Super Administrator",
                "bob@example.com",
            ),
            ("Account locked (bob@example.com).", "bob@example.com"),
        ] {
            assert_eq!(people(text).next(), Some(person), "{text}");
        }
        for text in [
            "User bob@example.com added to role Super Administrator",
            "Role 'Super Administrator' assigned to bob@example.com, IP: 192.0.2.4",
            "bob@example.com was removed from the Super Administrator role",
            "Role: Super Administrator, IP: 192.0.2.4",
        ] {
            assert_eq!(
                find(text, ProsePart::Role),
                Some("Super Administrator"),
                "{text}"
            );
        }
        for (text, object) in [
            (
                "Remediation Incident TR-EXMPL-00021-M was updated",
                "TR-EXMPL-00021-M",
            ),
            (
                "Profile group created: Blocked Senders, IP : 192.0.2.4",
                "Blocked Senders",
            ),
            ("Profile group 'Blocked' deleted", "Blocked"),
            (
                "Connector creation for Azure AD Sync\nSuccess: false",
                "Azure AD Sync",
            ),
            ("Opened case: GDPR 7, IP: 192.0.2.4", "GDPR 7"),
        ] {
            assert_eq!(find(text, ProsePart::Object), Some(object), "{text}");
        }
        let export = "Exported file: held list.csv, Size: 1200 bytes, IP: 192.0.2.4";
        assert_eq!(find(export, ProsePart::File), Some("held list.csv"));
        assert_eq!(find(export, ProsePart::FileSize), Some("1200"));
        assert_eq!(
            find("Download of a.zip done", ProsePart::File),
            Some("a.zip")
        );
    }

    #[test]
    fn what_denies_that_something_was_done() {
        for text in [
            "Connector creation for Azure AD Sync\nSuccess: false",
            "Failed to enroll the user for device enrollment",
            "Deletion of policy x failed.",
            "ann@example.com does not have the required permissions, Date: 2026-02-03",
            "Policy changed, Status: Failed, IP: 192.0.2.4",
            "The change was rejected",
        ] {
            assert!(says_not_done(text), "{text}");
        }
        for text in [
            "Connector creation for Azure AD Sync\nSuccess: true",
            "Profile group created: Failed logons, IP : 192.0.2.4",
            "Viewed Message - Subject: Failed to pay, Success: false, Processed: 2026-03-01",
            "",
        ] {
            assert!(!says_not_done(text), "{text}");
        }
    }

    #[test]
    fn a_text_without_parts_has_none() {
        for part in PARTS {
            assert_eq!(find("Directory sync completed", part), None);
            assert_eq!(find("", part), None);
            assert_eq!(find("IP:IP:<é>: Reason: , Reason", part), None);
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
            "from: ",
            "role ",
            "for a@b <c> ",
        ] {
            let text = piece.repeat(400_000 / piece.len());
            for part in PARTS {
                let _whatever_is_found = find(&text, part);
            }
            let _whoever_is_named = (people(&text).count(), says_not_done(&text));
        }
    }

    #[test]
    fn an_application_in_the_middle_of_a_sentence() {
        let text = "New connection, application : Mail Sync, IP : 192.0.2.4";
        assert_eq!(find(text, ProsePart::Application), Some("Mail Sync"));
        assert_eq!(find(text, ProsePart::Ip), Some("192.0.2.4"));
    }
}
