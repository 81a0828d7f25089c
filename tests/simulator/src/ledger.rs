//! What exists upstream and what was served, by identity. Tests of delivery compare with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::{Identity, first_event_id, hex};

/// What exists and what was served, per stream, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    streams: BTreeMap<String, StreamLedger>,
}

#[derive(Clone, Debug, Default)]
struct StreamLedger {
    expected: BTreeSet<String>,
    served: BTreeMap<String, u64>,
    malformed: u64,
    invalid_utf8: u64,
    untimed: BTreeSet<String>,
    deleted: BTreeMap<String, BTreeSet<String>>,
    /// The original identity of each record that was served in another form, by the identity in that form.
    rewritten: BTreeMap<String, String>,
}

impl Ledger {
    /// Returns the streams that have records.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.streams.keys().map(String::as_str)
    }

    /// Returns the identities of the records of a stream that a collector should have or have reported: those
    /// that exist, those removed after they were served, and those of deleted files.
    #[must_use]
    pub fn expected(&self, stream: &str) -> &BTreeSet<String> {
        self.streams
            .get(stream)
            .map_or(&NO_IDENTITIES, |stream_ledger| &stream_ledger.expected)
    }

    /// Returns how many records are expected in all streams; see [`Ledger::expected`].
    #[must_use]
    pub fn expected_count(&self) -> usize {
        self.streams
            .values()
            .map(|stream_ledger| stream_ledger.expected.len())
            .sum()
    }

    /// Returns the identities of the records that were served, and how often. Those of a batch file
    /// count once it was sent whole; those of a POST log, a feed or the event endpoint when the
    /// response is built, even if a fault cuts its body.
    pub fn served(&self, stream: &str) -> impl Iterator<Item = (&str, u64)> {
        let served = self
            .streams
            .get(stream)
            .into_iter()
            .flat_map(|stream_ledger| &stream_ledger.served);
        served.map(|(identity, times)| (identity.as_str(), *times))
    }

    /// Returns the identity in the ledger of a record that was delivered. It differs if the record
    /// was served with the field names of the event endpoint, or as a row of CSV.
    #[must_use]
    pub fn original<'a>(&'a self, stream: &str, identity: &'a str) -> &'a str {
        let rewritten = self
            .streams
            .get(stream)
            .map(|stream_ledger| &stream_ledger.rewritten);
        rewritten
            .and_then(|rewritten| rewritten.get(identity))
            .map_or(identity, String::as_str)
    }

    /// Returns the expected identities that are not among the delivered ones.
    pub fn missing<I>(&self, stream: &str, delivered: I) -> BTreeSet<String>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut missing = self.expected(stream).clone();
        for identity in delivered {
            missing.remove(self.original(stream, identity.as_ref()));
        }
        missing
    }

    /// Returns the delivered identities that never existed.
    pub fn unexpected<I>(&self, stream: &str, delivered: I) -> BTreeSet<String>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut unexpected: BTreeSet<String> = delivered
            .into_iter()
            .map(|identity| self.original(stream, identity.as_ref()).to_owned())
            .collect();
        unexpected.retain(|identity| {
            !self.expected(stream).contains(identity) && !self.untimed(stream).contains(identity)
        });
        unexpected
    }

    /// Returns how many lines of a stream are no records, including those that faults have added.
    #[must_use]
    pub fn malformed(&self, stream: &str) -> u64 {
        self.streams
            .get(stream)
            .map_or(0, |stream_ledger| stream_ledger.malformed)
    }

    /// Returns how many of these are malformed only because of invalid UTF-8.
    #[must_use]
    pub fn invalid_utf8(&self, stream: &str) -> u64 {
        self.streams
            .get(stream)
            .map_or(0, |stream_ledger| stream_ledger.invalid_utf8)
    }

    /// Returns the paths of the deleted files of a stream, with the identities of the records in
    /// each. The records count as expected.
    pub fn deleted(&self, stream: &str) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        let stream_ledger = self.streams.get(stream);
        let deleted = stream_ledger
            .into_iter()
            .flat_map(|stream_ledger| &stream_ledger.deleted);
        deleted.map(|(path, identities)| (path.as_str(), identities))
    }

    /// Returns the identities of the records without a timestamp, which only faults add. They are not
    /// expected.
    #[must_use]
    pub fn untimed(&self, stream: &str) -> &BTreeSet<String> {
        self.streams
            .get(stream)
            .map_or(&NO_IDENTITIES, |stream_ledger| &stream_ledger.untimed)
    }

    /// Returns the same ledger with the ids that the records have as events of a tenant: BLAKE3 of
    /// the identity, the occurrence (1) and the name.
    #[must_use]
    pub fn with_event_ids(&self, tenant: &str) -> Self {
        let id = |identity: &String| first_event_id(identity, tenant);
        let all = |identities: &BTreeSet<String>| identities.iter().map(id).collect();
        let convert = |stream_ledger: &StreamLedger| StreamLedger {
            expected: all(&stream_ledger.expected),
            served: stream_ledger
                .served
                .iter()
                .map(|(identity, times)| (id(identity), *times))
                .collect(),
            untimed: all(&stream_ledger.untimed),
            deleted: stream_ledger
                .deleted
                .iter()
                .map(|(path, identities)| (path.clone(), all(identities)))
                .collect(),
            rewritten: stream_ledger
                .rewritten
                .iter()
                .map(|(rewritten, original)| (id(rewritten), id(original)))
                .collect(),
            ..*stream_ledger
        };
        let streams = self.streams.iter();
        Self {
            streams: streams
                .map(|(stream, of)| (stream.clone(), convert(of)))
                .collect(),
        }
    }

    pub(crate) fn add(&mut self, stream: &str, identity: &Identity, served: u64) {
        let stream_ledger = self.streams.entry(stream.to_owned()).or_default();
        let identity = hex(identity);
        if served > 0 {
            *stream_ledger.served.entry(identity.clone()).or_default() += served;
        }
        stream_ledger.expected.insert(identity);
    }

    /// Notes a record that was served in another form, and how many times.
    pub(crate) fn add_rewritten(
        &mut self,
        stream: &str,
        rewritten: &Identity,
        original: &Identity,
        served: u64,
    ) {
        let stream_ledger = self.streams.entry(stream.to_owned()).or_default();
        let (rewritten, original) = (hex(rewritten), hex(original));
        *stream_ledger.served.entry(original.clone()).or_default() += served;
        stream_ledger.rewritten.insert(rewritten, original);
    }

    pub(crate) fn add_malformed(&mut self, stream: &str, lines: u64, invalid_utf8: u64) {
        let stream_ledger = self.streams.entry(stream.to_owned()).or_default();
        stream_ledger.malformed += lines;
        stream_ledger.invalid_utf8 += invalid_utf8;
    }

    pub(crate) fn add_deleted(&mut self, stream: &str, path: &str, identities: &[Identity]) {
        let stream_ledger = self.streams.entry(stream.to_owned()).or_default();
        let identities = identities.iter().map(|identity| hex(identity)).collect();
        stream_ledger.deleted.insert(path.to_owned(), identities);
    }

    pub(crate) fn add_untimed(&mut self, stream: &str, identity: String) {
        self.streams
            .entry(stream.to_owned())
            .or_default()
            .untimed
            .insert(identity);
    }
}

static NO_IDENTITIES: BTreeSet<String> = BTreeSet::new();
