//! The items that were on a list, as a checkpoint stores them.
//!
//! The text is `WIDTH KEYS MARKS [INDEX:ID]...`: the bytes of a key, the keys in ascending order
//! and two bits for each of them, both in base64, and the upstream's own ids of some items by the
//! index of their key. A key of 16 bytes takes 21.7 characters. The text is parsed only when its list
//! is read, so that polls of other streams only copy it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::identity::RecordId;

/// The length of a [`RecordId`].
const KEY_BYTES_MAX: usize = 16;

/// Upstream ids may use one in this many characters; the others are for keys.
const UPSTREAM_IDS_DIVISOR: usize = 2;

/// One item that was on the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Whether the current reading has found it.
    pub seen: bool,
    /// Whether the reading before the current one did not find it.
    pub missed: bool,
    /// The upstream's own id of the item.
    pub upstream_id: Option<String>,
}

/// A bounded map from the identities of items to their state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListItems {
    items: BTreeMap<[u8; KEY_BYTES_MAX], Item>,
    /// How many bytes of an identity are stored.
    key_bytes: usize,
    /// The characters of all upstream ids with their indexes.
    upstream_id_chars: usize,
    /// The greatest length of the text.
    chars_max: usize,
}

impl ListItems {
    /// Creates an empty list of at most `chars_max` characters that stores `key_bytes` of each
    /// identity.
    #[must_use]
    pub fn new(key_bytes: usize, chars_max: usize) -> Self {
        Self {
            items: BTreeMap::new(),
            key_bytes: key_bytes.clamp(1, KEY_BYTES_MAX),
            upstream_id_chars: 0,
            chars_max,
        }
    }

    /// Parses the output of [`ListItems::to_text`] or the form of version 1; other texts hold no
    /// item.
    #[must_use]
    pub fn parse(text: &str, key_bytes: usize, chars_max: usize) -> Self {
        let mut list = Self::new(key_bytes, chars_max);
        if text.starts_with(['+', '-', '.']) {
            for (key, item) in text.split(' ').filter_map(parse_version_1) {
                list.insert(&key, item);
            }
            return list;
        }
        let mut words = text.split(' ');
        let Some(width) = words.next().and_then(|width| width.parse().ok()) else {
            return list;
        };
        let mut decode_next = || {
            words
                .next()
                .and_then(|word| STANDARD_NO_PAD.decode(word).ok())
        };
        let keys = decode_next().unwrap_or_default();
        let marks = decode_next().unwrap_or_default();
        // In the order of the keys.
        let mut upstream_ids = words.filter_map(parse_upstream_id).peekable();
        if !(1..=KEY_BYTES_MAX).contains(&width) {
            return list;
        }
        for (index, bytes) in keys.chunks_exact(width).enumerate() {
            let mut key = [0; KEY_BYTES_MAX];
            for (to, from) in key.iter_mut().zip(bytes) {
                *to = *from;
            }
            let mark = marks.get(index / 4).copied().unwrap_or_default() >> (index % 4 * 2);
            let item = Item {
                seen: mark & 1 != 0,
                missed: mark & 2 != 0,
                upstream_id: upstream_ids
                    .next_if(|(at, _)| *at == index)
                    .map(|(_, id)| id.to_owned()),
            };
            list.insert(&key, item);
        }
        list
    }

    /// Returns the text for a checkpoint; empty where there is no item.
    #[must_use]
    pub fn to_text(&self) -> String {
        if self.items.is_empty() {
            return String::new();
        }
        let mut keys = Vec::with_capacity(self.items.len().saturating_mul(self.key_bytes));
        let mut marks = vec![0_u8; self.items.len().div_ceil(4)];
        let mut upstream_ids = String::new();
        for (index, (key, item)) in self.items.iter().enumerate() {
            keys.extend(key.iter().take(self.key_bytes));
            let mark = u8::from(item.seen) | u8::from(item.missed) << 1;
            if let Some(byte) = marks.get_mut(index / 4) {
                *byte |= mark << (index % 4 * 2);
            }
            if let Some(id) = &item.upstream_id {
                upstream_ids.push_str(&format!(" {index}:{id}"));
            }
        }
        format!(
            "{} {} {}{upstream_ids}",
            self.key_bytes,
            STANDARD_NO_PAD.encode(keys),
            STANDARD_NO_PAD.encode(marks)
        )
    }

