//! What the prose of an audit event says, each fact by itself.
//!
//! The wording changes from release to release, so no pattern covers a whole sentence. Some texts quote
//! what others have written: the sender and the subject of a message, the words of a search, or the name
//! with which a logon was tried. A quotation is never evidence: facts are read from the text before it
//! and from the trailer after it (`Processed: …` or `Date: …, Time: …, IP: …`, whichever begins last),
//! and the last occurrence of a label counts; of the labels of objects, of files and of an outcome before the
//! trailer, the first.
//!
//! The names that an administrator gives to things are no evidence of what was done either: no verb is
//! looked for in a name, which is in quotes or after a label.

mod labels;
mod sentence;

use core::ops::Range;

use super::values::{is_placeholder, positions_ignore_case};
use super::{address, files};
use labels::{
    LABELS, OCCURRENCES_MAX, first_label, ip_value, label_start, last_label, last_value,
    separators, text_value, value_by_priority,
};

/// A part of the prose that can be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProsePart {
    /// The application that was used.
    Application,
    /// The name of a file.
    File,
    /// The extension of that name, as it stands.
    FileExtension,
    /// The size of a file in bytes.
    FileSize,
    /// A hexadecimal hash of that many digits.
    Hash(usize),
    /// The address from which the user came.
    Ip,
    /// The method by which the user was authenticated.
    Method,
    /// The second factor.
    Mfa,
    /// The name of the object that was acted on.
    Object,
    /// The port from which the user came.
    Port,
    /// Why something failed.
    Reason,
    /// The role that was granted or revoked.
    Role,
}

/// The labels of the address from which a user came.
const IP_LABELS: &[&str] = &["remote ip is", "remote ip", "ip address", "ip"];

/// The labels of texts that the sender of a message wrote.
const MESSAGE_TEXT_LABELS: &[&str] = &["from", "to", "subject", "sender", "recipient"];

/// The labels of texts that a user typed.
const USER_INPUT_LABELS: &[&str] = &[
    "search text",
    "text",
    "query",
    "keywords",
    "comment",
    "comments",
];

/// The labels of outcomes.
const OUTCOME_LABELS: &[&str] = &["success", "status", "result", "outcome"];

/// The values of an outcome that stand for a failure.
const FAILURE_OUTCOMES: &[&str] = &[
    "false",
    "no",
    "failed",
    "failure",
    "error",
    "unsuccessful",
    "denied",
    "rejected",
];

/// The labels in front of the name of an object.
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

/// Prepositions before an address. That of who acted follows the first; the others introduce someone else.
const PREPOSITIONS: &[&str] = &["by", "for", "from", "of", "on", "to"];

/// Within how many words after "by" the address of who acted has to come, itself included. Before it are the
/// words of a name.
const ACTOR_WORDS_MAX: usize = 6;

/// How many names in quotes and how many labels are looked for, so that a search takes linear time.
const NAMES_MAX: usize = 32;

/// The texts that end the name of a role.
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

/// What has been found in the prose of one record. The rows and rules ask for the same parts many times,
/// and finding them is expensive.
#[derive(Default)]
pub(super) struct ProseCache {
    /// The length of the text that was read, if one was. A record has only one field of prose, so a text
    /// of the same length is the same text.
    length: Option<usize>,
    ranges: SectionRanges,
    /// The words of the sentence.
    words: Vec<Range<usize>>,
    /// The addresses among them, and whether the address is that of who acted.
    people: Vec<(Range<usize>, bool)>,
    /// The sentence as [`sentence`] expects it.
    normalized_sentence: String,
    /// The parts that were asked for, by [`ProsePart::cache_index`]; `Some(None)` for those that the text
    /// does not have.
    parts: [Option<Option<Range<usize>>>; CACHED_PARTS],
    /// Whether the text reports a failure, if that was asked.
    reports_failure: Option<bool>,
}

/// How many parts are cached.
const CACHED_PARTS: usize = 10;

impl ProseCache {
    /// Empties the cache for another record.
    pub(super) fn clear(&mut self) {
        if self.length.take().is_some() {
            self.parts = Default::default();
            self.reports_failure = None;
        }
    }

