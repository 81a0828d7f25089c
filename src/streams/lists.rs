//! Lists of what is there now: held messages, and what the training knows of people
//! (`mimecast-api.md` §5.7, §5.12).
//!
//! A list has no position, so the position is what was on it. One reading goes over all pages;
//! an item that was not on the list before becomes an event. An item that two readings in a row
//! do not find has left the list: one reading alone may miss it, because pages move while they
//! are read.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::batch::{Builder, Intake, NoticeKind, Offer, RecordLine};
use crate::checkpoint::ListPosition;
use crate::encode::push_quoted;
use crate::identity::EventId;
use crate::settings::Snapshot;
use crate::stream::{Post, Stream};
use crate::streams::pages::{self, Ask, Page};
use crate::streams::{Context, Unusable, Want, hours_ms};
use crate::time::Timestamp;

/// A list that does not fit into the checkpoint is read less often by this factor, because each
/// reading repeats what is not remembered.
const OVERFLOW_FACTOR: i64 = 12;

/// The length of an entry without a name: a mark, 22 characters of base64 and a space.
const ENTRY_CHARS: usize = 24;

/// How a list is read: what its row in the table of streams says.
#[derive(Clone, Copy)]
pub struct Reading {
    /// The request and the answer.
    pub post: &'static Post,
    /// Whether it is told that an item has left.
    pub departures: bool,
    /// How long after one reading the next one follows, in minutes.
    pub every_minutes: u32,
    /// How far back the window reaches, in hours.
    pub back_hours: u32,
}

/// One item that was on the list.
struct Item {
    /// The reading at hand has found it.
    seen: bool,
    /// The reading before did not find it.
    missed: bool,
    /// The item's own id, where there is room for it.
    name: Option<String>,
}

/// The feed of one list.
pub struct Lists {
    stream: Stream,
    reading: Reading,
    position: ListPosition,
    items: BTreeMap<[u8; 16], Item>,
    /// How many characters the items may have in the checkpoint.
    room_chars: usize,
    used_chars: usize,
    page: Option<Page>,
}

impl Lists {
    /// The feed of a list, from its position.
    #[must_use]
    pub fn open(
        stream: Stream,
        reading: Reading,
        position: Option<&ListPosition>,
        room_chars: usize,
    ) -> Self {
        let position = position.cloned().unwrap_or_default();
        // One by one: collecting would bring in the code of a stable sort.
        let mut items = BTreeMap::new();
        for (id, item) in position.items.split(' ').filter_map(parse_item) {
            items.insert(id, item);
        }
        let used_chars = items.values().map(chars).sum();
        Self {
            stream,
            reading,
            position,
            items,
            room_chars,
            used_chars,
            page: None,
        }
    }

    /// The position for a checkpoint.
    #[must_use]
    pub fn position(&self) -> ListPosition {
        let mut text = String::with_capacity(self.used_chars);
        for (key, item) in &self.items {
            text.push(match (item.seen, item.missed) {
                (true, _) => '+',
                (false, true) => '-',
                (false, false) => '.',
            });
            STANDARD_NO_PAD.encode_string(key, &mut text);
            if let Some(name) = &item.name {
                text.push(':');
                text.push_str(name);
            }
            text.push(' ');
        }
        ListPosition {
            items: text.trim_end().to_owned(),
            page_done: match &self.page {
                Some(page) => page.done(),
                None => self.position.page_done.clone(),
            },
            ..self.position.clone()
        }
    }

    /// When the feed next wants something, and whether it is caught up until then.
    #[must_use]
    pub fn due(&self, context: Context<'_>) -> (Timestamp, bool) {
        let Some(read_at) = self.position.read_at.filter(|_| self.position.to.is_none()) else {
            return (context.now, false);
        };
        let factor = if self.position.overflow {
            OVERFLOW_FACTOR
        } else {
            1
        };
        let every_ms = i64::from(self.reading.every_minutes).saturating_mul(60_000 * factor);
        let due = context.due_again(read_at, every_ms);
        (due, true)
    }

    /// Whether the next want is a page.
    #[must_use]
    pub const fn wants_call(&self) -> bool {
        self.page.is_none() && !self.position.pages_done
    }

    /// What to do next.
    pub fn next(&mut self, context: Context<'_>) -> Want {
        if !self.wants_call() {
            return Want::Records;
        }
        let (due, caught_up) = self.due(context);
        if caught_up && due > context.now {
            return Want::Nothing(due);
        }
        let to = *self
            .position
            .to
            .get_or_insert_with(|| context.upstream_now.floor_second());
        let back_ms = hours_ms(self.reading.back_hours);
        let ask = Ask {
            window: (to.plus_ms(back_ms.saturating_neg()), to),
            page_records: self.reading.post.page_records,
            token: self.position.page_token.as_deref(),
        };
        Want::Call(pages::call(self.stream, self.reading.post, context, &ask))
    }

    /// Takes the answer to a page's call.
    ///
    /// # Errors
    ///
    /// The body is not a page.
    pub fn handle_answer(&mut self, body: Vec<u8>) -> Result<(), Unusable> {
        let token = self.position.page_token.as_deref();
        let mut page = Page::read(body, self.reading.post.list, token)?;
        page.resume(self.position.page_done.as_ref());
        self.page = Some(page);
        Ok(())
    }

    /// The call was refused: if it had a page token, the list is read again from its beginning.
    pub fn handle_refusal(&mut self, batch: &mut Builder) -> bool {
        if self.position.page_token.take().is_none() {
            return false;
        }
        self.position.page_done = None;
        let detail = "Mimecast refused the page token; the list is read again from its beginning";
        batch.notice(self.stream, NoticeKind::Adjusted, detail.to_owned());
        true
    }

