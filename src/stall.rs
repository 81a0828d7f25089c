//! Detects readings whose pages make no progress.
//!
//! An upstream may hand out page tokens for ever: for empty pages, in a cycle, or always new ones
//! for the same records. No record is lost by waiting, so the stream backs off with growing waits and
//! then continues.

use serde::{Deserialize, Serialize};

/// Empty pages in a row that are followed; more are not, because Mimecast is known to put a token that
/// leads nowhere on a last page (`mimecast-api.md` §5.1).
pub const EMPTY_PAGES_MAX: u32 = 3;

/// Pages in a row without a new record before the stream backs off. A stream remembers no more
/// identities than fit on a few pages, so this many pages of known records cannot be an overlap.
pub const PAGES_WITHOUT_NEW_MAX: u32 = 20;

/// So many repeats of one page count as a cycle; fewer do not, because small pages of equal records have
/// the same digest.
const REPEATS_MAX: u32 = 3;

/// Why a reading is stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// The same pages come again.
    Cycle,
    /// Many pages in a row had no new record.
    NothingNew,
}

/// What to do after an empty page that names a further one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterEmptyPage {
    /// Request the further page.
    Follow,
    /// End the reading: too many pages in a row were empty.
    Stop,
}

/// The pages of one reading so far, for a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StallDetector {
    /// Empty pages in a row.
    #[serde(rename = "empty", default, skip_serializing_if = "is_zero")]
    pub empty_pages: u32,
    /// Pages in a row without a new record.
    #[serde(rename = "old", default, skip_serializing_if = "is_zero")]
    pages_without_new: u32,
    /// Pages that have records, or count as if they had.
    #[serde(default, skip_serializing_if = "is_zero")]
    pages: u32,
    /// How often the page of `anchor` has come again.
    #[serde(default, skip_serializing_if = "is_zero")]
    repeats: u32,
    /// The digest of the page with which the others are compared.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    anchor: String,
    /// How often the reading has stalled so far; only its end resets this.
    #[serde(default, skip_serializing_if = "is_zero")]
    stalls: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl StallDetector {
    /// Returns whether there is nothing to write.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Notes an empty page that names a further one.
    pub const fn note_empty_page(&mut self) -> AfterEmptyPage {
        self.empty_pages = self.empty_pages.saturating_add(1);
        if self.empty_pages <= EMPTY_PAGES_MAX {
            AfterEmptyPage::Follow
        } else {
            AfterEmptyPage::Stop
        }
    }

    /// Notes a page that has records, or counts as if it had, and names a further one. Returns why the
    /// reading is stalled, if it is.
    pub fn note_page(&mut self, digest: &str, has_new_records: bool) -> Option<Stall> {
        self.empty_pages = 0;
        self.pages = self.pages.saturating_add(1);
        self.pages_without_new = if has_new_records {
            0
        } else {
            self.pages_without_new.saturating_add(1)
        };
        if self.anchor == digest {
            self.repeats = self.repeats.saturating_add(1);
        } else if self.pages.is_power_of_two() {
            // Brent's algorithm: however long the cycle is, one page is enough to find it.
            digest.clone_into(&mut self.anchor);
            self.repeats = 0;
        }
        let stall = if self.repeats >= REPEATS_MAX {
            Stall::Cycle
        } else if self.pages_without_new >= PAGES_WITHOUT_NEW_MAX {
            Stall::NothingNew
        } else {
            return None;
        };
        let stalls = self.stalls.saturating_add(1);
        *self = Self {
            stalls,
            ..Self::default()
        };
        Some(stall)
    }

    /// Returns how often the reading had stalled before the current stall.
    #[must_use]
    pub const fn previous_stalls(&self) -> u32 {
        self.stalls.saturating_sub(1)
    }
}

/// Returns what happens after too many empty pages, as a clause for people.
#[must_use]
pub fn too_many_empty_pages_detail(reading: &str) -> String {
    format!(
        "{} empty pages in a row, each of which names a further one; the {reading} ends here",
        EMPTY_PAGES_MAX.saturating_add(1)
    )
}

impl Stall {
    /// Returns why the reading is stalled, as a clause for people.
    #[must_use]
    pub fn detail(self) -> String {
        match self {
            Self::Cycle => {
                "Mimecast's page tokens lead to the same pages again and again".to_owned()
            }
            Self::NothingNew => {
                format!(
                    "{PAGES_WITHOUT_NEW_MAX} pages in a row had no new record, and there are more"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page at which a reading stalls, and why.
    fn stalls_at(pages: impl Iterator<Item = (String, bool)>) -> Option<(usize, Stall)> {
        let mut detector = StallDetector::default();
        pages
            .enumerate()
            .find_map(|(number, (digest, has_new_records))| {
                // A checkpoint between two pages changes nothing.
                let text = serde_json::to_string(&detector).unwrap();
                detector = serde_json::from_str(&text).unwrap();
                Some((number, detector.note_page(&digest, has_new_records)?))
            })
    }

    #[test]
    fn a_cycle_of_any_length_is_found_although_its_records_are_new_each_time() {
        for length in [1, 2, 3, 7, 50, 1000] {
            let pages = (0..100 * length).map(|n| ((n % length).to_string(), true));
            let (at, stall) = stalls_at(pages).unwrap();
            assert_eq!(stall, Stall::Cycle);
            assert!(at <= 9 * length, "length {length}: found at page {at}");
        }
    }

    #[test]
    fn repeats_of_different_pages_are_no_cycle() {
        let mut pages = (0..100_000).map(|n: u32| ((n / 2).to_string(), true));
        assert_eq!(stalls_at(&mut pages), None, "each page comes twice");
        let twice_at_anchors = "aabccxxdd".chars().map(|page| (page.to_string(), true));
        assert_eq!(stalls_at(twice_at_anchors), None);
    }

    #[test]
    fn pages_without_new_records_stall_and_others_do_not() {
        let mut all_new = (0..100_000).map(|n| (n.to_string(), true));
        assert_eq!(stalls_at(&mut all_new), None);
        let (at, stall) = stalls_at((0..100).map(|n| (n.to_string(), false))).unwrap();
        assert_eq!((at, stall), (19, Stall::NothingNew));
        let now_and_then = (0..1000).map(|n| (n.to_string(), n % 20 == 19));
        assert_eq!(stalls_at(now_and_then), None);
    }

    #[test]
    fn a_few_empty_pages_are_followed() {
        let mut detector = StallDetector::default();
        let followed = (0..9)
            .take_while(|_| detector.note_empty_page() == AfterEmptyPage::Follow)
            .count();
        assert_eq!(followed, 3);
        assert_eq!(detector.note_page("a", true), None);
        assert_eq!(detector.note_empty_page(), AfterEmptyPage::Follow);
    }
}
