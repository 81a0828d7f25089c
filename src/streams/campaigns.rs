//! People in phishing campaigns of the awareness training (`mimecast-api.md` §13).
//!
//! A reading covers the pages of the list of campaigns, and for each page the people of those campaigns
//! that are due. A person's row is a state: it becomes an event when it is new or has changed. It does
//! not name its campaign, so members of the campaign are put before its own.
//!
//! The list always comes as a whole. A campaign is read again while it is recent or when its totals have
//! changed, so that the number of requests does not grow with the years.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::batch::{Builder, NoticeKind, OfferResult, RawRecord, RecordProcessor};
use crate::checkpoint::{CampaignsPosition, ListPosition, PageProgress, StreamPosition};
use crate::decode::lenient;
use crate::decode::parse_json;
use crate::encode::push_quoted;
use crate::identity::RecordId;
use crate::request::Call;
use crate::response::Head;
use crate::stall::StallDetector;
use crate::stream::{PostEndpoint, Stream};
use crate::streams::list_items::{Item, ListItems};
use crate::streams::lists::{self, SHORT_KEY_BYTES, offer_item};
use crate::streams::paged::{
    Cursor, EmptyPagePolicy, FinishedPage, PageRecord, PagingStrategy, ProcessResult,
};
use crate::streams::pages::{self, Page};
use crate::streams::{Context, InvalidResponse, hours_ms};
use crate::time::Timestamp;

/// The age up to which a campaign is read in every reading. People open and report its messages for
/// weeks, and reports are in no total.
const RECENT_HOURS: u32 = 30 * 24;

/// The number of refused campaigns in a row after which the endpoint counts as refused.
const REFUSED_MAX: usize = 3;

/// One in this many characters is for the campaigns that were read; the others are for the people.
const CAMPAIGNS_DIVISOR: usize = 8;

/// A campaign that is to be read, from its row in the list.
struct Campaign {
    id: String,
    /// Its members as JSON, with a comma after each, as they are put before those of a person.
    json_members: String,
    /// The identity of its id and totals.
    state_id: RecordId,
}

/// The members of a row of the list that are used.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(default, deserialize_with = "lenient::text_or_absent")]
    id: Option<String>,
    #[serde(default, deserialize_with = "lenient::text_or_absent")]
    name: Option<String>,
    #[serde(
        rename = "launchDate",
        default,
        deserialize_with = "lenient::text_or_absent"
    )]
    launch_date: Option<String>,
    #[serde(rename = "numSent", borrow, default)]
    sent: Option<&'a RawValue>,
    #[serde(rename = "numOpened", borrow, default)]
    opened: Option<&'a RawValue>,
    #[serde(rename = "numClicked", borrow, default)]
    clicked: Option<&'a RawValue>,
    #[serde(rename = "numSubmitted", borrow, default)]
    submitted: Option<&'a RawValue>,
}

/// The paging strategy of the campaigns.
pub struct Campaigns {
    stream: Stream,
    /// The request for the people of a campaign, and its path.
    people_request: (&'static PostEndpoint, &'static str),
    interval_minutes: u32,
    position: ListPosition,
    campaigns_position: CampaignsPosition,
    /// The campaigns of the current page of the list that are to be read.
    selected: Vec<Campaign>,
    /// The campaigns that are left of `selected` once the page is read, in reverse order; `None` while a
    /// page of the list is read. An instance that begins in the middle reads the page again.
    unread_campaigns: Option<Vec<Campaign>>,
    /// The token of the page of the list after the current one.
    next_list_token: Option<String>,
    /// The progress in a page of the list, which is not stored.
    list_page_progress: Option<PageProgress>,
    /// Takes the place of the stored detector where a page must not count: between two campaigns, and
    /// when a page of the list is read again. Its counts are discarded.
    scratch_stall_detector: Option<StallDetector>,
    /// How many campaigns in a row were refused.
    refused_in_a_row: usize,
    /// The people of all campaigns, by their rows, from the first use in a reading to its end; otherwise they
    /// are a text in the position.
    people: Option<ListItems>,
    /// The campaigns that were read, by id and totals.
    read_campaigns: ListItems,
    people_chars_max: usize,
}

