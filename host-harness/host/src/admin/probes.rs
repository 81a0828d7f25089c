//! `/livez` and `/readyz`: probes without data, for a supervisor or a load balancer.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use source_runtime::store::check_writable;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::response::{ApiError, response_with_content_type};

/// How long a result is cached: anyone may send probes, and each check writes to the disk.
const CACHE_TTL: Duration = Duration::from_secs(2);
/// Timeout of a write; a slower disk is not ready.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Larger than a block that a full disk may still have free.
const PROBE_WRITE_BYTES: usize = 16 * 1024;

/// Checks whether checkpoints can be stored, with a cached result.
#[derive(Debug)]
pub(super) struct StoreProbe {
    state_dir: PathBuf,
    /// When the last check ended, and whether the directory was writable.
    last: Mutex<Option<(Instant, bool)>>,
}

impl StoreProbe {
    pub(super) fn new(state_dir: PathBuf) -> Self {
        Self {
            state_dir,
            last: Mutex::default(),
        }
    }

    /// Returns whether the state directory can be written to.
    async fn is_writable(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, is_writable)) = *last
            && at.elapsed() < CACHE_TTL
        {
            return is_writable;
        }
        let directory = self.state_dir.clone();
        let write = spawn_blocking(move || check_writable(&directory, PROBE_WRITE_BYTES));
        let written = timeout(WRITE_TIMEOUT, write).await;
        let is_writable = matches!(written, Ok(Ok(Ok(()))));
        *last = Some((Instant::now(), is_writable));
        is_writable
    }
}

/// Responds that the process is alive.
pub(super) fn live() -> Response {
    response_with_content_type(
        StatusCode::OK,
        HeaderValue::from_static("text/plain; charset=utf-8"),
        "ok\n",
    )
}

/// Responds whether the sources are loaded and checkpoints can be stored.
pub(super) async fn ready(is_loaded: bool, store: &StoreProbe) -> Response {
    if !is_loaded {
        not_loaded()
    } else if store.is_writable().await {
        live()
    } else {
        unavailable("the state directory cannot be written; the log of the host says why")
    }
}

/// Responds that the sources are not loaded yet.
pub(super) fn not_loaded() -> Response {
    unavailable("the sources are not loaded yet; ask again")
}

fn unavailable(reason: &str) -> Response {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
}
