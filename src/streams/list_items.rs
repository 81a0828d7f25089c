//! The items that were on a list, as a checkpoint keeps them.
//!
//! The text is `WIDTH KEYS MARKS [INDEX:NAME]...`: the bytes of a key, the keys in ascending order
//! and two bits for each of them, both in base64, and the upstream's own ids of some items by the
//! index of their key. A key of 16 bytes takes 21.7 characters. It stays a text until its list is
//! read, so that it costs the polls of other streams a copy.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::identity::RecordId;

/// The length of a [`RecordId`].
const KEY_BYTES_MAX: usize = 16;

/// Upstream ids may use half of the room; the rest is for keys.
const UPSTREAM_IDS_SHARE: usize = 2;

/// One item that was on the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The current reading has found it.
    pub seen: bool,
    /// The reading before did not find it.
    pub missed: bool,
    /// The upstream's own id of the item.
    pub name: Option<String>,
}

/// A bounded map from the identities of items to their state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListItems {
    items: BTreeMap<[u8; KEY_BYTES_MAX], Item>,
    /// How many bytes of an identity are kept.
    key_bytes: usize,
    /// The characters of all names with their indexes.
    name_chars: usize,
    /// The greatest length of the text.
    chars_max: usize,
}

impl ListItems {
    /// Creates an empty list of at most `chars_max` characters that keeps `key_bytes` of each
    /// identity.
    #[must_use]
    pub fn new(key_bytes: usize, chars_max: usize) -> Self {
        Self {
            items: BTreeMap::new(),
            key_bytes: key_bytes.clamp(1, KEY_BYTES_MAX),
            name_chars: 0,
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
        let mut decoded = || {
            words
                .next()
                .and_then(|word| STANDARD_NO_PAD.decode(word).ok())
        };
        let keys = decoded().unwrap_or_default();
        let marks = decoded().unwrap_or_default();
        // In the order of the keys.
        let mut names = words.filter_map(parse_name).peekable();
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
                name: names
                    .next_if(|(at, _)| *at == index)
                    .map(|(_, name)| name.to_owned()),
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
        let mut names = String::new();
        for (index, (key, item)) in self.items.iter().enumerate() {
            keys.extend(key.iter().take(self.key_bytes));
            let mark = u8::from(item.seen) | u8::from(item.missed) << 1;
            if let Some(byte) = marks.get_mut(index / 4) {
                *byte |= mark << (index % 4 * 2);
            }
            if let Some(name) = &item.name {
                names.push_str(&format!(" {index}:{name}"));
            }
        }
        format!(
            "{} {} {}{names}",
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

    /// Returns the identities of the items for which `is` holds.
    pub fn ids(&self, is: impl Fn(&Item) -> bool) -> Vec<RecordId> {
        let chosen = self.items.iter().filter(|(_, item)| is(item));
        chosen.map(|(key, _)| RecordId::from_bytes(*key)).collect()
    }

    /// Adds an item where there is room for its key; for its name there is less. Names of other
    /// items are dropped before a key does not fit. Returns whether it was added.
    pub fn add(&mut self, id: &RecordId, mut item: Item) -> bool {
        let keys = self.keys_chars(self.items.len().saturating_add(1));
        if keys > self.chars_max {
            return false;
        }
        if keys.saturating_add(self.name_chars) > self.chars_max {
            self.name_chars = 0;
            self.iter_mut().for_each(|item| item.name = None);
        }
        item.name = item.name.filter(|name| {
            let chars = self.name_chars.saturating_add(name_chars(name));
            chars <= self.chars_max / UPSTREAM_IDS_SHARE
                && keys.saturating_add(chars) <= self.chars_max
        });
        self.insert(id.as_bytes(), item);
        true
    }

    /// Removes an item.
    pub fn remove(&mut self, id: &RecordId) -> Option<Item> {
        let item = self.items.remove(&self.key(id.as_bytes()))?;
        let chars = item.name.as_deref().map_or(0, name_chars);
        self.name_chars = self.name_chars.saturating_sub(chars);
        Some(item)
    }

    fn insert(&mut self, key: &[u8; KEY_BYTES_MAX], item: Item) {
        let chars = item.name.as_deref().map_or(0, name_chars);
        self.name_chars = self.name_chars.saturating_add(chars);
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

/// The characters of the width and of the blanks after it and the keys.
const WIDTH_CHARS: usize = 4;

/// Returns a name with a blank, its index and a colon.
const fn name_chars(name: &str) -> usize {
    name.len().saturating_add(INDEX_CHARS)
}

/// A list has less than a million items.
const INDEX_CHARS: usize = 8;

/// Parses the place of a key and the upstream's id of its item.
fn parse_name(word: &str) -> Option<(usize, &str)> {
    let (index, name) = word.split_once(':')?;
    Some((index.parse().ok()?, name))
}

/// Returns an item as version 1 wrote it: a mark, the key in base64 and perhaps a name.
fn parse_version_1(text: &str) -> Option<([u8; KEY_BYTES_MAX], Item)> {
    let (mark, rest) = text.split_at_checked(1)?;
    let (key, name) = rest.split_once(':').unwrap_or((rest, ""));
    let key = STANDARD_NO_PAD.decode(key).ok()?;
    let item = Item {
        seen: mark == "+",
        missed: mark == "-",
        name: (!name.is_empty()).then(|| name.to_owned()),
    };
    Some((key.try_into().ok()?, item))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u32) -> RecordId {
        RecordId::of_bytes(crate::stream::Stream::HeldMessages, &n.to_le_bytes())
    }

    fn item(n: u32) -> Item {
        Item {
            seen: n.is_multiple_of(2),
            missed: n.is_multiple_of(3),
            name: n.is_multiple_of(5).then(|| format!("name:{n}")),
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
            prop_assert!(text.len() <= list.keys_chars(list.len()) + list.name_chars);
            let mut read = ListItems::parse(&text, key_bytes, 100_000);
            prop_assert_eq!(&read, &list);
            for n in 0..count {
                prop_assert_eq!(read.get_mut(&id(n)).cloned(), Some(item(n)));
                prop_assert_eq!(read.remove(&id(n)), Some(item(n)));
            }
            prop_assert!(read.is_empty() && read.name_chars == 0);
        }

        #[test]
        fn any_text_is_read_without_failing(text in "[+. 0-9A-Za-z/:-]{0,80}") {
            let _list = ListItems::parse(&text, 16, 1000);
        }
    }

    #[test]
    fn a_list_that_is_full_drops_names_before_it_refuses_a_key() {
        let mut list = ListItems::new(16, 2_200);
        let named = |n: u32| Item {
            name: Some(format!("{n:030}")),
            ..Item::default()
        };
        let added = (0..200).filter(|n| list.add(&id(*n), named(*n))).count();
        assert!((99..=101).contains(&added), "{added}");
        assert!(list.to_text().len() <= 2_200);
        let names = list.iter_mut().filter(|item| item.name.is_some()).count();
        assert!(names < 10, "{names}");
        let mut short = ListItems::new(16, 2_200);
        assert!((0..20).all(|n| short.add(&id(n), named(n))));
        assert!(short.iter_mut().all(|item| item.name.is_some()));
    }

    #[test]
    fn an_item_takes_less_than_22_characters() {
        let mut list = ListItems::new(16, 1_000_000);
        assert!((0..20_000).all(|n| list.add(&id(n), Item::default())));
        let chars = list.to_text().len();
        assert!(chars < 22 * 20_000, "{chars}");
    }

    #[test]
    fn the_form_of_version_1_is_read() {
        let key = |n: u8| STANDARD_NO_PAD.encode([n; 16]);
        let text = format!("+{}:an-id .{} -{}", key(1), key(2), key(3));
        let mut list = ListItems::parse(&text, 16, 1000);
        assert_eq!(list.len(), 3);
        let first = list.get_mut(&RecordId::from_bytes([1; 16])).unwrap();
        assert!(first.seen && !first.missed && first.name.as_deref() == Some("an-id"));
        assert!(list.get_mut(&RecordId::from_bytes([3; 16])).unwrap().missed);
    }
}
