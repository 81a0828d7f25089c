//! Forwards a component's standard error to the host's log, line by line, rate limited
//! and without secrets.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tracing::{info, warn};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::source_accounting::SourceAccounting;
use crate::rate_limit::{Admission, Suppressed};
use crate::untrusted_text::Sanitizer;

/// Maximum size of one write.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// Longer lines are truncated: the log is for diagnostics, not dumps.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// The log of one instance. Clones share the same log.
#[derive(Clone, Debug)]
pub(super) struct GuestLog {
    shared: Arc<Mutex<LogBuffer>>,
}

#[derive(Debug)]
struct LogBuffer {
    source: String,
    sanitizer: Sanitizer,
    accounting: SourceAccounting,
    partial: Vec<u8>,
    /// The last line of this call, for the error about a trap.
    last: Option<String>,
}

impl GuestLog {
    pub(super) fn new(source: &str, sanitizer: Sanitizer, accounting: SourceAccounting) -> Self {
        Self {
            shared: Arc::new(Mutex::new(LogBuffer {
                source: source.to_owned(),
                sanitizer,
                accounting,
                partial: Vec::new(),
                last: None,
            })),
        }
    }

    /// Starts a call.
    pub(super) fn begin_call(&self) {
        self.with(|buffer| buffer.last = None);
    }

    /// Ends a call: logs an incomplete line. Returns the last line,
    /// where a panic reports what happened.
    pub(super) fn end_call(&self) -> Option<String> {
        self.with(|buffer| {
            let now = Instant::now();
            buffer.end_line(now);
            let suppressed = buffer
                .accounting
                .stderr_limiter()
                .take_suppressed_if_open(now);
            buffer.log_suppressed(suppressed);
            buffer.last.take()
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut LogBuffer) -> T) -> T {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LogBuffer {
    fn push(&mut self, bytes: &[u8], now: Instant) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
            self.partial.extend(text.iter().take(room));
            if text.len() < piece.len() {
                self.end_line(now);
            }
        }
    }

    fn end_line(&mut self, now: Instant) {
        let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        self.partial.clear();
        if line.is_empty() {
            return;
        }
        let line = self.sanitizer.text(&line, LINE_BYTES_MAX);
        let admission = self.accounting.stderr_limiter().admit(line.len(), now);
        if let Admission::Pass(suppressed) = admission {
            self.log_suppressed(suppressed);
            info!(source = %self.source, "component: {line}");
        }
        // The last line is kept even if it is suppressed: it says why the component
        // traps. The note on backtraces that follows a panic does not.
        if !line.starts_with("note: ") {
            self.last = Some(line);
        }
    }

    fn log_suppressed(&self, suppressed: Option<Suppressed>) {
        if let Some(suppressed) = suppressed {
            warn!(source = %self.source, "standard error of the component: {suppressed}");
        }
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        let suppressed = self.accounting.stderr_limiter().take_suppressed();
        self.log_suppressed(suppressed);
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only used by WASI 0.3, which is not linked.
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
        self.with(|buffer| buffer.push(&bytes, Instant::now()));
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
    use source_common::secret::Redactor;

    fn log_of(pieces: &[&str]) -> (GuestLog, Option<String>) {
        let redactor = Redactor::new(["hunter22".to_owned()]);
        let log = GuestLog::new(
            "acme",
            Sanitizer::new(redactor),
            SourceAccounting::default(),
        );
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

    /// A component that traps is called in a fresh instance each time.
    #[test]
    fn a_flood_is_limited_per_source_and_not_per_call_or_instance() {
        let accounting = SourceAccounting::default();
        let flood = "x\n".repeat(1_000);
        let mut logs = Vec::new();
        for _ in 0..10 {
            let sanitizer = Sanitizer::new(Redactor::default());
            let log = GuestLog::new("acme", sanitizer, accounting.clone());
            for _ in 0..10 {
                log.begin_call();
                log.clone().write(Bytes::from(flood.clone())).unwrap();
                log.end_call();
            }
            logs.push(log); // at its end it would report, and reset the count
        }
        let suppressed = accounting.stderr_limiter().take_suppressed().unwrap().lines;
        assert!(suppressed > 99_000, "{suppressed}");
    }

    #[test]
    fn the_last_line_of_a_flood_is_kept_for_the_report_of_a_trap() {
        let (_, last) = log_of(&[&"x\n".repeat(1_000), "the reason\n"]);
        assert_eq!(last.as_deref(), Some("the reason"));
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let (_, last) = log_of(&[&"y".repeat(LINE_BYTES_MAX * 2)]);
        assert_eq!(last.map(|line| line.len()), Some(LINE_BYTES_MAX));
    }
}