    /// Returns how many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the item with that identity.
    pub fn get_mut(&mut self, id: &RecordId) -> Option<&mut Item> {
        self.items.get_mut(&self.key(id.as_bytes()))
    }

    /// Returns all items.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Item> {
        self.items.values_mut()
    }

    /// Returns the identities of the items for which `predicate` holds, as far as they are stored: beyond
    /// `key_bytes` they are zero, so only whole keys give an event's id.
    pub fn ids(&self, predicate: impl Fn(&Item) -> bool) -> Vec<RecordId> {
        let matching = self.items.iter().filter(|(_, item)| predicate(item));
        matching
            .map(|(key, _)| RecordId::from_bytes(*key))
            .collect()
    }

    /// Adds an item where there is room for its key. Upstream ids have less room, and are dropped
    /// before a key is refused. Returns whether the item was added.
    pub fn add(&mut self, id: &RecordId, mut item: Item) -> bool {
        let keys = self.keys_chars(self.items.len().saturating_add(1));
        if keys > self.chars_max {
            return false;
        }
        if keys.saturating_add(self.upstream_id_chars) > self.chars_max {
            self.upstream_id_chars = 0;
            self.iter_mut().for_each(|item| item.upstream_id = None);
        }
        item.upstream_id = item.upstream_id.filter(|id| {
            let chars = self.upstream_id_chars.saturating_add(upstream_id_chars(id));
            chars <= self.chars_max / UPSTREAM_IDS_DIVISOR
                && keys.saturating_add(chars) <= self.chars_max
        });
        self.insert(id.as_bytes(), item);
        true
    }

    /// Removes an item.
    pub fn remove(&mut self, id: &RecordId) -> Option<Item> {
        let item = self.items.remove(&self.key(id.as_bytes()))?;
        let chars = item.upstream_id.as_deref().map_or(0, upstream_id_chars);
        self.upstream_id_chars = self.upstream_id_chars.saturating_sub(chars);
        Some(item)
    }

    fn insert(&mut self, key: &[u8; KEY_BYTES_MAX], item: Item) {
        let chars = item.upstream_id.as_deref().map_or(0, upstream_id_chars);
        self.upstream_id_chars = self.upstream_id_chars.saturating_add(chars);
        self.items.insert(self.key(key), item);
    }

    fn key(&self, id: &[u8; KEY_BYTES_MAX]) -> [u8; KEY_BYTES_MAX] {
        let mut key = [0; KEY_BYTES_MAX];
        for (to, from) in key.iter_mut().zip(id).take(self.key_bytes) {
            *to = *from;
        }
        key
    }

    /// Returns the length of the text for `count` keys with their marks and the width.
    const fn keys_chars(&self, count: usize) -> usize {
        let keys = count
            .saturating_mul(self.key_bytes)
            .saturating_mul(4)
            .div_ceil(3);
        let marks = count.div_ceil(4).saturating_mul(4).div_ceil(3);
        keys.saturating_add(marks).saturating_add(WIDTH_CHARS)
    }
}

/// The characters of the width and of the spaces after it and the keys.
const WIDTH_CHARS: usize = 4;

/// Returns the length of an upstream id with a space, its index and a colon.
const fn upstream_id_chars(id: &str) -> usize {
    id.len().saturating_add(INDEX_CHARS)
}

/// The characters of a space, an index and a colon: a list has less than a million items.
const INDEX_CHARS: usize = 8;

/// Parses the index of a key and the upstream's id of its item.
fn parse_upstream_id(word: &str) -> Option<(usize, &str)> {
    let (index, id) = word.split_once(':')?;
    Some((index.parse().ok()?, id))
}