    /// Returns the sections of the text, which is read unless the cache is of this text already.
    fn sections<'a>(&'a mut self, text: &'a str) -> ProseSections<'a> {
        if self.length != Some(text.len()) {
            self.clear();
            self.length = Some(text.len());
            self.ranges = SectionRanges::find(text);
            let sentence = text.get(self.ranges.sentence.clone()).unwrap_or_default();
            self.words.clear();
            self.words
                .extend(words(sentence).map(|word| range_of(text, word)));
            let names = object_names(sentence);
            self.scan_sentence(text, &names);
            // Without a verb the names cannot be distinguished from the sentence.
            if !names.is_empty() && !sentence::has_verb(&self.normalized_sentence) {
                self.scan_sentence(text, &[]);
            }
        }
        let part = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        let [trailer, before] = &self.ranges.label_sections;
        ProseSections {
            text,
            sentence: part(&self.ranges.sentence),
            label_sections: [part(trailer), part(before)],
            before_trailer: part(&self.ranges.before_trailer),
            words: &self.words,
            normalized_sentence: &self.normalized_sentence,
        }
    }

    /// Finds the people in the sentence and normalizes it. Words in the ranges of `names` are left out.
    fn scan_sentence(&mut self, text: &str, names: &[Range<usize>]) {
        self.people.clear();
        self.normalized_sentence.clear();
        // Within how many words the address of who acted may still come.
        let mut actor_words_left = 0;
        for range in &self.words {
            let word = text.get(range.clone()).unwrap_or_default();
            self.normalized_sentence.push(' ');
            if word.contains('@') {
                self.normalized_sentence.push('@');
                if let Some(person) = address::bare(word).filter(|_| !is_java_object(word)) {
                    let is_actor = actor_words_left > 0;
                    self.people.push((range_of(text, person), is_actor));
                    // The address may be repeated in angle brackets.
                    actor_words_left = actor_words_left.min(1);
                }
            } else if !names.iter().any(|name| name.contains(&range.start)) {
                self.normalized_sentence.push_str(word);
                let is_word = |known: &&str| known.eq_ignore_ascii_case(word);
                actor_words_left = match PREPOSITIONS.iter().position(is_word) {
                    Some(0) => ACTOR_WORDS_MAX,
                    Some(_) => 0,
                    None => actor_words_left.saturating_sub(1),
                };
            }
        }
        self.normalized_sentence.push(' ');
        self.normalized_sentence.make_ascii_lowercase();
    }
}

/// Returns the range of a text that one of its slices is.
fn range_of(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start + part.len()
}

/// The sections of a text in which parts are looked for.
struct ProseSections<'a> {
    text: &'a str,
    /// The sentence: what was done, by whom and to what. It ends before the first label.
    sentence: &'a str,
    /// Where labels are looked for: first in the trailer, then before a quotation.
    label_sections: [&'a str; 2],
    /// The text before the trailer where nothing is quoted. Only an outcome is looked for there.
    before_trailer: &'a str,
    /// The words of the sentence, as ranges of the text.
    words: &'a [Range<usize>],
    /// [`ProseCache::normalized_sentence`].
    normalized_sentence: &'a str,
}

/// The ranges of the [`ProseSections`] in their text.
#[derive(Clone, Debug, Default)]
struct SectionRanges {
    sentence: Range<usize>,
    label_sections: [Range<usize>; 2],
    before_trailer: Range<usize>,
}

