//! `file` read by rsyslog's imfile, which is stopped in between; left out with
//! a line where there is none. rsyslog has no input that acknowledges, so the
//! file between the two is what keeps the events. Killed instead of stopped,
//! rsyslog itself loses some lines: its position in the file runs ahead of what
//! it has written (300 of 12,000 lines seen, with a direct queue as well).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::test_delivery::{DEADLINE, TestDelivery, deliver, open, report_skipped_test};

const PROGRAM: &str = "/usr/sbin/rsyslogd";

struct Rsyslog(Child);

impl Rsyslog {
    fn start(directory: &Path) -> Self {
        let at = |name: &str| directory.join(name).display().to_string();
        // The example, at other paths.
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/rsyslog.conf");
        let mut config = fs::read_to_string(example).unwrap();
        for (path, here) in [
            ("/var/lib/rsyslog", at("work")),
            ("/var/lib/source-host/events", at("")),
            ("/var/log/mimecast.ndjson", at("received")),
        ] {
            assert!(config.contains(path), "{path}: {config}");
            config = config.replace(path, here.trim_end_matches('/'));
        }
        fs::create_dir_all(directory.join("work")).unwrap();
        fs::write(directory.join("rsyslog.conf"), config).unwrap();
        let child = Command::new(PROGRAM)
            .args(["-n", "-C", "-f", &at("rsyslog.conf"), "-i", &at("pid")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.join("log")).unwrap())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let process = self.0.id().to_string();
        drop(Command::new("kill").args(["-TERM", &process]).status());
        drop(self.0.wait());
    }
}

fn received(directory: &Path) -> BTreeSet<u64> {
    let text = fs::read_to_string(directory.join("received")).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["n"]
                .as_u64()
                .unwrap()
        })
        .collect()
}

async fn until_received(directory: &Path, count: usize) {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        if received(directory).len() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let log = fs::read_to_string(directory.join("log")).unwrap();
    panic!("{} of {count}: {log}", received(directory).len());
}

#[tokio::test]
async fn rsyslog_reads_every_event_over_rotations_and_a_restart() {
    if !Path::new(PROGRAM).exists() {
        return report_skipped_test("rsyslog is not installed");
    }
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path();
    let path = directory.join("events.ndjson");
    let settings = format!(
        "type = \"file\"\npath = \"{}\"\nrotate_mib = 1",
        path.display()
    );
    let mut output = open(&settings).await;
    let mut rsyslog = Some(Rsyslog::start(directory));
    for batch in 0..6 {
        // More than a mebibyte: the next batch begins a new file. While rsyslog is
        // stopped, that happens three times.
        let test_delivery = TestDelivery::new(batch * 4_000..(batch + 1) * 4_000);
        match batch {
            1 => rsyslog = None,
            4 => rsyslog = Some(Rsyslog::start(directory)),
            _ => {}
        }
        deliver(&mut *output, &test_delivery).await;
        if rsyslog.is_some() {
            until_received(directory, (batch + 1) * 4_000).await;
        }
    }
    let closed = fs::read_dir(directory).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("events-")
    });
    assert_eq!(closed.count(), 5);
    drop(rsyslog);
}