impl Campaigns {
    /// Creates the reading of the campaigns, from its position or for campaigns from `start` on.
    #[must_use]
    pub fn open(
        stream: Stream,
        (people, path, interval_minutes): (&'static PostEndpoint, &'static str, u32),
        position: Option<&ListPosition>,
        (start, chars_max): (Timestamp, usize),
    ) -> Self {
        let position = position.cloned().unwrap_or_default();
        let campaigns = position.campaigns.clone();
        let campaigns = campaigns.unwrap_or_else(|| CampaignsPosition {
            since: start,
            ..CampaignsPosition::default()
        });
        let campaigns_chars = chars_max / CAMPAIGNS_DIVISOR;
        Self {
            stream,
            people_request: (people, path),
            interval_minutes,
            selected: Vec::new(),
            unread_campaigns: None,
            next_list_token: None,
            list_page_progress: None,
            scratch_stall_detector: None,
            refused_in_a_row: 0,
            people: None,
            read_campaigns: ListItems::parse(
                &campaigns.read_campaigns,
                SHORT_KEY_BYTES,
                campaigns_chars,
            ),
            people_chars_max: chars_max.saturating_sub(campaigns_chars),
            position,
            campaigns_position: campaigns,
        }
    }

    /// Returns whether the current page is one of the list, and not of the people of a campaign.
    const fn is_reading_list(&self) -> bool {
        self.unread_campaigns.is_none()
    }

    /// Returns the people, parsed from the text of the position when they are first needed.
    fn people(&mut self) -> &mut ListItems {
        let (text, chars_max) = (&mut self.position.items, self.people_chars_max);
        self.people.get_or_insert_with(|| {
            ListItems::parse(&core::mem::take(text), SHORT_KEY_BYTES, chars_max)
        })
    }

    /// Selects a campaign of the list if its people are to be read; otherwise marks it as read, unless it has no
    /// id or is not launched yet. Returns whether
    /// it was selected.
    fn select_campaign(&mut self, row: &[u8], context: Context<'_>, batch: &mut Builder) -> bool {
        let Some((campaign, launch_date)) = self.campaign(row) else {
            let detail =
                "a phishing campaign in Mimecast's list has no id; its people are not read";
            batch.notice(self.stream, NoticeKind::Adjusted, detail.to_owned());
            return false;
        };
        // Campaigns that are not launched yet have no date, or one in the future.
        let Some(launch_date) = launch_date else {
            return false;
        };
        // A campaign whose date cannot be read counts as launched just now.
        let launched_at = Timestamp::parse(&launch_date).unwrap_or(context.upstream_now);
        if launched_at > context.upstream_now {
            return false;
        }
        let back_ms = hours_ms(RECENT_HOURS).saturating_neg();
        let is_recent = launched_at > context.upstream_now.plus_ms(back_ms);
        let is_first = self.position.read_at.is_none();
        // Campaigns from before the start are read when their totals change later.
        let is_before_start = is_first && launched_at < self.campaigns_position.since;
        let known = self.read_campaigns.get_mut(&campaign.state_id);
        // One that the current reading has marked is done.
        let is_done = known.as_ref().is_some_and(|item| item.seen);
        let is_to_read = !is_done && (is_recent || (known.is_none() && !is_before_start));
        if is_to_read {
            self.selected.push(campaign);
        } else {
            self.mark_read(&campaign.state_id);
        }
        is_to_read
    }

    /// Parses a row of the list: the campaign, and when it is launched. Nothing where it has no id.
    fn campaign(&self, row: &[u8]) -> Option<(Campaign, Option<String>)> {
        let text = core::str::from_utf8(row).ok()?;
        let row: Row<'_> = parse_json(text).ok()?;
        let id = row.id?;
        let mut state = id.clone();
        for total in [row.sent, row.opened, row.clicked, row.submitted] {
            state.push(' ');
            state.push_str(total.map_or("", RawValue::get).trim_matches('"'));
        }
        let mut members = String::new();
        for (key, value) in [
            ("campaignId", Some(&id)),
            ("campaignName", row.name.as_ref()),
            ("launchDate", row.launch_date.as_ref()),
        ] {
            if let Some(value) = value {
                push_quoted(&mut members, key);
                members.push(':');
                push_quoted(&mut members, value);
                members.push(',');
            }
        }
        let campaign = Campaign {
            state_id: RecordId::hash_bytes(self.stream, state.as_bytes()),
            json_members: members,
            id,
        };
        Some((campaign, row.launch_date))
    }

