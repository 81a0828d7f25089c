//! A component's standard error, line by line into the host's log, with
//! bounds and without secrets.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tracing::info;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::untrusted_text::Sanitizer;

/// What a component may write in one piece.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// A line beyond this is cut: it is a diagnostic, not a dump.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// Lines per call; beyond it they are only counted.
const LINES_PER_CALL_MAX: u32 = 100;

/// The log of one instance. Clones write to the same log.
#[derive(Clone, Debug)]
pub(super) struct GuestLog {
    shared: Arc<Mutex<Lines>>,
}

#[derive(Debug)]
struct Lines {
    source: String,
    sanitizer: Sanitizer,
    partial: Vec<u8>,
    logged: u32,
    left_out: u32,
    /// The last lines of this call, for the report of a trap.
    last: Option<String>,
}

impl GuestLog {
    pub(super) fn new(source: &str, sanitizer: Sanitizer) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Lines {
                source: source.to_owned(),
                sanitizer,
                partial: Vec::new(),
                logged: 0,
                left_out: 0,
                last: None,
            })),
        }
    }

    /// Begin a call: its lines count from zero.
    pub(super) fn begin_call(&self) {
        self.with(|lines| {
            lines.logged = 0;
            lines.left_out = 0;
            lines.last = None;
        });
    }

    /// End a call: log what has no end of line yet. Returns the last line,
    /// which is where a panic says what happened.
    pub(super) fn end_call(&self) -> Option<String> {
        self.with(|lines| {
            lines.end_line();
            if lines.left_out > 0 {
                info!(source = %lines.source, lines = lines.left_out, "component: more lines left out");
            }
            lines.last.take()
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Lines) -> T) -> T {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
            self.partial.extend(text.iter().take(room));
            if text.len() < piece.len() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        self.partial.clear();
        if line.is_empty() {
            return;
        }
        let line = self.sanitizer.text(&line, LINE_BYTES_MAX);
        if self.logged < LINES_PER_CALL_MAX {
            self.logged += 1;
            info!(source = %self.source, "component: {line}");
            // The advice on backtraces that follows a panic says nothing.
            if !line.starts_with("note: ") {
                self.last = Some(line);
            }
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this one, and it is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for GuestLog {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.with(|lines| lines.push(&bytes));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Redactor;

    fn log_of(pieces: &[&str]) -> (GuestLog, Option<String>) {
        let redactor = Redactor::new(["hunter22".to_owned()]);
        let log = GuestLog::new("acme", Sanitizer::new(redactor));
        log.begin_call();
        for piece in pieces {
            log.clone().write(Bytes::from((*piece).to_owned())).unwrap();
        }
        let last = log.end_call();
        (log, last)
    }

    #[test]
    fn a_line_may_arrive_in_pieces() {
        let (_, last) = log_of(&["one\nthe se", "cond"]);
        assert_eq!(last.as_deref(), Some("the second"));
    }

    #[test]
    fn a_secret_does_not_reach_the_log() {
        let (_, last) = log_of(&["the secret is hunter", "22!\n"]);
        assert_eq!(last.as_deref(), Some("the secret is [redacted]!"));
    }

    #[test]
    fn a_line_cannot_look_like_several_or_move_the_cursor() {
        let (_, last) = log_of(&["a\r2026-01-01T00:00:00Z  INFO forged\u{1b}[2K\u{202e}b\n"]);
        let line = "a\\r2026-01-01T00:00:00Z  INFO forged\\u{1b}[2K\\u{202e}b";
        assert_eq!(last.as_deref(), Some(line));
    }

    #[test]
    fn a_flood_is_cut() {
        let flood = "x\n".repeat(1_000);
        let (log, _) = log_of(&[&flood]);
        assert_eq!(log.with(|lines| lines.left_out), 900);
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let (_, last) = log_of(&[&"y".repeat(LINE_BYTES_MAX * 2)]);
        assert_eq!(last.map(|line| line.len()), Some(LINE_BYTES_MAX));
    }
}
