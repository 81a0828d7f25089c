//! NDJSON to standard output: whole lines, flushed after each batch.
//!
//! A separate thread writes, so that a stalled reader blocks the
//! source, but neither the runtime nor signal handling.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;

use async_trait::async_trait;
use source_common::exit::Failure;
use source_common::section::{Section, SettingsErrors};
use tokio::sync::oneshot;

use super::{Delivery, Output, OutputConfig, OutputError, UndeliverableEvent};

/// The values that the setting `max_line_bytes` may have.
const LINE_BYTES_SETTING_MIN: u64 = 256;
const LINE_BYTES_SETTING_MAX: u64 = 1 << 30;

#[derive(Clone, Debug)]
struct StdoutOutputConfig {
    line_bytes_max: Option<usize>,
}

/// Parses the settings of `type = "stdout"`.
pub(super) fn parse(mut section: Section<'_>) -> Result<Box<dyn OutputConfig>, Failure> {
    let mut errors = SettingsErrors::default();
    let bytes = section.number(
        "max_line_bytes",
        LINE_BYTES_SETTING_MIN..=LINE_BYTES_SETTING_MAX,
    );
    let bytes = errors.ok_or_push(bytes).flatten();
    errors.ok_or_push(section.finish());
    errors.into_result()?;
    Ok(Box::new(StdoutOutputConfig {
        line_bytes_max: bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
    }))
}

#[async_trait]
impl OutputConfig for StdoutOutputConfig {
    async fn open(&self) -> Result<Box<dyn Output>, Failure> {
        ndjson_output(io::stdout(), self.line_bytes_max)
    }

    async fn test(&self) -> Result<String, OutputError> {
        Ok("stdout".to_owned())
    }

    fn is_stdout(&self) -> bool {
        true
    }
}

/// Returns an output that writes NDJSON to any writer like `stdout` does, for programs with their
/// own pipe. A line longer than `line_bytes_max` is rejected.
pub fn ndjson_output(
    writer: impl Write + Send + 'static,
    line_bytes_max: Option<usize>,
) -> Result<Box<dyn Output>, Failure> {
    let output = NdjsonOutput::start(writer, line_bytes_max)
        .map_err(|error| Failure::failed(format!("stdout: {error}")))?;
    Ok(Box::new(output))
}

/// Waits until the reader of standard output has closed it: a host with nothing
/// to write would not notice, and would hold its state directory while the next
/// one is started. Never returns where that cannot be observed, as for a file.
#[cfg(unix)]
pub(super) async fn wait_until_closed() {
    let (sender, receiver) = oneshot::channel();
    // Uses a blocking `poll` in a thread that lives until the process ends: to
    // register standard output with the runtime would make it non-blocking.
    let watching = thread::Builder::new()
        .name("stdout-reader".to_owned())
        .spawn(move || {
            if block_until_closed().is_ok() {
                // The receiver may be gone already.
                let _ = sender.send(());
            }
        });
    if watching.is_err() || receiver.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Blocks until standard output is a pipe without a reader, or a terminal that
/// has hung up.
#[cfg(unix)]
fn block_until_closed() -> rustix::io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};

    let stdout = io::stdout();
    loop {
        // With empty flags only errors and hang-ups are reported.
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut watched, None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Never returns: this is not observable on this system.
#[cfg(not(unix))]
pub(super) async fn wait_until_closed() {
    std::future::pending::<()>().await;
}

/// Writes `partial_line` and then whole lines. On error `partial_line` is the unwritten remainder
/// of the current line.
fn write(writer: &mut impl Write, partial_line: &mut Vec<u8>, text: &[u8]) -> io::Result<()> {
    let (written, result) = write_counted(writer, partial_line);
    partial_line.drain(..written);
    result?;
    let (written, result) = write_counted(writer, text);
    let (done, left) = text.split_at_checked(written).unwrap_or((text, &[]));
    if result.is_err() && !done.is_empty() && !done.ends_with(b"\n") {
        let line = left.split_inclusive(|byte| *byte == b'\n').next();
        partial_line.extend_from_slice(line.unwrap_or_default());
    }
    result.and_then(|()| writer.flush())
}

/// Writes all bytes, and returns how many were written even on error.
#[expect(
    clippy::disallowed_methods,
    reason = "`write_all` does not report how much it has written before an error"
)]
fn write_counted(writer: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    loop {
        let left = bytes.get(written..).unwrap_or_default();
        if left.is_empty() {
            return (written, Ok(()));
        }
        match writer.write(left) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
}

/// An output that writes lines on a thread of its own.
struct NdjsonOutput {
    write_jobs: mpsc::Sender<WriteJob>,
    line_bytes_max: Option<usize>,
}

struct WriteJob {
    text: String,
    done: oneshot::Sender<io::Result<()>>,
}

impl NdjsonOutput {
    fn start(
        mut writer: impl Write + Send + 'static,
        line_bytes_max: Option<usize>,
    ) -> io::Result<Self> {
        let (write_jobs, queue) = mpsc::channel::<WriteJob>();
        thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                // The remainder of a partially written line. It is
                // completed first, and then the delivery is written again as a whole.
                let mut partial_line = Vec::new();
                for job in queue {
                    let result = write(&mut writer, &mut partial_line, job.text.as_bytes());
                    // On shutdown nobody waits for the result.
                    drop(job.done.send(result));
                }
            })?;
        Ok(Self {
            write_jobs,
            line_bytes_max,
        })
    }

    /// Separates lines to write from lines that are too long.
    fn partition_lines(&self, delivery: &Delivery<'_>) -> (String, Vec<UndeliverableEvent>) {
        let Some(bytes_max) = self.line_bytes_max else {
            return (delivery.events.to_owned(), Vec::new());
        };
        let mut text = String::with_capacity(delivery.events.len());
        let mut undeliverable_events = Vec::new();
        for (index, event) in delivery.iter().enumerate() {
            let bytes = event.body.len() + 1;
            if bytes > bytes_max {
                let reason = format!("its line has {bytes} bytes; max_line_bytes is {bytes_max}");
                undeliverable_events.push(UndeliverableEvent { index, reason });
            } else {
                text.push_str(event.body);
                text.push('\n');
            }
        }
        (text, undeliverable_events)
    }

    async fn write(&self, text: String) -> Result<(), OutputError> {
        let (done, written) = oneshot::channel();
        self.write_jobs
            .send(WriteJob { text, done })
            .map_err(|_| OutputError::Closed)?;
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputError::Closed),
            // For example a file on a full disk.
            Ok(Err(error)) => Err(OutputError::Retry(format!("stdout: {error}").into())),
            Err(_) => Err(OutputError::Closed),
        }
    }
}