    /// Marks a campaign as done in the current reading. One that does not fit is read again.
    fn mark_read(&mut self, state_id: &RecordId) {
        if let Some(item) = self.read_campaigns.get_mut(state_id) {
            item.seen = true;
            return;
        }
        let item = Item {
            seen: true,
            ..Item::default()
        };
        let _is_added = self.read_campaigns.add(state_id, item);
    }

    /// Marks a person as found by the current reading.
    fn mark_seen(&mut self, id: &RecordId, batch: &mut Builder) {
        let people = self.people();
        if let Some(item) = people.get_mut(id) {
            item.seen = true;
            return;
        }
        let item = Item {
            seen: true,
            ..Item::default()
        };
        if people.add(id, item.clone()) {
            return;
        }
        // Rows that have changed since, and those of campaigns that are no longer read.
        for old in people.ids(|item| item.missed && !item.seen) {
            people.remove(&old);
        }
        if !people.add(id, item) {
            let capacity = people.len();
            self.position.current_reading_overflows = true;
            lists::add_overflow_notice(self.stream, capacity, false, batch);
        }
    }

    /// Begins with the campaigns of a page of the list. The campaign in which an earlier instance
    /// stopped comes first.
    fn begin_campaigns(&mut self) {
        let mut unread_campaigns = core::mem::take(&mut self.selected);
        let current = unread_campaigns.iter().position(|campaign| {
            self.campaigns_position.current.as_deref() == Some(&state_id_text(campaign))
        });
        match current {
            Some(current) => {
                let campaign = unread_campaigns.remove(current);
                unread_campaigns.push(campaign);
            }
            None => self.reset_people_cursor(),
        }
        self.unread_campaigns = Some(unread_campaigns);
        self.update_current();
    }

    /// Begins the people of a campaign at their first page.
    fn reset_people_cursor(&mut self) {
        self.position.page_token = None;
        self.position.page_progress = None;
        self.position.stall_detector = StallDetector::default();
    }

    fn current(&self) -> Option<&Campaign> {
        self.unread_campaigns.as_ref()?.last()
    }

    fn update_current(&mut self) {
        self.campaigns_position.current = self.current().map(state_id_text);
    }

    /// Leaves the current campaign. Returns whether there is another one, or another page of the
    /// list.
    fn leave_campaign(&mut self) -> bool {
        self.reset_people_cursor();
        if let Some(unread_campaigns) = &mut self.unread_campaigns {
            unread_campaigns.pop();
        }
        self.update_current();
        self.scratch_stall_detector = Some(StallDetector::default());
        self.current().is_some() || self.move_to_next_list_page()
    }

    /// Moves to the next page of the list. Returns whether there is one.
    fn move_to_next_list_page(&mut self) -> bool {
        self.unread_campaigns = None;
        self.campaigns_position.list_token = self.next_list_token.take();
        self.campaigns_position.list_token.is_some()
    }

    /// Marks the current campaign as read and leaves it. Returns the same as `leave_campaign`.
    fn complete_campaign(&mut self) -> bool {
        self.refused_in_a_row = 0;
        if let Some(state_id) = self.current().map(|campaign| campaign.state_id) {
            self.mark_read(&state_id);
        }
        self.leave_campaign()
    }

    /// Returns a person's row with the members of the campaign.
    fn with_campaign_json_members(&self, row: &[u8]) -> Vec<u8> {
        let row = row.trim_ascii();
        let (Some(campaign), Some(own)) = (self.current(), row.strip_prefix(b"{")) else {
            return row.to_vec();
        };
        let mut members = campaign.json_members.as_bytes();
        if own.trim_ascii_start().starts_with(b"}") {
            members = members.strip_suffix(b",").unwrap_or(members);
        }
        [b"{", members, own].concat()
    }
}