/// Parses an item as version 1 wrote it: a mark, the key in base64 and perhaps an upstream id.
fn parse_version_1(text: &str) -> Option<([u8; KEY_BYTES_MAX], Item)> {
    let (mark, rest) = text.split_at_checked(1)?;
    let (key, upstream_id) = rest.split_once(':').unwrap_or((rest, ""));
    let key = STANDARD_NO_PAD.decode(key).ok()?;
    let item = Item {
        seen: mark == "+",
        missed: mark == "-",
        upstream_id: (!upstream_id.is_empty()).then(|| upstream_id.to_owned()),
    };
    Some((key.try_into().ok()?, item))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u32) -> RecordId {
        RecordId::hash_bytes(crate::stream::Stream::HeldMessages, &n.to_le_bytes())
    }

    fn item(n: u32) -> Item {
        Item {
            seen: n.is_multiple_of(2),
            missed: n.is_multiple_of(3),
            upstream_id: n.is_multiple_of(5).then(|| format!("name:{n}")),
        }
    }

    proptest! {
        #[test]
        fn the_text_gives_the_same_list_back(count in 0_u32..200, key_bytes in 8_usize..=16) {
            let mut list = ListItems::new(key_bytes, 100_000);
            for n in 0..count {
                prop_assert!(list.add(&id(n), item(n)));
            }
            let text = list.to_text();
            prop_assert!(text.len() <= list.keys_chars(list.len()) + list.upstream_id_chars);
            let mut read = ListItems::parse(&text, key_bytes, 100_000);
            prop_assert_eq!(&read, &list);
            for n in 0..count {
                prop_assert_eq!(read.get_mut(&id(n)).cloned(), Some(item(n)));
                prop_assert_eq!(read.remove(&id(n)), Some(item(n)));
            }
            prop_assert!(read.is_empty() && read.upstream_id_chars == 0);
        }

        #[test]
        fn any_text_is_read_without_failing(text in "[+. 0-9A-Za-z/:-]{0,80}") {
            let _list = ListItems::parse(&text, 16, 1000);
        }
    }

    #[test]
    fn a_list_that_is_full_drops_upstream_ids_before_it_refuses_a_key() {
        let mut list = ListItems::new(16, 2_200);
        let named = |n: u32| Item {
            upstream_id: Some(format!("{n:030}")),
            ..Item::default()
        };
        let added = (0..200).filter(|n| list.add(&id(*n), named(*n))).count();
        assert!((99..=101).contains(&added), "{added}");
        assert!(list.to_text().len() <= 2_200);
        let ids = list
            .iter_mut()
            .filter(|item| item.upstream_id.is_some())
            .count();
        assert!(ids < 10, "{ids}");
        let mut short = ListItems::new(16, 2_200);
        assert!((0..20).all(|n| short.add(&id(n), named(n))));
        assert!(short.iter_mut().all(|item| item.upstream_id.is_some()));
    }

    #[test]
    fn an_item_takes_less_than_22_characters() {
        let mut list = ListItems::new(16, 1_000_000);
        assert!((0..20_000).all(|n| list.add(&id(n), Item::default())));
        let chars = list.to_text().len();
        assert!(chars < 22 * 20_000, "{chars}");
    }

    #[test]
    fn a_text_that_was_stored_is_read_and_written_as_it_was() {
        let mut list = ListItems::new(8, 1000);
        assert!((1..4).all(|n| list.add(&RecordId::from_bytes([n; 16]), item(n.into()))));
        assert!(list.add(&RecordId::from_bytes([5; 16]), item(5)));
        let text = "8 AQEBAQEBAQECAgICAgICAgMDAwMDAwMDBQUFBQUFBQU JA 3:name:5";
        assert_eq!(list.to_text(), text);
        assert_eq!(ListItems::parse(text, 8, 1000), list);
    }

    #[test]
    fn the_form_of_version_1_is_read() {
        let key = |n: u8| STANDARD_NO_PAD.encode([n; 16]);
        let text = format!("+{}:an-id .{} -{}", key(1), key(2), key(3));
        let mut list = ListItems::parse(&text, 16, 1000);
        assert_eq!(list.len(), 3);
        let first = list.get_mut(&RecordId::from_bytes([1; 16])).unwrap();
        assert!(first.seen && !first.missed && first.upstream_id.as_deref() == Some("an-id"));
        assert!(list.get_mut(&RecordId::from_bytes([3; 16])).unwrap().missed);
    }
}
