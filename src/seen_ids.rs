//! The identities of records that may come again, bounded so that they fit into a checkpoint.
//!
//! Where they no longer fit, some are forgotten: their records would be repeated with the same id, never
//! dropped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::identity::RecordId;
use crate::time::Timestamp;

/// The bytes of an identity that are stored: 96 of 128 bits. To make two records collide takes about
/// 2⁴⁸ tries, and the text form needs no padding.
const KEY_BYTES: usize = 12;
type Key = [u8; KEY_BYTES];

/// A bounded set of record identities with the time of each record.
#[derive(Clone, Debug, Default)]
pub struct SeenIds {
    /// In the order of insertion.
    entries: VecDeque<(Timestamp, Key)>,
    keys: BTreeSet<Key>,
    capacity: usize,
    /// Entries between these times are forgotten first.
    evictable: Option<(Timestamp, Timestamp)>,
    /// How many identities were dropped although their records will come again.
    evicted_overlap_id_count: u32,
}

impl SeenIds {
    /// Creates an empty set for at most `capacity` identities.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            ..Self::default()
        }
    }

    /// Returns whether the record is in the set.
    #[must_use]
    pub fn contains(&self, id: &RecordId) -> bool {
        self.keys.contains(&key(id))
    }

    /// Returns how many identities are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Remembers a record, and forgets one where there is no room: another, or this one where all others are
    /// still needed (see `forget_one`).
    pub fn insert(&mut self, id: &RecordId, at: Timestamp) {
        let key = key(id);
        if !self.keys.insert(key) {
            return;
        }
        self.entries.push_back((at, key));
        if self.entries.len() > self.capacity {
            self.forget_one();
        }
    }

    /// Returns how many identities of windows were dropped although their records will come again, and
    /// resets the count.
    pub fn take_evicted_overlap_id_count(&mut self) -> u32 {
        core::mem::take(&mut self.evicted_overlap_id_count)
    }

    /// Forgets one entry. With an evictable range: the oldest entry in it, or the newest entry where none
    /// is in it, because dropping the oldest would make each record of the next window evict the one that
    /// is needed next, so that all of them repeat. Without a range: the oldest entry.
    fn forget_one(&mut self) {
        let is_evictable = |(at, _): &(Timestamp, Key)| {
            self.evictable
                .is_some_and(|(after, before)| after < *at && *at < before)
        };
        let evictable = self.entries.iter().position(is_evictable);
        let last = self.evictable.map(|_| self.entries.len().saturating_sub(1));
        if evictable.is_none() && last.is_some() {
            self.evicted_overlap_id_count = self.evicted_overlap_id_count.saturating_add(1);
        }
        let evicted_index = evictable.or(last).unwrap_or(0);
        if let Some((_, key)) = self.entries.remove(evicted_index) {
            self.keys.remove(&key);
        }
    }

    /// Sets the times between which entries are not needed again: this window overlaps the last one up
    /// to `after`, and the next one will overlap it from `before` on.
    pub const fn set_evictable(&mut self, after: Timestamp, before: Timestamp) {
        self.evictable = Some((after, before));
    }

    /// Forgets the entries of records before `from`.
    pub fn forget_before(&mut self, from: Timestamp) {
        let keys = &mut self.keys;
        self.entries.retain(|(at, key)| {
            let keep = *at >= from;
            if !keep {
                keys.remove(key);
            }
            keep
        });
    }

    /// Returns the set as text: 24 characters an entry: the time in milliseconds and the identity, in
    /// base64.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(self.entries.len().saturating_mul(KEY_BYTES + 6));
        for (at, key) in &self.entries {
            // Six bytes hold milliseconds until the year 10889; times before 1970 count as 1970.
            let ms = u64::try_from(at.millis()).unwrap_or(0).to_be_bytes();
            bytes.extend_from_slice(ms.get(2..).unwrap_or_default());
            bytes.extend_from_slice(key);
        }
        STANDARD_NO_PAD.encode(bytes)
    }

    /// Parses the output of [`SeenIds::to_text`]; `None` for any other text.
    #[must_use]
    pub fn from_text(text: &str, capacity: usize) -> Option<Self> {
        let bytes = STANDARD_NO_PAD.decode(text).ok()?;
        let mut set = Self::new(capacity);
        let entries = bytes.chunks_exact(KEY_BYTES + 6);
        if !entries.remainder().is_empty() {
            return None;
        }
        for entry in entries {
            let (time, key) = entry.split_at_checked(6)?;
            let mut ms = [0; 8];
            ms.get_mut(2..)?.copy_from_slice(time);
            let at = Timestamp::from_millis(i64::try_from(u64::from_be_bytes(ms)).ok()?);
            let key = Key::try_from(key).ok()?;
            if set.keys.insert(key) {
                set.entries.push_back((at, key));
            }
        }
        while set.entries.len() > capacity {
            set.forget_one();
        }
        Some(set)
    }
}

