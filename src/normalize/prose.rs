//! What can be found in the prose of an audit event, each thing by itself.
//!
//! The wording changes from release to release, so there is no pattern for a whole sentence. Some
//! texts quote what others have written: the sender and the subject of a message, the words of a
//! search, the name with which a logon was tried. What is quoted is never evidence: facts are
//! read from before the quotation and from the trailer after it (`Processed: …` or
//! `Date: …, Time: …, IP: …`, whichever begins last), and the last occurrence of a label counts.
//!
//! What an administrator calls things is no evidence of what was done either: verbs are not looked
//! for in names, which stand in quotes or after a label.

use super::address::{self, endpoint};
use super::files;
use super::values::{contains_ignore_case, is_placeholder, places_ignore_case};
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
    "failed to",
    "has failed",
    "have failed",
    "was denied",
    "was rejected",
    "not successful",
    "unsuccessful",
    "not have the required permission",
    "could not be",
    "was not",
    "were not",
    "did not",
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

/// What a sentence may begin with that says what was done to what follows.
#[rustfmt::skip]
const ACTS: &[&str] = &[
    "added", "changed", "closed", "created", "deleted", "edited", "exported", "opened", "removed", "restored",
    "updated", "viewed",
];

/// How something is created, deleted, given or taken.
const VERBS: &[&str] = &[
    "creat", "added", "delet", "remov", "revok", "assign", "grant",
];

/// The beginnings of what may be done to a thing.
#[rustfmt::skip]
const STEMS: &[&str] = &[
    "creat", "added", "delet", "remov", "chang", "updat", "edit", "view", "open", "export", "new ",
];

/// How something comes into a group or leaves it.
const MEMBERSHIP: &[&str] = &["added", "delet", "remov"];

/// After the first of these the address of who acted follows, after the others another one.
const LINKS: &[&str] = &["by", "for", "from", "of", "on", "to"];

/// How many words the name of who acted may have.
const ACTOR_WORDS_MAX: usize = 5;

/// How many names in quotes and how many labels are looked for: a search is linear.
const NAMES_MAX: usize = 32;

