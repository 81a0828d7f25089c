//! The known names: looked up by their spelling, and predicted from the previous record.

use std::sync::LazyLock;

use super::{MemberPositionsFromOne, feed};
use crate::decode::json::{KeyTracker, Kind, Member};
use crate::field::{FieldName, NAMES, NameSet};
use crate::legacy_keys;
use crate::stream::Stream;

/// Known names by hash: open addressing in a table that is never more than a quarter full.
struct Dictionary {
    table: [u8; TABLE_LEN],
    known: Vec<KnownName>,
}

/// Made with the first record: most polls of a source that is caught up have none.
static DICTIONARY: LazyLock<Dictionary> = LazyLock::new(Dictionary::new);

const TABLE_LEN: usize = 1024;
const EMPTY: u8 = u8::MAX;

/// The longest name with two quotes and a colon.
const LITERAL_BYTES: usize = 32;

/// All names in the order of their bytes.
#[expect(
    clippy::indexing_slicing,
    reason = "the compiler evaluates it, and reports an index that is out of bounds"
)]
pub(super) const SORTED_NAMES: [FieldName; NAMES.len()] = {
    let mut ranked = [FieldName::from_index(0); NAMES.len()];
    let mut at = 0;
    let mut index = 0;
    while at < NAMES.len() {
        let mut place = at;
        while place > 0 && precedes(NAMES[at], NAMES[ranked[place - 1].index()]) {
            ranked[place] = ranked[place - 1];
            place -= 1;
        }
        ranked[place] = FieldName::from_index(index);
        at += 1;
        index += 1;
    }
    ranked
};

/// Returns whether a text is before another in the order of their bytes.
const fn precedes(text: &str, other: &str) -> bool {
    let (mut left, mut right) = (text.as_bytes(), other.as_bytes());
    loop {
        match (left, right) {
            ([a, a_rest @ ..], [b, b_rest @ ..]) if *a == *b => (left, right) = (a_rest, b_rest),
            ([a, ..], [b, ..]) => return *a < *b,
            (_, rest) => return !rest.is_empty(),
        }
    }
}

/// A known name as it stands in a record: `"name":`.
struct KnownName {
    words: [u64; LITERAL_BYTES / 8],
    /// Which bits of the words count.
    masks: [u64; LITERAL_BYTES / 8],
    /// The length of the name alone.
    length: usize,
    /// The place of the name among all names in the order of their bytes.
    rank: usize,
}

impl KnownName {
    fn new(name: &str, rank: usize) -> Self {
        let mut literal = [0; LITERAL_BYTES];
        let mut mask = [0; LITERAL_BYTES];
        let bytes = [b'"'].into_iter().chain(name.bytes()).chain(*b"\":");
        for ((to, is_used), from) in literal.iter_mut().zip(&mut mask).zip(bytes) {
            (*to, *is_used) = (from, u8::MAX);
        }
        Self {
            words: words(&literal),
            masks: words(&mask),
            length: name.len(),
            rank,
        }
    }

    /// Returns whether the text begins with this name; `false` for any text that is shorter than
    /// [`LITERAL_BYTES`].
    #[inline]
    fn is_prefix_of(&self, text: &[u8]) -> bool {
        let Some(chunk) = text.first_chunk() else {
            return false;
        };
        // Written out, since four words by way of iterators are twice as many instructions.
        let [a, b, c, d] = words(chunk);
        let [e, f, g, h] = self.words;
        let [i, j, k, l] = self.masks;
        let differences = (a ^ e) & i | (b ^ f) & j | (c ^ g) & k | (d ^ h) & l;
        differences == 0
    }
}

#[inline]
fn words(bytes: &[u8; LITERAL_BYTES]) -> [u64; LITERAL_BYTES / 8] {
    let (words, _) = bytes.as_chunks::<8>();
    match words {
        [a, b, c, d] => [a, b, c, d].map(|word| u64::from_le_bytes(*word)),
        _ => [0; LITERAL_BYTES / 8],
    }
}

impl Dictionary {
    #[cold]
    fn new() -> Self {
        let mut table = [EMPTY; TABLE_LEN];
        let mut ranks = [0; NAMES.len()];
        for (rank, name) in SORTED_NAMES.iter().enumerate() {
            if let Some(to) = ranks.get_mut(name.index()) {
                *to = rank;
            }
        }
        for (at, name) in (0..).zip(NAMES) {
            let mut place = Self::hash(name);
            while let Some(cell) = table.get_mut(place) {
                if *cell == EMPTY {
                    *cell = at;
                    break;
                }
                place = (place + 1) % TABLE_LEN;
            }
        }
        let names = NAMES.iter().zip(ranks);
        Self {
            table,
            known: names
                .map(|(name, rank)| KnownName::new(name, rank))
                .collect(),
        }
    }