    /// Makes events of the page in memory, and after the last page of what has left.
    pub fn take_records(
        &mut self,
        intake: &mut Intake,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Offer {
        while let Some(page) = &self.page {
            let Some(bytes) = page.record() else {
                break;
            };
            if !batch.has_room() {
                return Offer::NoRoom;
            }
            let record = RecordLine {
                stream: self.stream,
                bytes,
            };
            let id = intake.id(record);
            let known = id.and_then(|id| self.items.get_mut(id.as_bytes()));
            let full = context.settings.snapshot == Snapshot::Full;
            if known.as_ref().is_some_and(|item| item.seen || !full) {
                batch.count_duplicate(self.stream);
            } else {
                let locator = || format!("{} list record {}", self.stream, page.number());
                let now = context.upstream_now;
                if batch.offer(intake, record, None, now, locator) == Offer::NoRoom {
                    return Offer::NoRoom;
                }
            }
            let name = item_name(bytes);
            if let Some(item) = known {
                item.seen = true;
                item.missed = false;
            } else if let Some(id) = id {
                self.remember(id, name, batch);
            }
            if let Some(page) = &mut self.page {
                page.advance();
            }
        }
        self.finish_page();
        if !self.position.pages_done {
            return Offer::Taken;
        }
        self.finish_reading(intake, context, batch)
    }

    /// Remembers an item that was not on the list before.
    fn remember(&mut self, id: EventId, name: Option<String>, batch: &mut Builder) {
        if self.used_chars.saturating_add(ENTRY_CHARS) > self.room_chars {
            self.position.overflow_now = true;
            let detail = format!(
                "the list is longer than a checkpoint can remember; beyond {} items each reading \
                 repeats the others with the same ids, and it is not told when they leave",
                self.items.len()
            );
            batch.notice(self.stream, NoticeKind::Adjusted, detail);
            return;
        }
        // Names are a service; keys come first.
        let name = name.filter(|name| {
            let chars = self.used_chars.saturating_add(name.len() + ENTRY_CHARS + 1);
            self.reading.departures && chars <= self.room_chars / 2
        });
        let item = Item {
            seen: true,
            missed: false,
            name,
        };
        self.used_chars = self.used_chars.saturating_add(chars(&item));
        self.items.insert(*id.as_bytes(), item);
    }

    /// Moves the position behind the page.
    fn finish_page(&mut self) {
        let Some(page) = self.page.take() else {
            return;
        };
        self.position.page_done = None;
        self.position.page_token = page.next_token;
        self.position.pages_done = self.position.page_token.is_none();
    }

    /// Tells what has left, and ends the reading.
    fn finish_reading(
        &mut self,
        intake: &mut Intake,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Offer {
        let gone: Vec<[u8; 16]> = self
            .items
            .iter()
            .filter(|(_, item)| !item.seen && item.missed)
            .map(|(key, _)| *key)
            .collect();
        let tell = self.reading.departures && context.settings.snapshot == Snapshot::Changes;
        for key in gone {
            if tell {
                if !batch.has_room() {
                    return Offer::NoRoom;
                }
                let name = self.items.get(&key).and_then(|item| item.name.as_deref());
                let first = EventId::from_bytes(key);
                let first = first.of_event(1, context.settings.tenant.as_deref());
                let record = departure(&first, name);
                let record = RecordLine {
                    stream: self.stream,
                    bytes: record.as_bytes(),
                };
                let locator = || format!("{} released-or-expired", self.stream);
                let now = context.upstream_now;
                if batch.offer(intake, record, None, now, locator) == Offer::NoRoom {
                    return Offer::NoRoom;
                }
            }
            if let Some(item) = self.items.remove(&key) {
                self.used_chars = self.used_chars.saturating_sub(chars(&item));
            }
        }
        for item in self.items.values_mut() {
            item.missed = !item.seen;
            item.seen = false;
        }
        self.position = ListPosition {
            read_at: Some(context.now),
            overflow: self.position.overflow_now,
            ..ListPosition::default()
        };
        Offer::Taken
    }
}

/// The record of an item that has left: what it was, by the id of its first event, and by its own
/// id where that is remembered. It says no time, so that it is the same whenever it is noticed.
fn departure(id: &EventId, name: Option<&str>) -> String {
    let mut record = "{\"event\":\"released-or-expired\",\"firstEventId\":\"".to_owned();
    id.write(&mut record);
    record.push('"');
    if let Some(name) = name {
        record.push_str(",\"id\":");
        push_quoted(&mut record, name);
    }
    record.push('}');
    record
}

/// The item's own id, if it can stand in the text of a position.
fn item_name(record: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        id: Option<String>,
    }
    let name = serde_json::from_slice::<Named>(record).ok()?.id?;
    let plain = !name.is_empty() && name.len() <= 200 && name.bytes().all(|b| b.is_ascii_graphic());
    plain.then_some(name)
}

fn chars(item: &Item) -> usize {
    let name = item
        .name
        .as_ref()
        .map_or(0, |name| name.len().saturating_add(1));
    name.saturating_add(ENTRY_CHARS)
}

fn parse_item(text: &str) -> Option<([u8; 16], Item)> {
    let (mark, rest) = text.split_at_checked(1)?;
    let (key, name) = rest.split_once(':').unwrap_or((rest, ""));
    let key = STANDARD_NO_PAD.decode(key).ok()?;
    let item = Item {
        seen: mark == "+",
        missed: mark == "-",
        name: (!name.is_empty()).then(|| name.to_owned()),
    };
    Some((<[u8; 16]>::try_from(key).ok()?, item))
}