/// Where the name of a role ends.
const ROLE_ENDS: &[&str] = &[
    " assigned",
    " added",
    " removed",
    " granted",
    " revoked",
    " created",
    " Created",
    " deleted",
    " Deleted",
    " updated",
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
const OCCURRENCES_MAX: usize = 8;

/// What has been found in the prose of one record. Its rows and rules ask for the same parts many
/// times, and finding them is expensive.
#[derive(Default)]
pub(super) struct FoundProse {
    /// The length of the text, once it was read. A record has only one field of prose, so a text of
    /// the same length is the same.
    length: Option<usize>,
    ranges: SectionRanges,
    /// The words of the sentence.
    words: Vec<Range<usize>>,
    /// The addresses among them, and whether the address is behind "by".
    people: Vec<(Range<usize>, bool)>,
    /// What the sentence says: its words in lower case, a blank before and behind each of them,
    /// without those of names. An address is an `@`.
    normalized_sentence: String,
    /// Where the parts stand that were asked for, by [`ProsePart::cache_index`]; `Some(None)` for those that
    /// are not there.
    parts: [Option<Option<Range<usize>>>; REMEMBERED_PARTS],
    /// Whether the text says that something was not done, once that was asked.
    says_not_done: Option<bool>,
}

/// How many parts are remembered.
const REMEMBERED_PARTS: usize = 10;

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
            let names = names(sentence);
            self.scan_sentence(text, &names);
            // Without a verb the names cannot be distinguished from the sentence.
            if !names.is_empty() && spoken(&self.normalized_sentence, STEMS).is_none() {
                self.scan_sentence(text, &[]);
            }
        }
        let part = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        let [trailer, before] = &self.ranges.labelled;
        ProseSections {
            text,
            sentence: part(&self.ranges.sentence),
            labelled: [part(trailer), part(before)],
            before_trailer: part(&self.ranges.before_trailer),
            words: &self.words,
            normalized_sentence: &self.normalized_sentence,
        }
    }

    /// Finds the people in the text and normalizes its words, except those in these ranges.
    fn scan_sentence(&mut self, text: &str, names: &[Range<usize>]) {
        self.people.clear();
        self.normalized_sentence.clear();
        // How many words may still stand between "by" and the address of who acted.
        let mut by = 0;
        for place in &self.words {
            let word = text.get(place.clone()).unwrap_or_default();
            self.normalized_sentence.push(' ');
            if word.contains('@') {
                self.normalized_sentence.push('@');
                if let Some(person) = address::bare(word).filter(|_| !is_java_object(word)) {
                    self.people.push((range(text, person), by > 0));
                    // It may stand once more, in angle brackets.
                    by = by.min(1);
                }
            } else if !names.iter().any(|name| name.contains(&place.start)) {
                self.normalized_sentence.push_str(word);
                let is_word = |known: &&str| known.eq_ignore_ascii_case(word);
                by = match LINKS.iter().position(is_word) {
                    Some(0) => ACTOR_WORDS_MAX,
                    Some(_) => 0,
                    None => by.saturating_sub(1),
                };
            }
        }
        self.normalized_sentence.push(' ');
        self.normalized_sentence.make_ascii_lowercase();
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
    /// [`FoundProse::normalized_sentence`].
    normalized_sentence: &'a str,
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
        // Search criteria are JSON. What stands in braces as `name=value` is an object of Java.
        let mut braces = text
            .match_indices('{')
            .take(OCCURRENCES_MAX)
            .map(|(at, _)| at);
        let json = braces.find(|at| !begins_object(behind(at + 1)));
        let typed = first(text, TYPED).into_iter().chain(json).min();
        let trailer = |from| {
            let date = last(text, from, "date").filter(|date| last(text, *date, "time").is_some());
            last(text, from, "processed").max(date)
        };
        let length = text.len();
        let mut before_trailer = 0..0;
        let (whole, labelled) = match quoted.into_iter().chain(typed).min() {
            Some(at) => {
                // What a user types may lack the date, what outsiders write must not decide it.
                let last_ip = || {
                    let ips = IP_LABELS.iter().filter_map(|label| last(text, at, label));
                    ips.max()
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

/// Returns where the last label of that name stands that has a value mark, from a place on.
fn last(text: &str, from: usize, label: &str) -> Option<usize> {
    let (at, _) = places(text.get(from..)?, label).last()?;
    Some(from + at)
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
                if needs_no_colon(label) {
                    let places: Vec<_> = colonless_label_places(part, label).collect();
                    return places
                        .into_iter()
                        .rev()
                        .take(OCCURRENCES_MAX)
                        .find_map(try_place);
                }
                let marks = marks.iter().rev();
                let places = marks.filter_map(|mark| place_at(part, *mark, label));
                places.take(OCCURRENCES_MAX).find_map(try_place)
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
            Self::Ip => 3,
            Self::Method => 4,
            Self::Mfa => 5,
            Self::Object => 6,
            Self::Port => 7,
            Self::Reason => 8,
            Self::Role => 9,
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

/// Returns whether the sentence names a person.
pub(super) fn names_person(found: &mut FoundProse, text: &str) -> bool {
    found.sections(text);
    !found.people.is_empty()
}

/// Returns whether the sentence names a person who did not act.
pub(super) fn names_target(found: &mut FoundProse, text: &str) -> bool {
    people(found, text, "").0.is_some()
}

/// Returns whether the sentence names a role and a person who did not act.
pub(super) fn names_role(found: &mut FoundProse, text: &str) -> bool {
    find(found, text, ProsePart::Role).is_some() && names_target(found, text)
}

/// Returns the address of whom the sentence is about, another one than the user where it names one,
/// and that of who acted, which is behind "by".
pub(super) fn people<'t>(
    found: &mut FoundProse,
    text: &'t str,
    user: &str,
) -> (Option<&'t str>, Option<&'t str>) {
    found.sections(text);
    let (mut target, mut actor) = (None, None);
    for (place, is_actor) in &found.people {
        let person = text.get(place.clone());
        let is_user = |known: Option<&str>| known.is_some_and(|it| it.eq_ignore_ascii_case(user));
        if *is_actor {
            actor = actor.or(person);
        } else if target.is_none() || is_user(target) && !is_user(person) {
            target = person;
        }
    }
    (target, actor)
}

/// Returns the name in `ADDRESS <Last, First>` of a person whom the sentence names.
pub(super) fn full_name<'t>(
    found: &mut FoundProse,
    text: &'t str,
    person: &str,
) -> Option<&'t str> {
    found.sections(text);
    let sentence = text.get(found.ranges.sentence.clone())?;
    found
        .people
        .iter()
        .take(OCCURRENCES_MAX)
        .find_map(|(place, _)| {
            let behind = sentence.get(place.end..)?.trim_start();
            let end = behind.find('>')?;
            let name = behind.get(1..end).unwrap_or_default().trim();
            let is_person = sentence.get(place.clone())?.eq_ignore_ascii_case(person);
            let is_name = behind.starts_with('<') && !name.is_empty() && !name.contains(['@', '<']);
            (is_person && is_name).then_some(name)
        })
}

/// Returns whether the sentence contains one of the words, outside names.
pub(super) fn says(found: &mut FoundProse, text: &str, words: &[&str]) -> bool {
    spoken(found.sections(text).normalized_sentence, words).is_some()
}

/// Returns whether one of the words is what was done.
pub(super) fn action_is(found: &mut FoundProse, text: &str, words: &[&str]) -> bool {
    action_position(found.sections(text).normalized_sentence, words).is_some()
}

/// Returns where one of the words stands that is what was done: the word with which the sentence
/// begins, or else the first verb for a creation or a removal.
fn action_position(normalized_sentence: &str, words: &[&str]) -> Option<usize> {
    if let Some(at) = first_action(normalized_sentence) {
        let begins = |word: &&str| {
            normalized_sentence
                .get(at..)
                .is_some_and(|normalized_sentence| normalized_sentence.starts_with(word))
        };
        return words.iter().any(begins).then_some(at);
    }
    let at = spoken(normalized_sentence, words)?;
    let first = spoken(normalized_sentence, VERBS);
    first.is_none_or(|first| at <= first).then_some(at)
}

/// Returns where a sentence begins with what was done to what follows.
fn first_action(normalized_sentence: &str) -> Option<usize> {
    const INTRODUCTION: &str = " action performed -";
    let is_introduced = normalized_sentence.starts_with(INTRODUCTION);
    let at = 1 + if is_introduced { INTRODUCTION.len() } else { 0 };
    let act = normalized_sentence.get(at..)?;
    let begins = |word: &&str| act.starts_with(word);
    ACTS.iter().any(begins).then_some(at)
}

/// Returns whether something was added to a group or removed from it, rather than the group itself
/// created or deleted.
pub(super) fn changes_members(found: &mut FoundProse, text: &str) -> bool {
    let has_target = names_target(found, text);
    let normalized_sentence = found.sections(text).normalized_sentence;
    let Some(at) = action_position(normalized_sentence, MEMBERSHIP) else {
        return false;
    };
    let (before, behind) = normalized_sentence.split_at_checked(at).unwrap_or_default();
    let is_added = behind.starts_with("added");
    let link = behind.find(if is_added { " to " } else { " from " });
    let object = behind.get(..link.unwrap_or(behind.len()));
    let is_of = |word| {
        [before, object.unwrap_or_default()]
            .iter()
            .any(|part| contains_ignore_case(part, word))
    };
    let is_group = is_of("group") || is_of("folder");
    is_of("member") || !is_group && (link.is_some() || has_target)
}

/// Returns where one of the words begins first. A word that ends in a space is looked for at the start
/// only.
fn spoken(normalized_sentence: &str, words: &[&str]) -> Option<usize> {
    let place = |word: &&str| {
        let is_start = |at: &usize| match at.checked_sub(1) {
            Some(0) => true,
            Some(before) => {
                normalized_sentence.as_bytes().get(before) == Some(&b' ') && !word.ends_with(' ')
            }
            None => false,
        };
        places_ignore_case(normalized_sentence, word).find(is_start)
    };
    words.iter().filter_map(place).min()
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
        first_action(self.normalized_sentence).is_none()
            && (self.normalized_sentence.ends_with(" failed ")
                || spoken(self.normalized_sentence, NOT_DONE).is_some()
                || NOT_DONE_AT_START
                    .iter()
                    .any(|word| spoken(self.normalized_sentence, &[word]) == Some(1)))
    }
}

/// Finds the names of things: in quotes, or the values of their labels.
fn names(sentence: &str) -> Vec<Range<usize>> {
    let bytes = sentence.as_bytes();
    let is_word = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let mut names = Vec::new();
    let mut open = None;
    for (at, byte) in bytes.iter().enumerate() {
        match open {
            None if matches!(byte, b'\'' | b'"') && !is_word(at.wrapping_sub(1)) => {
                open = Some((at, byte));
            }
            Some((start, quote)) if byte == quote && !is_word(at + 1) => {
                names.push(start..at);
                open = None;
                if names.len() == NAMES_MAX {
                    break;
                }
            }
            _ => {}
        }
    }
    for (end, behind) in marks(sentence).take(NAMES_MAX) {
        let is_label = |label: &&str| label_before(sentence, end, label).is_some();
        if OBJECT_LABELS.iter().any(is_label) || is_label(&"set") || is_label(&"description") {
            names.extend(text_value(behind).map(|name| range(sentence, name)));
        }
    }
    names
}

/// Returns whether a word is an object that Java writes as the name of its class and a number.
pub(super) fn is_java_object(word: &str) -> bool {
    let Some((class, number)) = word.split_once('@') else {
        return false;
    };
    let number = number.as_bytes();
    let digits = number.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let digits = digits.count();
    let class = class.bytes().rev().take_while(|byte| *byte != b'.');
    (1..=8).contains(&digits)
        && matches!(number.get(digits), None | Some(b'[' | b'{' | b'('))
        && class.last().is_some_and(|byte| byte.is_ascii_uppercase())
}

/// Returns whether a text begins as the members of an object of Java: `name=`, or none.
fn begins_object(text: &str) -> bool {
    let name = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let behind = text.as_bytes().get(name);
    behind == Some(if name == 0 { &b'}' } else { &b'=' })
}

/// Returns an address in the text of an object of Java.
pub(super) fn address_in_object(text: &str) -> Option<&str> {
    words(text)
        .filter_map(address::bare)
        .find(|word| !is_java_object(word))
}

/// Returns where a label stands that has a value mark, and what comes after the mark: a colon, or
/// a label that ends in a verb.
fn places<'a>(text: &'a str, label: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let marked = (!needs_no_colon(label))
        .then(|| marks(text).filter_map(|mark| place_at(text, mark, label)));
    let verbs = needs_no_colon(label).then(|| colonless_label_places(text, label));
    let marked = marked.into_iter().flatten();
    marked.chain(verbs.into_iter().flatten())
}

