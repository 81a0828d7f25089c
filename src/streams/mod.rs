//! The feeds: one small state machine per way in which the API hands out records.
//!
//! A feed knows its position and what it wants next. It makes no request, keeps no time and
//! decides nothing about retries of a request: that is the session's part.

pub mod batch_files;
pub mod quota;
pub mod windows;

use crate::batch::{Builder, Intake, Offer};
use crate::checkpoint::StreamPosition;
use crate::request::Request;
use crate::settings::Settings;
use crate::stream::Stream;
use crate::time::Timestamp;

/// What a feed needs to know of its surroundings.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The settings of the source.
    pub settings: &'a Settings,
    /// The host's clock.
    pub now: Timestamp,
    /// The upstream's clock.
    pub upstream_now: Timestamp,
}

/// What a feed wants next.
#[derive(Debug, PartialEq, Eq)]
pub enum Want {
    /// An API call; its answer goes to `handle_answer`.
    Call(Request),
    /// A batch file; its lines go to `take_line`.
    Download(Request),
    /// Records are in memory: call `take_records`.
    Records,
    /// Nothing before this time. The feed is caught up.
    Nothing(Timestamp),
}

/// Why an answer could not be used. The text is a clause for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(pub String);

/// Hours in milliseconds.
#[must_use]
pub fn hours_ms(hours: u32) -> i64 {
    i64::from(hours).saturating_mul(3_600_000)
}

/// One of the feeds.
pub enum Feed {
    /// Pages of batch files.
    BatchFiles(batch_files::BatchFiles),
    /// Windows of time over a POST endpoint.
    Windows(windows::Windows),
}

impl Feed {
    /// The feed of a stream, from its position or from `start`.
    #[must_use]
    pub fn open(stream: Stream, position: Option<&StreamPosition>, start: Timestamp) -> Self {
        if stream.is_batch() {
            let position = position.and_then(|position| position.files.as_ref());
            Self::BatchFiles(batch_files::BatchFiles::open(stream, position, start))
        } else {
            let position = position.and_then(|position| position.window.as_ref());
            Self::Windows(windows::Windows::open(stream, position, start))
        }
    }

    /// What to do next.
    pub fn next(&mut self, context: Context<'_>, batch: &mut Builder) -> Want {
        match self {
            Self::BatchFiles(feed) => feed.next(context, batch),
            Self::Windows(feed) => feed.next(context, batch),
        }
    }

    /// When the feed next wants something, and whether it is caught up until then.
    #[must_use]
    pub fn due(&self, context: Context<'_>) -> (Timestamp, bool) {
        match self {
            Self::BatchFiles(feed) => feed.due(context),
            Self::Windows(feed) => feed.due(context),
        }
    }

    /// Whether the next want is an API call, which a quota may hold back.
    #[must_use]
    pub fn wants_call(&self, context: Context<'_>) -> bool {
        match self {
            Self::BatchFiles(feed) => feed.wants_call(context),
            Self::Windows(feed) => feed.wants_call(),
        }
    }

    /// The smallest call that shows whether the stream can be read.
    #[must_use]
    pub fn probe(stream: Stream, context: Context<'_>) -> Request {
        if stream.is_batch() {
            batch_files::probe(stream, context)
        } else {
            windows::probe(stream, context)
        }
    }

    /// Takes the body of a successful answer to a [`Want::Call`].
    ///
    /// # Errors
    ///
    /// The body is not in its documented form.
    pub fn handle_answer(
        &mut self,
        body: Vec<u8>,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Result<(), Unusable> {
        match self {
            Self::BatchFiles(feed) => feed.handle_answer(&body, context, batch),
            Self::Windows(feed) => feed.handle_answer(body, context),
        }
    }

    /// The upstream refused the call as such. Returns whether the feed has another way to ask.
    pub fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        match self {
            Self::BatchFiles(feed) => feed.handle_refusal(context, batch),
            Self::Windows(feed) => feed.handle_refusal(batch),
        }
    }

    /// Makes events of records in memory until there are no more or the batch is full.
    pub fn take_records(
        &mut self,
        intake: &mut Intake,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Offer {
        match self {
            Self::BatchFiles(_) => Offer::Taken,
            Self::Windows(feed) => feed.take_records(intake, context, batch),
        }
    }

    /// The batch files, where the feed is one of them.
    pub const fn batch_files(&mut self) -> Option<&mut batch_files::BatchFiles> {
        match self {
            Self::BatchFiles(feed) => Some(feed),
            Self::Windows(_) => None,
        }
    }

    /// Writes the position.
    pub fn save(&self, position: &mut StreamPosition) {
        match self {
            Self::BatchFiles(feed) => position.files = Some(feed.position()),
            Self::Windows(feed) => position.window = Some(feed.position()),
        }
    }
}
