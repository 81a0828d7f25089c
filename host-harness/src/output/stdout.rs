//! NDJSON on standard output: whole lines, flushed with each batch.
//!
//! A thread of its own does the writing. A reader that stands still holds the
//! source back, and neither the runtime nor a signal.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{Delivery, Output, OutputError, Plan, Poison};
use crate::exit::Failure;
use crate::settings::Section;

const LINE_BYTES_MIN: u64 = 256;
const LINE_BYTES_MAX: u64 = 1 << 30;

#[derive(Clone, Debug)]
struct StdoutPlan {
    line_bytes_max: Option<usize>,
}

/// Understand `type = "stdout"`.
pub(super) fn plan(mut section: Section<'_>) -> Result<Box<dyn Plan>, Failure> {
    let bytes = section.number("max_line_bytes", LINE_BYTES_MIN..=LINE_BYTES_MAX)?;
    section.finish()?;
    Ok(Box::new(StdoutPlan {
        line_bytes_max: bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
    }))
}

#[async_trait]
impl Plan for StdoutPlan {
    async fn open(&self) -> Result<Box<dyn Output>, OutputError> {
        lines(io::stdout(), self.line_bytes_max)
    }

    fn is_stdout(&self) -> bool {
        true
    }
}

/// NDJSON into a writer, as `stdout` does it, for programs that have a pipe of
/// their own. A line longer than `line_bytes_max` is poison.
pub fn lines(
    writer: impl Write + Send + 'static,
    line_bytes_max: Option<usize>,
) -> Result<Box<dyn Output>, OutputError> {
    let output = Lines::start(writer, line_bytes_max)
        .map_err(|error| OutputError::Fatal(format!("stdout: {error}")))?;
    Ok(Box::new(output))
}

/// A writer behind a thread.
struct Lines {
    jobs: mpsc::Sender<Job>,
    line_bytes_max: Option<usize>,
}

struct Job {
    text: String,
    done: oneshot::Sender<io::Result<()>>,
}

impl Lines {
    fn start(
        mut writer: impl Write + Send + 'static,
        line_bytes_max: Option<usize>,
    ) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                for job in queue {
                    let result = writer
                        .write_all(job.text.as_bytes())
                        .and_then(|()| writer.flush());
                    // Nobody waits any more when the host stops.
                    drop(job.done.send(result));
                }
            })?;
        Ok(Self {
            jobs,
            line_bytes_max,
        })
    }

    /// What is written, and what is too long to be.
    fn select(&self, delivery: &Delivery<'_>) -> (String, Vec<Poison>) {
        let Some(bytes_max) = self.line_bytes_max else {
            return (delivery.events.to_owned(), Vec::new());
        };
        let mut text = String::with_capacity(delivery.events.len());
        let mut poison = Vec::new();
        for (event, found) in delivery.iter().enumerate() {
            let bytes = found.body.len() + 1;
            if bytes > bytes_max {
                let reason = format!("its line has {bytes} bytes; max_line_bytes is {bytes_max}");
                poison.push(Poison { event, reason });
            } else {
                text.push_str(found.body);
                text.push('\n');
            }
        }
        (text, poison)
    }

    async fn write(&self, text: String) -> Result<(), OutputError> {
        let (done, written) = oneshot::channel();
        self.jobs
            .send(Job { text, done })
            .map_err(|_| OutputError::Closed)?;
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputError::Closed),
            Ok(Err(error)) => Err(OutputError::Fatal(format!("stdout: {error}"))),
            Err(_) => Err(OutputError::Closed),
        }
    }
}

#[async_trait]
impl Output for Lines {
    fn name(&self) -> &str {
        "stdout"
    }

    async fn accept(&mut self, delivery: &Delivery<'_>) -> Result<(), OutputError> {
        let (text, poison) = self.select(delivery);
        if !text.is_empty() {
            self.write(text).await?;
        }
        if poison.is_empty() {
            Ok(())
        } else {
            Err(OutputError::Poison(poison))
        }
    }

    async fn close(&mut self) -> Result<(), OutputError> {
        // Every accepted batch has been flushed.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::bindings::Entry;

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
        let mut output = Lines::start(shared.clone(), None).unwrap();
        let index = [entry(3), entry(6)];
        output.accept(&delivery("{}\n[]\n", &index)).await.unwrap();
        assert_eq!(*shared.0.lock().unwrap(), b"{}\n[]\n");
    }

    #[tokio::test]
    async fn a_closed_pipe_is_told_apart_from_other_errors() {
        let mut output = Lines::start(Broken, None).unwrap();
        let index = [entry(3)];
        let error = output.accept(&delivery("{}\n", &index)).await.unwrap_err();
        assert!(matches!(error, OutputError::Closed), "{error}");
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_poison_and_the_others_are_written() {
        let shared = Shared::default();
        let mut output = Lines::start(shared.clone(), Some(4)).unwrap();
        let index = [entry(3), entry(9), entry(12)];
        let error = output
            .accept(&delivery("{}\n12345\n[]\n", &index))
            .await
            .unwrap_err();
        let OutputError::Poison(poison) = error else {
            panic!("{error}");
        };
        assert_eq!(poison.len(), 1);
        assert_eq!(poison[0].event, 1);
        assert_eq!(*shared.0.lock().unwrap(), b"{}\n[]\n");
    }
}