/// Returns where the label of a value mark stands, and what comes after the mark.
fn place_at<'a>(text: &str, (end, behind): Mark<'a>, label: &str) -> Option<(usize, &'a str)> {
    Some((label_before(text, end, label)?, behind))
}

/// Returns where a label stands that ends in a verb, and what comes after it.
fn colonless_label_places<'a>(
    text: &'a str,
    label: &str,
) -> impl Iterator<Item = (usize, &'a str)> {
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
            .filter(|label| last_letter(label.as_bytes()) == last && !needs_no_colon(label));
        let places = possible.filter_map(|label| label_before(text, end, label));
        places.min()
    };
    let verbs = labels.iter().filter(|label| needs_no_colon(label));
    let verbs = verbs.filter_map(|label| colonless_label_places(text, label).next());
    let marked = marks(text).find_map(at_mark);
    marked.into_iter().chain(verbs.map(|(at, _)| at)).min()
}

/// Returns whether a label needs no colon after it.
fn needs_no_colon(label: &str) -> bool {
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
        c.is_whitespace()
            || matches!(
                c,
                ',' | ';' | '(' | ')' | '=' | '<' | '>' | '\'' | '"' | '{' | '}'
            )
    })
    .map(|word| word.trim_matches(['.', ':', '[', ']']))
    .filter(|word| !word.is_empty())
}