/// Counts how often each record has occurred on the finished part of a page.
#[derive(Clone, Debug, Default)]
pub struct Occurrences(BTreeMap<RecordId, u32>);

impl Occurrences {
    /// Returns which occurrence of this record the next one is, counted from 1.
    #[must_use]
    pub fn next_occurrence(&self, id: &RecordId) -> u32 {
        self.0.get(id).map_or(1, |count| count.saturating_add(1))
    }

    /// Counts a record.
    pub fn count(&mut self, id: RecordId) {
        let count = self.0.entry(id).or_default();
        *count = count.saturating_add(1);
    }
}

/// The records that are known, by which duplicates are recognized.
#[derive(Default)]
pub struct Deduplication<'a> {
    /// Records of earlier pages and windows.
    pub seen_ids: Option<&'a mut SeenIds>,
    /// The occurrences on the current page, where equal entries of a page are separate records.
    pub occurrences: Option<&'a mut Occurrences>,
}

impl Deduplication<'_> {
    /// Returns which occurrence on its page the next such record is, counted from 1.
    #[must_use]
    pub fn next_occurrence(&self, record_id: &RecordId) -> u32 {
        let occurrences = self.occurrences.as_ref();
        occurrences.map_or(1, |counted| counted.next_occurrence(record_id))
    }

    /// Returns whether the record came before.
    #[must_use]
    pub fn is_known(&self, id: &RecordId) -> bool {
        let seen_ids = self.seen_ids.as_ref();
        seen_ids.is_some_and(|seen_ids| seen_ids.contains(id))
    }

    /// Counts an occurrence on the current page.
    pub fn count_occurrence(self, record_id: RecordId) {
        if let Some(occurrences) = self.occurrences {
            occurrences.count(record_id);
        }
    }

    /// Counts an occurrence of `record_id`, and remembers it as `occurrence_id`, which has the time `at`.
    pub fn remember(self, record_id: RecordId, occurrence_id: &RecordId, at: Timestamp) {
        if let Some(seen_ids) = self.seen_ids {
            seen_ids.insert(occurrence_id, at);
        }
        if let Some(occurrences) = self.occurrences {
            occurrences.count(record_id);
        }
    }
}

fn key(id: &RecordId) -> Key {
    let mut key = [0; KEY_BYTES];
    for (to, from) in key.iter_mut().zip(id.as_bytes()) {
        *to = *from;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> RecordId {
        RecordId::from_bytes([n; 16])
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn the_text_form_gives_the_same_set_back() {
        let mut set = SeenIds::new(10);
        set.insert(&id(1), at(1_700_000_000_123));
        set.insert(&id(2), at(0));
        let again = SeenIds::from_text(&set.to_text(), 10).unwrap();
        assert_eq!(again.to_text(), set.to_text());
        assert!(again.contains(&id(1)) && again.contains(&id(2)) && !again.contains(&id(3)));
        assert_eq!(set.to_text().len(), 2 * 24);
        assert!(SeenIds::from_text("AAA", 10).is_none());
        assert!(SeenIds::from_text("no base64!", 10).is_none());
    }

    #[test]
    fn a_text_that_was_stored_is_read_and_written_as_it_was() {
        let mut set = SeenIds::new(10);
        set.insert(&id(1), at(1_700_000_000_123));
        let text = "AYvP5Wh7AQEBAQEBAQEBAQEB";
        assert_eq!(set.to_text(), text);
        let read = SeenIds::from_text(text, 10).unwrap();
        assert!(read.contains(&id(1)));
    }

    #[test]
    fn a_full_set_forgets_what_the_next_window_does_not_need() {
        let mut set = SeenIds::new(2);
        set.set_evictable(at(10), at(100));
        set.insert(&id(1), at(150));
        set.insert(&id(2), at(50));
        set.insert(&id(3), at(120));
        assert!(set.contains(&id(1)) && !set.contains(&id(2)) && set.contains(&id(3)));
        // All are needed: those that are there stay.
        set.insert(&id(4), at(130));
        assert!(set.contains(&id(1)) && set.contains(&id(3)) && !set.contains(&id(4)));
        assert_eq!(set.len(), 2);
        assert_eq!(
            (
                set.take_evicted_overlap_id_count(),
                set.take_evicted_overlap_id_count()
            ),
            (1, 0)
        );
    }

    #[test]
    fn what_lies_before_the_overlap_is_forgotten() {
        let mut set = SeenIds::new(10);
        set.insert(&id(1), at(99));
        set.insert(&id(2), at(100));
        set.forget_before(at(100));
        assert!(!set.contains(&id(1)) && set.contains(&id(2)));
    }
}
