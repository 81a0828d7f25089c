//! What the sentence of an audit event says was done, or was not.
//!
//! The sentence is normalized: its words are in lower case with a space before and after each of them,
//! and the names in it are left out, since a verb in a name is no evidence of an action. An address is
//! an `@`.

use super::super::values::{contains_ignore_case, positions_ignore_case};

/// Verbs with which a sentence begins that says what was done to the object after them.
#[rustfmt::skip]
const LEADING_VERBS: &[&str] = &[
    "added", "changed", "closed", "created", "deleted", "edited", "exported", "modified", "opened", "removed",
    "restored", "updated", "viewed",
];

/// The stems of verbs for creating, deleting, granting and revoking.
const ACTION_STEMS: &[&str] = &[
    "creat", "added", "delet", "remov", "revok", "assign", "grant",
];

/// The verbs for changing. Their stems also begin nouns, such as that for an editor.
const CHANGE_VERBS: &[&str] = &["changed", "edited", "modified", "updated"];

/// The stems of words for all that can be done to an object.
#[rustfmt::skip]
const VERB_STEMS: &[&str] = &[
    "creat", "added", "delet", "remov", "chang", "updat", "edit", "modif", "view", "open", "export", "new ",
];

/// The stems of verbs by which a member enters a group or leaves it.
const MEMBERSHIP_STEMS: &[&str] = &["added", "delet", "remov"];

/// Words with which the sentence of a failure begins.
const FAILURE_PREFIXES: &[&str] = &[
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

/// Words that the sentence of a failure contains.
const FAILURE_PHRASES: &[&str] = &[
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

/// Returns whether the sentence contains a verb.
pub(super) fn has_verb(sentence: &str) -> bool {
    find_word_prefix(sentence, VERB_STEMS).is_some()
}

/// Returns where the first of these words begins; the start of a word is enough. A word that ends in a
/// space is looked for at the beginning of the sentence only.
pub(super) fn find_word_prefix(sentence: &str, words: &[&str]) -> Option<usize> {
    let position = |word: &&str| {
        let is_start = |at: &usize| match at.checked_sub(1) {
            Some(0) => true,
            Some(before) => sentence.as_bytes().get(before) == Some(&b' ') && !word.ends_with(' '),
            None => false,
        };
        positions_ignore_case(sentence, word).find(is_start)
    };
    words.iter().filter_map(position).min()
}

/// Returns whether a verb for changing comes before a position.
pub(super) fn is_change_before(sentence: &str, at: usize) -> bool {
    find_word_prefix(sentence, CHANGE_VERBS).is_some_and(|change| change < at)
}

/// Returns where one of these verbs is, if it says what was done, or how something was changed: if the
/// sentence begins with it, or no verb for creating, deleting, granting or revoking comes before it.
pub(super) fn action_position(sentence: &str, verbs: &[&str]) -> Option<usize> {
    if let Some(at) = leading_verb(sentence) {
        let begins = |word: &&str| {
            sentence
                .get(at..)
                .is_some_and(|sentence| sentence.starts_with(word))
        };
        return verbs.iter().any(begins).then_some(at);
    }
    let at = find_word_prefix(sentence, verbs)?;
    let first = find_word_prefix(sentence, ACTION_STEMS);
    first.is_none_or(|first| at <= first).then_some(at)
}

/// Returns the position of the verb with which a sentence begins that names the object after it.
fn leading_verb(sentence: &str) -> Option<usize> {
    const INTRODUCTION: &str = " action performed -";
    let is_introduced = sentence.starts_with(INTRODUCTION);
    let at = 1 + if is_introduced { INTRODUCTION.len() } else { 0 };
    let verb = sentence.get(at..)?;
    let begins = |word: &&str| verb.starts_with(word);
    LEADING_VERBS.iter().any(begins).then_some(at)
}

/// Returns whether something was added to a group or removed from it, rather than the group itself
/// created or deleted. `has_target` tells whether the sentence names a person who did not act.
pub(super) fn changes_members(sentence: &str, has_target: bool) -> bool {
    let Some(at) = action_position(sentence, MEMBERSHIP_STEMS) else {
        return false;
    };
    let (before, after) = sentence.split_at_checked(at).unwrap_or_default();
    let is_added = after.starts_with("added");
    let preposition = after.find(if is_added { " to " } else { " from " });
    let object = after.get(..preposition.unwrap_or(after.len()));
    let mentions = |word| {
        [before, object.unwrap_or_default()]
            .iter()
            .any(|part| contains_ignore_case(part, word))
    };
    let is_group = mentions("group") || mentions("folder");
    mentions("member") || !is_group && (preposition.is_some() || has_target)
}

/// Returns whether the sentence says that something was not done.
pub(super) fn reports_failure(sentence: &str) -> bool {
    leading_verb(sentence).is_none()
        && (sentence.ends_with(" failed ")
            || find_word_prefix(sentence, FAILURE_PHRASES).is_some()
            || FAILURE_PREFIXES
                .iter()
                .any(|word| find_word_prefix(sentence, &[word]) == Some(1)))
}
