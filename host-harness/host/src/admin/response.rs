//! JSON responses and error responses.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use source_common::exit::Failure;

use super::control::ControlError;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Returns a response with a value as JSON.
pub(super) fn json_response(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => response_with_content_type(StatusCode::OK, JSON, body),
        Err(error) => ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the response cannot be written: {error}; report this"),
        )
        .into_response(),
    }
}

/// Returns a response with a body of a content type.
pub(super) fn response_with_content_type(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Body>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Returns the response to a request that succeeded without a result: an empty JSON object.
pub(super) fn empty_object() -> Response {
    json_response(&json!({}))
}

/// An error response: the status, and messages that say what to do.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    /// At least one message, each a clause.
    messages: Vec<String>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            messages: vec![message.into()],
        }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// Creates the refusal for a source that does not exist.
    pub(super) fn unknown_source(name: &str) -> Self {
        Self::not_found(format!(
            "there is no source {name:?}; GET /api/v1/sources lists them"
        ))
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotFound(message) => Self::not_found(message),
            ControlError::Conflict(message) => Self::new(StatusCode::CONFLICT, message),
            ControlError::Invalid(messages) => Self {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                messages,
            },
            ControlError::Failed(message) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, message),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, failure.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = self.messages.join("; ");
        let body = match self.status {
            StatusCode::UNPROCESSABLE_ENTITY => json!({ "error": error, "errors": self.messages }),
            _ => json!({ "error": error }),
        };
        let mut response = response_with_content_type(self.status, JSON, body.to_string());
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"source-host\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Replaces a 405 response with one whose JSON body explains it; returns any other response as it
/// is. The header `Allow` is added later, by the router.
pub(super) fn explain_method_not_allowed(response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let message = "this path does not accept this method; the header `Allow` names those it does";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).into_response()
}