/// Returns the text by which a checkpoint names a campaign and its totals.
fn state_id_text(campaign: &Campaign) -> String {
    let mut name = String::new();
    campaign.state_id.write(&mut name);
    name
}

/// Returns the call for the smallest page of the list.
#[must_use]
pub fn probe(stream: Stream) -> Call {
    list_call(stream, 1, None)
}

/// Returns the call for a page of the list. It requests all campaigns, because `data` names none.
fn list_call(stream: Stream, page_records: u32, token: Option<&str>) -> Call {
    let mut body = pages::request_prefix(page_records, token);
    body.push_str(",\"data\":[]}");
    Call::post(stream.info().endpoint.to_owned(), body)
}

impl PagingStrategy for Campaigns {
    const EMPTY_PAGES: EmptyPagePolicy = EmptyPagePolicy::Follow("reading");

    fn stream(&self) -> Stream {
        self.stream
    }

    fn cursor(&mut self) -> Cursor<'_> {
        let (token, page_progress, stall_detector) = if self.is_reading_list() {
            let campaigns = &mut self.campaigns_position;
            let done = &mut self.list_page_progress;
            (
                &mut campaigns.list_token,
                done,
                &mut campaigns.list_stall_detector,
            )
        } else {
            let position = &mut self.position;
            let done = &mut position.page_progress;
            (&mut position.page_token, done, &mut position.stall_detector)
        };
        Cursor {
            token,
            page_progress,
            stall_detector: self
                .scratch_stall_detector
                .as_mut()
                .unwrap_or(stall_detector),
        }
    }

    fn due(&self, _has_page: bool, context: Context<'_>) -> (Timestamp, bool) {
        lists::due(&self.position, self.interval_minutes, context)
    }

    fn collected_until(&self, context: Context<'_>) -> Option<Timestamp> {
        self.position.read_at.map(|at| context.to_upstream(at))
    }

    fn call(&mut self, context: Context<'_>, _batch: &mut Builder) -> Call {
        // A page of the list that is read again to find the current campaign has nothing new. Each
        // instance does that, and it must not count as a loop.
        let is_reread = self.is_reading_list() && self.campaigns_position.current.is_some();
        self.scratch_stall_detector = is_reread.then(StallDetector::default);
        if self.position.to.is_none() {
            self.position.to = Some(context.upstream_now.floor_second());
            self.position.begun_at = Some(context.now);
        }
        let (post, path) = self.people_request;
        let Some(campaign) = self.current() else {
            let token = self.campaigns_position.list_token.as_deref();
            return list_call(self.stream, post.page_records, token);
        };
        let token = self.position.page_token.as_deref();
        let mut body = pages::request_prefix(post.page_records, token);
        body.push_str(",\"data\":[{\"id\":");
        push_quoted(&mut body, &campaign.id);
        body.push_str("}]}");
        Call::post(path.to_owned(), body)
    }

    fn read(
        &mut self,
        (_, body): (&Head, Vec<u8>),
        _: Context<'_>,
    ) -> Result<Page, InvalidResponse> {
        match self.unread_campaigns {
            None => Page::read(body, "", self.campaigns_position.list_token.as_deref()),
            Some(_) => Page::read(
                body,
                self.people_request.0.records_member,
                self.position.page_token.as_deref(),
            ),
        }
    }

    fn process(
        &mut self,
        found: PageRecord<'_>,
        processor: &mut RecordProcessor,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> ProcessResult {
        if self.is_reading_list() {
            // A campaign is not a record, so it is not counted.
            return if self.select_campaign(found.bytes, context, batch) {
                ProcessResult::FirstInReading
            } else {
                ProcessResult::Consumed
            };
        }
        let row = self.with_campaign_json_members(found.bytes);
        let id = self.current().map(|campaign| campaign.id.clone());
        let stream = self.stream;
        let locator = || {
            let id = id.as_deref().unwrap_or_default();
            format!("{stream} campaign {id} record {}", found.number)
        };
        let record = RawRecord::new(stream, &row);
        let offered = offer_item(self.people(), record, &locator, processor, context, batch);
        if let (Some(id), ProcessResult::Consumed | ProcessResult::FirstInReading) = &offered {
            self.mark_seen(id, batch);
        }
        offered.1
    }

    fn advance(&mut self, page: FinishedPage, _context: Context<'_>) -> bool {
        if self.is_reading_list() {
            self.next_list_token = page.next_token;
            self.begin_campaigns();
            return self.current().is_some() || self.move_to_next_list_page();
        }
        self.position.page_token = page.next_token;
        self.position.page_token.is_some() || self.complete_campaign()
    }

    /// Ends a campaign, or the list, after too many empty pages; the last campaign ends the reading.
    fn handle_last_page(&mut self, _context: Context<'_>, _batch: &mut Builder) {
        let has_next = self.current().is_some() && self.complete_campaign();
        self.position.pages_done = !has_next;
    }

    fn restart_reading(&mut self) {
        *self.cursor().token = None;
    }

    /// Handles a refused call. With a page token, the list or the campaign is read again from its
    /// beginning, unless the token came from an empty page: such a token leads nowhere. A campaign that
    /// is refused without a token is left for the next reading.
    fn handle_refusal(&mut self, _context: Context<'_>, batch: &mut Builder) -> bool {
        let is_list = self.is_reading_list();
        let cursor = self.cursor();
        let had_token = cursor.token.take().is_some();
        let is_after_empty = cursor.stall_detector.empty_pages > 0;
        *cursor.page_progress = None;
        if had_token && is_after_empty {
            let has_next = !is_list && self.complete_campaign();
            self.position.pages_done = !has_next;
            return true;
        }
        if had_token {
            let detail = "Mimecast refused the page token; the campaigns are read again from the \
                          beginning, and what was delivered is left out";
            batch.notice(self.stream, NoticeKind::Adjusted, detail.to_owned());
            return true;
        }
        if is_list {
            return false;
        }
        self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
        let detail = "Mimecast refused a phishing campaign that it had listed; it is read again \
                      next time";
        batch.notice(self.stream, NoticeKind::Postponed, detail.to_owned());
        self.position.pages_done = !self.leave_campaign();
        // After the last of them the stream backs off, and then the next campaign is tried.
        self.refused_in_a_row < REFUSED_MAX
    }

    fn is_call_for_listed_item(&self) -> bool {
        !self.is_reading_list()
    }

    fn is_awaiting_completion(&self) -> bool {
        self.position.pages_done
    }

    /// Ends the reading.
    fn complete_reading(
        &mut self,
        _processor: &mut RecordProcessor,
        context: Context<'_>,
        _batch: &mut Builder,
    ) -> OfferResult {
        for item in self.people().iter_mut() {
            item.missed = !item.seen;
            item.seen = false;
        }
        // Campaigns that are gone, and totals that have changed.
        for old in self.read_campaigns.ids(|item| !item.seen) {
            self.read_campaigns.remove(&old);
        }
        for item in self.read_campaigns.iter_mut() {
            item.seen = false;
        }
        let people = self.people.take().map(|people| people.to_text());
        self.position = ListPosition {
            read_at: Some(context.now),
            last_reading_overflowed: self.position.current_reading_overflows,
            items: people.unwrap_or_default(),
            ..ListPosition::default()
        };
        self.unread_campaigns = None;
        self.selected.clear();
        self.refused_in_a_row = 0;
        self.campaigns_position.current = None;
        self.campaigns_position.list_token = None;
        self.campaigns_position.list_stall_detector = StallDetector::default();
        OfferResult::Consumed
    }

    fn save(&self, page: Option<&Page>, position: &mut StreamPosition) {
        let page = page.filter(|_| !self.is_reading_list());
        position.list = Some(ListPosition {
            campaigns: Some(CampaignsPosition {
                read_campaigns: self.read_campaigns.to_text(),
                ..self.campaigns_position.clone()
            }),
            ..lists::position_to_save(&self.position, self.people.as_ref(), page)
        });
    }
}
