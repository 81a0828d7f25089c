//! Deliveries and outputs for tests.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use source_common::section::Section;
use source_outputs::{self as output, Delivery, Output, OutputError};
use source_outputs::{Entry, Kind};

/// Deadline that no test reaches, however busy the machine is.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// Events with the ids of a range.
pub(crate) struct TestDelivery {
    events: String,
    index: Vec<Entry>,
    kinds: Vec<Kind>,
}

impl TestDelivery {
    pub(crate) fn new(ids: std::ops::Range<usize>) -> Self {
        let mut test_delivery = Self::empty();
        for id in ids {
            test_delivery.push(&body(id));
        }
        test_delivery
    }

    pub(crate) fn empty() -> Self {
        Self {
            events: String::new(),
            index: Vec::new(),
            kinds: vec![Kind {
                name: "email.receipt".to_owned(),
                stream: "siem.receipt".to_owned(),
            }],
        }
    }

    pub(crate) fn push(&mut self, body: &str) {
        self.events.push_str(body);
        self.events.push('\n');
        self.index.push(Entry {
            end: u32::try_from(self.events.len()).unwrap(),
            occurred_at: 1_770_091_506_789,
            kind: 0,
        });
    }

    pub(crate) fn delivery(&self) -> Delivery<'_> {
        Delivery {
            source: "acme",
            namespace: "mimecast",
            events: &self.events,
            index: &self.index,
            kinds: &self.kinds,
        }
    }
}

/// An event of about 300 bytes.
pub(crate) fn body(id: usize) -> String {
    let text = "x".repeat(200);
    format!(
        r#"{{"@timestamp":"2026-02-03T04:05:06.789Z","event":{{"id":"id-{id}","kind":"event"}},"n":{id},"text":"{text}"}}"#
    )
}

/// The number that [`body`] has given an event.
pub(crate) fn number(event: &Value) -> usize {
    usize::try_from(event["n"].as_u64().unwrap()).unwrap()
}

/// The output that a settings file describes, opened.
pub(crate) async fn open(settings: &str) -> Box<dyn Output> {
    let table: toml::Table = settings.parse().expect("settings are TOML");
    let section = Section::new(Path::new("test.toml"), "[[output]]".to_owned(), table);
    let config = output::parse_output(section).expect("the settings are good");
    config.open().await.expect("the output opens")
}

/// The settings are refused with this message.
pub(crate) fn refusal(settings: &str) -> String {
    let table: toml::Table = settings.parse().expect("settings are TOML");
    let section = Section::new(Path::new("test.toml"), "[[output]]".to_owned(), table);
    output::parse_output(section)
        .expect_err("they are bad")
        .message
}

/// Delivers like the host: retries after each failure that may pass.
pub(crate) async fn deliver(output: &mut dyn Output, test_delivery: &TestDelivery) {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        match accept(output, test_delivery).await {
            Ok(()) => return,
            Err(
                OutputError::RetryAfterProgress(_)
                | OutputError::Retry(_)
                | OutputError::Throttled { .. },
            ) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("never accepted");
}

/// Tries a delivery once.
pub(crate) async fn accept(
    output: &mut dyn Output,
    test_delivery: &TestDelivery,
) -> Result<(), OutputError> {
    tokio::time::timeout(DEADLINE, output.accept(&test_delivery.delivery()))
        .await
        .expect("a response comes in time")
}

/// Prints that a test was skipped, bypassing the harness's capture.
pub(crate) fn report_skipped_test(why: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "LEFT OUT: {why}").unwrap();
}