impl SectionRanges {
    fn find(text: &str) -> Self {
        let after = |at: usize| text.get(at..).unwrap_or_default();
        let before = |at: usize| text.get(..at).unwrap_or_default();
        let message_texts = first_label(text, MESSAGE_TEXT_LABELS);
        // Braces begin the search criteria, which are JSON, or with `name=value` in them a Java object.
        let mut braces = text
            .match_indices('{')
            .take(OCCURRENCES_MAX)
            .map(|(at, _)| at);
        let json = braces.find(|at| !begins_java_members(after(at + 1)));
        let user_input = first_label(text, USER_INPUT_LABELS)
            .into_iter()
            .chain(json)
            .min();
        let trailer = |from| {
            let date = last_label(text, from, "date")
                .filter(|date| last_label(text, *date, "time").is_some());
            last_label(text, from, "processed").max(date)
        };
        let length = text.len();
        let mut before_trailer = 0..0;
        let (prose_end, label_sections) = match message_texts.into_iter().chain(user_input).min() {
            Some(at) => {
                // After a text that a user typed the trailer may have no date, and begins with the address.
                // A text by an outsider must not decide where the trailer begins.
                let last_ip = || {
                    let ips = IP_LABELS
                        .iter()
                        .filter_map(|label| last_label(text, at, label));
                    ips.max()
                };
                let trailer = trailer(at).or_else(|| message_texts.is_none().then(last_ip)?);
                (at, [trailer.unwrap_or(length)..length, 0..at])
            }
            None => match trailer(0) {
                Some(at) => {
                    before_trailer = 0..at;
                    (at, [at..length, 0..0])
                }
                None => (length, [0..length, 0..0]),
            },
        };
        let end = first_label(before(prose_end), LABELS);
        Self {
            sentence: 0..end.unwrap_or(prose_end),
            label_sections,
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

    /// Returns the value of the last of these labels that has one, in the first section that has one.
    fn value<T>(&self, labels: &[&str], parse: fn(&'a str) -> Option<T>) -> Option<T> {
        self.label_sections
            .iter()
            .find_map(|section| last_value(section, labels, parse))
    }
}

impl ProsePart {
    /// Returns the index in [`ProseCache::parts`]; `None` for a part that is not cached, since it is found
    /// quickly or asked for once.
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

/// Returns that part of the text, if it is there.
pub(super) fn find<'t>(cache: &mut ProseCache, text: &'t str, part: ProsePart) -> Option<&'t str> {
    if part == ProsePart::FileExtension {
        return find(cache, text, ProsePart::File).and_then(files::extension);
    }
    let sections = cache.sections(text);
    let Some(index) = part.cache_index() else {
        return sections
            .find(part)
            .and_then(|part| text.get(range_of(text, part)));
    };
    let cached = cache.parts.get(index).cloned().flatten();
    let range = cached.unwrap_or_else(|| {
        let found = cache
            .sections(text)
            .find(part)
            .map(|part| range_of(text, part));
        if let Some(slot) = cache.parts.get_mut(index) {
            *slot = Some(found.clone());
        }
        found
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
pub(super) fn names_person(cache: &mut ProseCache, text: &str) -> bool {
    cache.sections(text);
    !cache.people.is_empty()
}

/// Returns whether the sentence names a person who did not act.
pub(super) fn names_target(cache: &mut ProseCache, text: &str) -> bool {
    target_and_actor(cache, text, "").0.is_some()
}

/// Returns whether the sentence names a role and a person who did not act.
pub(super) fn names_role_and_target(cache: &mut ProseCache, text: &str) -> bool {
    find(cache, text, ProsePart::Role).is_some() && names_target(cache, text)
}

/// Returns the address of the target, which is the person whom the action concerns, and that of the actor,
/// which comes after "by". The target is the first person who is not the actor; where that is `user`, it is
/// the next one, if there is one.
pub(super) fn target_and_actor<'t>(
    cache: &mut ProseCache,
    text: &'t str,
    user: &str,
) -> (Option<&'t str>, Option<&'t str>) {
    cache.sections(text);
    let (mut target, mut actor) = (None, None);
    for (range, is_actor) in &cache.people {
        let person = text.get(range.clone());
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
    cache: &mut ProseCache,
    text: &'t str,
    person: &str,
) -> Option<&'t str> {
    cache.sections(text);
    let sentence = text.get(cache.ranges.sentence.clone())?;
    cache
        .people
        .iter()
        .take(OCCURRENCES_MAX)
        .find_map(|(range, _)| {
            let after = sentence.get(range.end..)?.trim_start();
            let end = after.find('>')?;
            let name = after.get(1..end).unwrap_or_default().trim();
            let is_person = sentence.get(range.clone())?.eq_ignore_ascii_case(person);
            let is_name = after.starts_with('<') && !name.is_empty() && !name.contains(['@', '<']);
            (is_person && is_name).then_some(name)
        })
}

/// Returns whether a word of the sentence, outside names, begins with one of these.
pub(super) fn has_word_prefix(cache: &mut ProseCache, text: &str, words: &[&str]) -> bool {
    sentence::find_word_prefix(cache.sections(text).normalized_sentence, words).is_some()
}

/// Returns whether one of these verbs says what was done; also where a verb for changing comes before it,
/// if `allow_change_before`.
pub(super) fn action_is(
    cache: &mut ProseCache,
    text: &str,
    verbs: &[&str],
    allow_change_before: bool,
) -> bool {
    let sentence = cache.sections(text).normalized_sentence;
    let position = sentence::action_position(sentence, verbs);
    position.is_some_and(|at| allow_change_before || !sentence::is_change_before(sentence, at))
}

/// Returns whether something was added to a group or removed from it, rather than the group itself
/// created or deleted.
pub(super) fn changes_members(cache: &mut ProseCache, text: &str) -> bool {
    let has_target = names_target(cache, text);
    sentence::changes_members(cache.sections(text).normalized_sentence, has_target)
}

/// Returns whether the text says that something was not done.
pub(super) fn reports_failure(cache: &mut ProseCache, text: &str) -> bool {
    cache.sections(text);
    if let Some(known) = cache.reports_failure {
        return known;
    }
    let reports_failure = cache.sections(text).reports_failure();
    cache.reports_failure = Some(reports_failure);
    reports_failure
}

impl ProseSections<'_> {
    fn reports_failure(&self) -> bool {
        let outcome = self.value(OUTCOME_LABELS, text_value);
        if let Some(outcome) =
            outcome.or_else(|| value_by_priority(self.before_trailer, OUTCOME_LABELS))
        {
            return FAILURE_OUTCOMES
                .iter()
                .any(|word| outcome.eq_ignore_ascii_case(word));
        }
        sentence::reports_failure(self.normalized_sentence)
    }
}

/// Returns the names of objects: texts in quotes, and the values of the labels of objects.
fn object_names(sentence: &str) -> Vec<Range<usize>> {
    let mut names = quotations(sentence);
    for (end, after) in separators(sentence).take(NAMES_MAX) {
        let is_label = |label: &&str| label_start(sentence, end, label).is_some();
        if OBJECT_LABELS.iter().any(is_label) || is_label(&"set") || is_label(&"description") {
            names.extend(text_value(after).map(|name| range_of(sentence, name)));
        }
    }
    names
}

/// Returns the first texts in quotes, each with its first quote. A quote begins no text after a letter or
/// digit, and ends none before one (every byte that is not ASCII counts as a letter): there it is an
/// apostrophe.
#[inline(never)]
fn quotations(sentence: &str) -> Vec<Range<usize>> {
    let bytes = sentence.as_bytes();
    let is_word_byte =
        |at: usize| (bytes.get(at)).is_some_and(|it| it.is_ascii_alphanumeric() || !it.is_ascii());
    let mut found = Vec::new();
    let mut open = None;
    for (at, byte) in bytes.iter().enumerate() {
        match open {
            None if matches!(byte, b'\'' | b'"') && !is_word_byte(at.wrapping_sub(1)) => {
                open = Some((at, byte));
            }
            Some((start, quote)) if byte == quote && !is_word_byte(at + 1) => {
                found.push(start..at);
                open = None;
                if found.len() == NAMES_MAX {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// Returns whether a word is a Java object, written as the name of its class and a hexadecimal number.
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

/// Returns whether a text begins like the members of a Java object: with `name=`, or with their end.
fn begins_java_members(text: &str) -> bool {
    let name = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let after = text.as_bytes().get(name);
    after == Some(if name == 0 { &b'}' } else { &b'=' })
}

/// Returns the first address in the text of a Java object.
pub(super) fn address_in_object(text: &str) -> Option<&str> {
    words(text)
        .filter_map(address::bare)
        .find(|word| !is_java_object(word))
}

/// Returns the words of a sentence, without the punctuation around them.
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

/// The most words that the name of a role has; more are a clause.
const ROLE_WORDS_MAX: usize = 5;

/// Returns the role in `… role NAME …` or `… to the NAME role`.
fn role(sentence: &str) -> Option<&str> {
    let trim = |characters: &'static [char], part| -> &str { str::trim_matches(part, characters) };
    let punctuation = &[' ', ':', '\'', '"', '.', '\n', '\r'];
    for word in ["role", "permission", "privilege"] {
        let begins_with_word = |candidate: &&str| {
            let begin = candidate.get(..word.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(word)) && !candidate.contains('@')
        };
        let Some(found) = words(sentence).find(begins_with_word) else {
            continue;
        };
        let at = range_of(sentence, found).start;
        let after = sentence.get(at + word.len()..)?;
        let after = after.strip_prefix('s').unwrap_or(after);
        let end = ROLE_ENDS.iter().filter_map(|end| after.find(end)).min();
        let name = trim(punctuation, after.get(..end.unwrap_or(after.len()))?);
        if !name.is_empty() && address::bare(name).is_none() {
            return Some(name);
        }
        let before = sentence.get(..at)?;
        let name = [" to the ", " from the ", " to ", " from "]
            .iter()
            .find_map(|preposition| before.rsplit_once(preposition))
            .map(|(_, name)| trim(punctuation, name))
            .filter(|name| !name.is_empty() && address::bare(name).is_none())
            .filter(|name| name.split_whitespace().count() <= ROLE_WORDS_MAX);
        if name.is_some() {
            return name;
        }
    }
    None
}

/// Returns the object that was acted on: the number of an incident, a name in quotes or after a label,
/// the product for which a connector is, or else a role whose name does not begin with a lower-case letter.
fn object<'a>(sections: &ProseSections<'a>) -> Option<&'a str> {
    let sentence = sections.sentence;
    let is_incident = |word: &&str| word.starts_with("TR-") && word.len() > 3;
    if let Some(incident) = sections.words().find(is_incident) {
        return Some(incident);
    }
    for name in quotations(sentence) {
        let name = sentence.get(name.start + 1..name.end)?.trim();
        if !name.is_empty() {
            return Some(name);
        }
    }
    let labelled_name = value_by_priority(sentence, OBJECT_LABELS);
    if labelled_name.is_some() {
        return labelled_name;
    }
    let Some(at) = positions_ignore_case(sentence, "connector").next() else {
        return role(sentence).filter(|role| !role.starts_with(|c: char| c.is_ascii_lowercase()));
    };
    let (_, name) = sentence.get(at..)?.split_once(" for ")?;
    let name = name.split(['\n', '\r', ',']).next()?.trim();
    (!is_placeholder(name) && address::bare(name).is_none()).then_some(name)
}

/// Returns the name of a file: the value of its label, or else a word with a known extension.
fn file<'a>(sections: &ProseSections<'a>) -> Option<&'a str> {
    let sentence = sections.sentence;
    let labelled_name = value_by_priority(sentence, &["file name", "filename", "file"]);
    let has_known_extension = |word: &&str| {
        let is_known = |extension: &str| {
            [
                "csv", "eml", "json", "pdf", "pst", "txt", "xls", "xlsx", "xml", "zip",
            ]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(extension))
        };
        !word.contains('@') && files::extension(word).is_some_and(is_known)
    };
    labelled_name.or_else(|| sections.words().find(has_known_extension))
}

/// Returns the digits of a size that is in bytes.
fn size(text: &str) -> Option<&str> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit());
    let (digits, unit) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let is_bytes = matches!(unit.trim(), "" | "B" | "bytes" | "byte");
    (is_bytes && super::values::long(digits).is_some()).then_some(digits)
}

#[cfg(test)]
mod tests;