#[async_trait]
impl Output for NdjsonOutput {
    fn name(&self) -> &str {
        "stdout"
    }

    async fn accept(&mut self, delivery: &Delivery<'_>) -> Result<(), OutputError> {
        let (text, undeliverable_events) = self.partition_lines(delivery);
        if !text.is_empty() {
            self.write(text).await?;
        }
        if undeliverable_events.is_empty() {
            Ok(())
        } else {
            Err(OutputError::Undeliverable(undeliverable_events))
        }
    }

    async fn close(&mut self) -> Result<(), OutputError> {
        // Every accepted batch is flushed already.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use source_common::delivery::Entry;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
            written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn delivery<'a>(events: &'a str, index: &'a [Entry]) -> Delivery<'a> {
        Delivery {
            source: "acme",
            namespace: "test",
            events,
            index,
            kinds: &[],
        }
    }

    fn entry(end: u32) -> Entry {
        Entry {
            end,
            occurred_at: 0,
            kind: 0,
        }
    }

    #[tokio::test]
    async fn events_are_written_before_they_are_accepted() {
        let shared = Shared::default();
        let mut output = NdjsonOutput::start(shared.clone(), None).unwrap();
        let index = [entry(3), entry(6)];
        output.accept(&delivery("{}\n[]\n", &index)).await.unwrap();
        assert_eq!(*shared.0.lock().unwrap(), b"{}\n[]\n");
    }

    /// A writer with room for a number of bytes, and the bytes that were written.
    #[derive(Clone, Default)]
    struct Full(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
            let count = bytes.len().min(disk.0);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.0 -= count;
            disk.1.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn standard_output_on_a_full_disk_is_retried_and_no_line_is_torn() {
        let full = Full::default();
        full.0.lock().unwrap().0 = 8;
        let mut output = NdjsonOutput::start(full.clone(), None).unwrap();
        let events = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n";
        let index = [entry(8), entry(16), entry(24)];
        for room in [3, 2, 5] {
            let error = output.accept(&delivery(events, &index)).await.unwrap_err();
            assert!(matches!(error, OutputError::Retry(_)), "{error:?}");
            full.0.lock().unwrap().0 = room;
        }
        full.0.lock().unwrap().0 = 1_000;
        // A delivery of another source comes first.
        output.accept(&delivery("{}\n", &index[..1])).await.unwrap();
        output.accept(&delivery(events, &index)).await.unwrap();
        let written = String::from_utf8(full.0.lock().unwrap().1.clone()).unwrap();
        let lines: Vec<&str> = written.lines().collect();
        assert!(
            lines
                .iter()
                .all(|line| *line == "{}" || events.contains(&format!("{line}\n"))),
            "{lines:?}"
        );
        assert!(written.ends_with(&format!("{{}}\n{events}")), "{written}");
    }

    #[tokio::test]
    async fn a_closed_pipe_is_distinguished_from_other_errors() {
        let mut output = NdjsonOutput::start(Broken, None).unwrap();
        let index = [entry(3)];
        let error = output.accept(&delivery("{}\n", &index)).await.unwrap_err();
        assert!(matches!(error, OutputError::Closed), "{error}");
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_undeliverable_and_the_others_are_written() {
        let shared = Shared::default();
        let mut output = NdjsonOutput::start(shared.clone(), Some(4)).unwrap();
        let index = [entry(3), entry(9), entry(12)];
        let error = output
            .accept(&delivery("{}\n12345\n[]\n", &index))
            .await
            .unwrap_err();
        let OutputError::Undeliverable(undeliverable_events) = error else {
            panic!("{error}");
        };
        assert_eq!(undeliverable_events.len(), 1);
        assert_eq!(undeliverable_events[0].index, 1);
        assert_eq!(*shared.0.lock().unwrap(), b"{}\n[]\n");
    }
}
