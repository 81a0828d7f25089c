//! The reconciliation: what was delivered against the records of the tenant, by identity.

use std::collections::{BTreeMap, BTreeSet};

use mimecast_simulator::Ledger;
use serde_json::Value;

use crate::run::Run;

/// How a run has ended.
#[derive(Debug, Default)]
pub(crate) struct Reconciliation {
    /// Records that exist.
    pub(crate) expected: usize,
    /// Events that the receivers have accepted.
    pub(crate) accepted: usize,
    /// Of these, how many came again.
    pub(crate) repeated: usize,
    /// Records that were rejected.
    pub(crate) rejected: usize,
    /// Records that the host left out because they had been delivered.
    pub(crate) duplicates: u64,
    /// Records that are missing because the upstream deleted their file, counted for each output.
    pub(crate) deleted_upstream: usize,
    /// How often each fault was applied, by name.
    pub(crate) fault_counts: BTreeMap<String, u64>,
    /// Records that are missing although no file was deleted, each as `output stream identity`.
    pub(crate) missing: Vec<String>,
    /// All other errors.
    errors: Vec<String>,
}

impl Reconciliation {
    pub(crate) fn of(run: &Run) -> Self {
        let ledger = run.setup.ledger();
        let mut reconciliation = Self {
            expected: ledger.expected_count(),
            fault_counts: run.fault_counts.clone(),
            ..Self::default()
        };
        let log = run.log();
        for (number, receiver) in run.receivers.iter().enumerate() {
            let accepted = receiver.accepted();
            reconciliation.accepted += accepted.len();
            reconciliation.reconcile(&format!("output {number}"), &ledger, &accepted, &log);
        }
        let streams = run.streams();
        let duplicates = streams.values().map(|stream| stream["duplicates"].as_u64());
        reconciliation.duplicates = duplicates.map(|count| count.unwrap()).sum();
        reconciliation.compare_gaps(&ledger, &log);
        reconciliation.compare_rejected(&ledger, &rejected_lines(run));
        reconciliation
    }

    fn reconcile(&mut self, output: &str, ledger: &Ledger, accepted: &[Value], log: &str) {
        let mut ids: BTreeMap<&str, BTreeMap<&str, &Value>> = BTreeMap::new();
        for event in accepted {
            let text = |name: &str| event[name].as_str().unwrap();
            ids.entry(text("stream"))
                .or_default()
                .insert(text("id"), event);
        }
        let distinct: usize = ids.values().map(BTreeMap::len).sum();
        self.repeated += accepted.len() - distinct;
        for stream in ledger.streams() {
            let ids = ids.remove(stream).unwrap_or_default();
            let mut missing = ledger.missing(stream, ids.keys());
            for (path, identities) in ledger.deleted(stream) {
                let lost: Vec<_> = missing.intersection(identities).cloned().collect();
                if !log.contains(path) {
                    self.errors
                        .push(format!("{output} {stream}: {path} was not reported"));
                }
                self.deleted_upstream += lost.len();
                missing.retain(|identity| !identities.contains(identity));
            }
            self.missing.extend(
                missing
                    .iter()
                    .map(|identity| format!("{output} {stream} {identity}")),
            );
            self.errors.extend(ids.values().filter_map(|event| {
                let record = event.get("id_mismatch")?;
                Some(format!(
                    "{output} {stream}: {} is not the id of {record}",
                    event["id"]
                ))
            }));
            for identity in ledger.unexpected(stream, ids.keys()) {
                let event = ids.get(identity.as_str());
                if event.is_none_or(|event| event.get("replaced").is_none()) {
                    self.errors
                        .push(format!("{output} {stream}: {identity} was never served"));
                }
            }
        }
        self.errors.extend(
            ids.keys()
                .map(|stream| format!("{output}: {stream} has no records")),
        );
    }

    /// Gaps are reported for deleted files, and for nothing else.
    fn compare_gaps(&mut self, ledger: &Ledger, log: &str) {
        let deleted: Vec<&str> = ledger
            .streams()
            .flat_map(|stream| ledger.deleted(stream))
            .map(|(path, _)| path)
            .collect();
        let gaps = log.lines().filter(|line| line.contains(" gap: "));
        let other = gaps.filter(|line| !deleted.iter().any(|path| line.contains(path)));
        self.errors
            .extend(other.map(|line| format!("a gap: {line}")));
    }

    /// Each malformed line was rejected once, except those with only invalid UTF-8, which become events;
    /// nothing else was.
    fn compare_rejected(&mut self, ledger: &Ledger, rejected: &BTreeSet<(String, String, String)>) {
        self.rejected = rejected.len();
        for stream in ledger.streams() {
            let of_stream = rejected
                .iter()
                .filter(|rejected_record| rejected_record.0 == stream)
                .count();
            let malformed = ledger.malformed(stream) - ledger.invalid_utf8(stream);
            if u64::try_from(of_stream).unwrap() != malformed {
                let reasons: BTreeSet<&str> = rejected
                    .iter()
                    .filter(|rejected_record| rejected_record.0 == stream)
                    .map(|rejected_record| rejected_record.2.as_str())
                    .collect();
                self.errors.push(format!(
                    "{stream}: {of_stream} records were rejected, {malformed} are malformed: {reasons:?}"
                ));
            }
        }
    }

    pub(crate) fn faults(&self) -> u64 {
        self.fault_counts.values().sum()
    }

    pub(crate) fn kills(&self) -> u64 {
        self.fault_counts.get("SIGKILL").copied().unwrap_or(0)
    }

    /// The figures of a run, or of several.
    pub(crate) fn figures(&self) -> String {
        format!(
            "{} records, {} events taken, {} repeated, {} rejected, {} duplicates, {} faults, \
             {} kills, {} missing, {} lost with deleted files",
            self.expected,
            self.accepted,
            self.repeated,
            self.rejected,
            self.duplicates,
            self.faults() - self.kills(),
            self.kills(),
            self.missing.len(),
            self.deleted_upstream,
        )
    }

    /// Adds the figures of another run.
    pub(crate) fn add(&mut self, other: Self) {
        self.expected += other.expected;
        self.accepted += other.accepted;
        self.repeated += other.repeated;
        self.rejected += other.rejected;
        self.duplicates += other.duplicates;
        self.deleted_upstream += other.deleted_upstream;
        for (name, times) in other.fault_counts {
            *self.fault_counts.entry(name).or_default() += times;
        }
    }

    pub(crate) fn assert_good(&self, name: &str) {
        let missing = self.missing.len();
        let some: Vec<_> = self.missing.iter().take(5).collect();
        assert!(
            missing == 0,
            "{name}: {missing} are missing: {some:?}\n{:?}",
            self.fault_counts
        );
        let some: Vec<_> = self.errors.iter().take(5).collect();
        assert!(
            self.errors.is_empty(),
            "{name}: {some:#?}\n{:?}",
            self.fault_counts
        );
    }
}

/// The records that were rejected: stream, place and reason, each once.
fn rejected_lines(run: &Run) -> BTreeSet<(String, String, String)> {
    let text = std::fs::read_to_string(run.setup.path("state/acme.rejected.ndjson"));
    let text = text.unwrap_or_default();
    let rejected = text.lines().map(|line| {
        let rejected_record: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| rejected_record[name].as_str().unwrap().to_owned();
        (text("stream"), text("locator"), text("reason"))
    });
    rejected.collect()
}