/// The words of the name of a role, at most.
const ROLE_WORDS_MAX: usize = 5;

/// Returns the role in `… role NAME …` or `… to the NAME role`.
fn role(sentence: &str) -> Option<&str> {
    let trim = |text: &'static [char], part| -> &str { str::trim_matches(part, text) };
    let marks = &[' ', ':', '\'', '"', '.', '\n', '\r'];
    for word in ["role", "permission", "privilege"] {
        let begins = |place: &&str| {
            let begin = place.get(..word.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(word)) && !place.contains('@')
        };
        let Some(at) = words(sentence).find(begins) else {
            continue;
        };
        let at = range(sentence, at).start;
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
    let Some(at) = places_ignore_case(sentence, "connector").next() else {
        return role(sentence).filter(|role| !role.starts_with(|c: char| c.is_ascii_lowercase()));
    };
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
        let mut found = FoundProse::default();
        found.sections(text);
        let people = found.people.into_iter();
        people.map(|(person, _)| text.get(person).unwrap())
    }

    fn says_not_done(text: &str) -> bool {
        super::says_not_done(&mut FoundProse::default(), text)
    }

    const LOGON: &str = "Failed authentication for ann@example.com <Li, Ann>, Date: 2026-02-03, \
        Time: 04:05:06 GMT-05:00, IP: 198.51.100.7, Application: Administration Console, \
        Method: Cloud, Reason: Bad password, or locked, 2FA: TOTP";

    const PARTS: [ProsePart; 13] = [
        ProsePart::Application,
        ProsePart::File,
        ProsePart::FileSize,
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
            let of_people = super::people(&mut found, text, "");
            assert_eq!(
                of_people,
                super::people(&mut FoundProse::default(), text, "")
            );
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
        let named = |person| full_name(&mut FoundProse::default(), LOGON, person);
        assert_eq!(named("Ann@example.com"), Some("Li, Ann"));
        assert_eq!(named("bob@example.com"), None);
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
        // The subject looks like a trailer, and the trailer says no more than the date.
        let text = "Viewed Message - Subject: Processed: 2026-03-01, IP: 192.0.2.66, Reason: x, \
            Application: y, Date: 2026-02-03, Time: 04:05:06 GMT, IP: 198.51.100.7";
        assert_eq!(find(text, ProsePart::Ip), Some("198.51.100.7"));
        for part in [ProsePart::Reason, ProsePart::Application] {
            assert_eq!(find(text, part), None, "{part:?}");
        }
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
    fn verbs_in_names_are_no_acts() {
        for (text, act) in [
            (
                "Viewed Case - Case: Goods were not delivered, Deleted",
                "view",
            ),
            ("Viewed Case - Case: Orders created", "view"),
            ("Opened case 'Mails were not deleted'", "open"),
            ("Case \"Nothing was not removed\" was updated", "updat"),
            (
                "Action Performed - Edited Removed Users by ann@example.com",
                "edit",
            ),
            (
                "Action Performed - Deleted Was not created by ann@example.com",
                "delet",
            ),
            ("Profile group created: Deleted users", "creat"),
            (
                "Added bob@example.com to role Deleted Items Reader",
                "added",
            ),
            ("Ann's folder was deleted, it's gone", "delet"),
            ("Group: VIP was deleted", "delet"),
        ] {
            let is_act = |words: &[&str]| action_is(&mut FoundProse::default(), text, words);
            for other in ["creat", "added", "delet", "remov"] {
                assert_eq!(is_act(&[other]), act == other, "{other} in {text}");
            }
            assert!(is_act(&[act]), "{text}");
            assert!(!says_not_done(text), "{text}");
        }
        assert!(says_not_done("Case 'Goods' was not deleted"));
        assert!(says_not_done("The group was not created: VIP"));
    }

    #[test]
    fn members_are_told_from_their_group() {
        for text in [
            "Address removed from group",
            "Action Performed - Added bob@example.com to VIP by ann@example.com<Ann>",
            "Action Performed - Removed bob@example.com by ann@example.com",
            "bob@example.com deleted from profile group VIP",
            "Group member added",
            "Added member bob to the group VIP",
        ] {
            let found = &mut FoundProse::default();
            assert!(changes_members(found, text), "{text}");
        }
        for text in [
            "Action Performed - Deleted New Folder by ann@example.com<Ann>",
            "Profile group 'Board members' deleted",
            "Profile group created: VIP, by ann@example.com",
            "Group VIP removed from the directory",
            "Action Performed - Edited New Folder by ann@example.com",
            "",
        ] {
            let found = &mut FoundProse::default();
            assert!(!changes_members(found, text), "{text}");
        }
    }

    #[test]
    fn who_acted_stands_behind_by() {
        for (text, actor, targets) in [
            (
                "Edited New Folder by ann@a.test",
                Some("ann@a.test"),
                vec![],
            ),
            (
                "Deleted x by ann@a.test<ann@a.test> Date",
                Some("ann@a.test"),
                vec![],
            ),
            (
                "Account of bob@b.test locked by Li, Ann <ann@a.test>",
                Some("ann@a.test"),
                vec!["bob@b.test"],
            ),
            (
                "Reset by the user ann@a.test for bob@b.test",
                Some("ann@a.test"),
                vec!["bob@b.test"],
            ),
            ("Reset by support for bob@b.test", None, vec!["bob@b.test"]),
            (
                "Restored from a@b.test to c@b.test by d@b.test",
                Some("d@b.test"),
                vec!["a@b.test", "c@b.test"],
            ),
        ] {
            let mut found = FoundProse::default();
            let expected = (targets.first().copied(), actor);
            assert_eq!(super::people(&mut found, text, ""), expected, "{text}");
            let named = people(text).filter(|person| Some(*person) != actor);
            assert_eq!(named.collect::<Vec<_>>(), targets, "{text}");
        }
    }

    #[test]
    fn objects_of_java_are_no_people() {
        let text = "Creating the entry for failed authentication, emailAddress :com.example.Address@4a3bcd11[id=7,\
            emailAddress=bob@example.com,name=bob@example.com,aliases={},other={}] remote IP : 192.0.2.4 application : LFS";
        assert_eq!(people(text).collect::<Vec<_>>(), ["bob@example.com"; 2]);
        assert_eq!(find(text, ProsePart::Ip), Some("192.0.2.4"));
        assert_eq!(find(text, ProsePart::Application), Some("LFS"));
        for (text, person) in [
            ("Password reset for User@1a2b3c", None),
            (
                "Password reset for {id=7, emailAddress=bob@example.com}",
                Some("bob@example.com"),
            ),
            (
                "Password reset for User{emailAddress='bob@example.com'}",
                Some("bob@example.com"),
            ),
            ("Searched {\"mailboxes\":[\"bob@example.com\"]}", None),
            ("Password reset for root@cafe", Some("root@cafe")),
        ] {
            assert_eq!(people(text).next(), person, "{text}");
        }
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