    fn look_up(&self, key: &str) -> Option<FieldName> {
        let mut place = Self::hash(key);
        loop {
            let candidate = *self.table.get(place)?;
            // The empty mark is no position in the list, so this ends at an empty cell.
            let name = NAMES.get(usize::from(candidate))?;
            if *name == key {
                return Some(FieldName::from_index(candidate));
            }
            place = (place + 1) % TABLE_LEN;
        }
    }

    /// Mixes the first eight bytes, padded with zeros, and the last four.
    fn hash(key: &str) -> usize {
        let bytes = key.as_bytes();
        let prefix = match bytes.first_chunk() {
            Some(word) => u64::from_be_bytes(*word),
            None => bytes
                .iter()
                .chain(&[0; 8])
                .take(8)
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        let tail = bytes
            .last_chunk()
            .map_or(0, |tail| u32::from_le_bytes(*tail));
        let mixed = (prefix ^ u64::from(tail).rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        usize::try_from(mixed >> 54).unwrap_or(0)
    }
}

/// Predicts which known name follows which, from the records before. Records of one stream are alike,
/// so the next name is mostly the predicted one, and needs no more than a comparison.
pub(super) struct KeyPredictor {
    /// The next name by the one before; the last place is for the beginning and for unknown names.
    next: [Option<FieldName>; NAMES.len() + 1],
}

impl KeyPredictor {
    pub(super) const fn new() -> Self {
        Self {
            next: [None; NAMES.len() + 1],
        }
    }
}

/// Reads the names of one record.
pub(super) struct KnownKeyTracker<'p, 't> {
    dictionary: &'static Dictionary,
    stream: Stream,
    predictor: &'p mut KeyPredictor,
    names: &'p mut Vec<Option<FieldName>>,
    member_positions: &'p mut MemberPositionsFromOne,
    /// The index in the predictor of the name seen last.
    previous_index: usize,
    /// The text of the name seen last, and its rank. Where there is a rank, only the rank is up to date.
    previous: (&'t str, Option<usize>),
    is_sorted: bool,
    are_all_known: bool,
    /// A known name came again, as an alias or after an alias or an unknown name.
    is_ambiguous: bool,
}

impl<'p> KnownKeyTracker<'p, '_> {
    pub(super) fn new(
        stream: Stream,
        predictor: &'p mut KeyPredictor,
        names: &'p mut Vec<Option<FieldName>>,
        member_positions: &'p mut MemberPositionsFromOne,
    ) -> Self {
        names.clear();
        member_positions.fill(0);
        Self {
            dictionary: &DICTIONARY,
            stream,
            predictor,
            names,
            member_positions,
            previous_index: NAMES.len(),
            previous: ("", None),
            is_sorted: true,
            are_all_known: true,
            is_ambiguous: false,
        }
    }

    /// Returns whether all names are known and have their known spelling.
    pub(super) const fn are_all_known(&self) -> bool {
        self.are_all_known
    }

    /// Returns whether [`resolve_spellings`] has to choose between members.
    pub(super) const fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    #[inline]
    fn push_name(&mut self, name: Option<FieldName>) {
        self.names.push(name);
        self.previous_index = name.map_or(NAMES.len(), FieldName::index);
        if let Some(slot) = self.member_positions.get_mut(self.previous_index) {
            self.is_ambiguous |= *slot != 0 && !self.are_all_known;
            *slot = u16::try_from(self.names.len()).unwrap_or(0);
        }
    }
}

impl<'t> KeyTracker<'t> for KnownKeyTracker<'_, 't> {
    #[inline]
    fn match_expected(&mut self, rest: &[u8]) -> Option<usize> {
        let name = (*self.predictor.next.get(self.previous_index)?)?;
        let known = self.dictionary.known.get(name.index())?;
        if !known.is_prefix_of(rest) {
            return None;
        }
        match self.previous.1 {
            Some(rank) => self.is_sorted &= rank < known.rank,
            None => {
                let spelling = NAMES.get(name.index()).copied().unwrap_or_default();
                self.is_sorted &= self.names.is_empty() || self.previous.0 < spelling;
            }
        }
        self.previous.1 = Some(known.rank);
        self.push_name(Some(name));
        Some(known.length)
    }

    #[cold]
    fn push_unexpected(&mut self, key: &'t str, escaped: bool) {
        if let Some(name) = resolve_alias(self.stream, key).filter(|_| !escaped) {
            // Its spelling is not that of its name: whether the members are sorted can no longer be decided.
            self.is_sorted = false;
            self.are_all_known = false;
            self.previous = (key, None);
            return self.push_name(Some(name));
        }
        let name = if escaped {
            None
        } else {
            self.dictionary.look_up(key)
        };
        let rank = name
            .and_then(|name| self.dictionary.known.get(name.index()))
            .map(|known| known.rank);
        let follows = match (self.previous.1, rank) {
            (Some(before), Some(rank)) => before < rank,
            // The name is unknown, and of the one before only the rank is known.
            (Some(_), None) => NAMES
                .get(self.previous_index)
                .is_some_and(|previous| *previous < key),
            (None, _) => self.names.is_empty() || self.previous.0 < key,
        };
        self.is_sorted &= follows && !escaped;
        if let Some(next) = self
            .predictor
            .next
            .get_mut(self.previous_index)
            .filter(|_| name.is_some())
        {
            *next = name;
        }
        self.are_all_known &= name.is_some();
        self.previous = (key, rank);
        self.push_name(name);
    }

    fn is_sorted(&self) -> bool {
        self.is_sorted
    }
}

/// Returns the name that a field of API 1.0 has in API 2.0, or that a column of a threat feed has.
fn resolve_alias(stream: Stream, key: &str) -> Option<FieldName> {
    if stream.is_gateway_siem() {
        legacy_keys::look_up(stream, key)
    } else if stream.is_threat_feed() {
        feed::look_up(key)
    } else {
        None
    }
}

/// Chooses the member that has a name where a record has several spellings of the name: two values
/// would become one otherwise. A known spelling counts before aliases unless its value is `null`, and
/// the first alias before the others; of one spelling the last member counts, as in all JSON. The
/// members with other spellings are unknown, so that they are copied unchanged.
#[cold]
#[inline(never)]
pub(super) fn resolve_spellings(
    stream: Stream,
    input: &str,
    members: &[Member],
    names: &mut [Option<FieldName>],
    member_positions: &mut MemberPositionsFromOne,
) {
    let name_and_key = |member: &Member| {
        let key = member.key.of(input);
        let name = resolve_alias(stream, key).or_else(|| DICTIONARY.look_up(key));
        name.filter(|_| !member.key_escaped).map(|name| (name, key))
    };
    let mut names_with_value = NameSet::default();
    let mut aliases: Vec<(FieldName, &str)> = Vec::new();
    for member in members {
        let Some((name, key)) = name_and_key(member) else {
            continue;
        };
        if key != name.spelling() {
            if !aliases.iter().any(|(known, _)| *known == name) {
                aliases.push((name, key));
            }
        } else if member.kind == Kind::Null {
            names_with_value.remove(name);
        } else {
            names_with_value.insert(name);
        }
    }
    member_positions.fill(0);
    for ((at, member), to) in (1..).zip(members).zip(names) {
        *to = name_and_key(member).and_then(|(name, key)| {
            let mut candidate_aliases = aliases.iter().filter(|_| !names_with_value.contains(name));
            let preferred_alias = candidate_aliases.find(|(known, _)| *known == name);
            (key == preferred_alias.map_or_else(|| name.spelling(), |(_, alias)| alias))
                .then_some(name)
        });
        if let Some(slot) = to.and_then(|name| member_positions.get_mut(name.index())) {
            *slot = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_and_no_other() {
        let dictionary = Dictionary::new();
        assert!(NAMES.len() * 4 <= TABLE_LEN && NAMES.len() < usize::from(EMPTY));
        for (at, name) in NAMES.iter().enumerate() {
            assert!(name.len() + 3 <= LITERAL_BYTES, "{name} is too long");
            assert_eq!(dictionary.look_up(name).map(FieldName::index), Some(at));
            let line = format!("{{\"{name}\":{:40}}}", 1);
            assert!(dictionary.known[at].is_prefix_of(&line.as_bytes()[1..]));
            let longer = format!("\"{name}s\":{:40}", 1);
            assert!(!dictionary.known[at].is_prefix_of(longer.as_bytes()));
        }
        assert_eq!(dictionary.look_up(""), None);
        assert_eq!(FieldName::from_spelling("senderip"), None);
    }
}
