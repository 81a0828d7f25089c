//! Which streams the application may read, and how the API refuses the others.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::fault::{FORBIDDEN, FailShape, fail_body};
use crate::response::SimulatedResponse;

/// How the API refuses a stream that may not be read. All three have been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRefusal {
    /// 403 with `app_forbidden`.
    Forbidden,
    /// 200 with a `fail` of that code.
    FailWithStatus200,
    /// 404 with `endpoint_evaluation_failed_1`, where the product is not there.
    EndpointMissing,
}

/// The streams that are refused, and how.
#[derive(Debug, Default)]
pub(crate) struct Permissions {
    refused: BTreeMap<String, StreamRefusal>,
}

impl Permissions {
    /// Creates the permissions at the start, for all streams.
    pub(crate) fn new(config: &Config, streams: impl Iterator<Item = &'static str>) -> Self {
        let is_permitted = |stream: &&str| {
            let permitted = config.permissions.as_ref();
            permitted.is_none_or(|permitted| permitted.iter().any(|one| one == stream))
        };
        let refused = streams.filter(|stream| !is_permitted(stream));
        Self {
            refused: refused
                .map(|stream| (stream.to_owned(), config.refusal))
                .collect(),
        }
    }

    /// Revokes the permission to read a stream, or grants it again.
    pub(crate) fn set_refusal(&mut self, stream: &str, refusal: Option<StreamRefusal>) {
        match refusal {
            Some(refusal) => self.refused.insert(stream.to_owned(), refusal),
            None => self.refused.remove(stream),
        };
    }

    /// Returns the response for a stream that may not be read.
    pub(crate) fn refusal(&self, stream: &str, shape: FailShape) -> Option<SimulatedResponse> {
        self.refused
            .get(stream)
            .map(|refusal| refusal.response(shape))
    }
}

impl StreamRefusal {
    /// Returns the response, with `fail` in one of its two forms.
    pub(crate) fn response(self, shape: FailShape) -> SimulatedResponse {
        let (status, code, message) = match self {
            Self::Forbidden => (403, "app_forbidden", FORBIDDEN),
            Self::FailWithStatus200 => (200, "app_forbidden", FORBIDDEN),
            Self::EndpointMissing => (
                404,
                "endpoint_evaluation_failed_1",
                "Endpoint does not exist",
            ),
        };
        SimulatedResponse::json(status, &fail_body(status, shape, code, message))
    }
}
