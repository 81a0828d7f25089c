//! The pages of both SIEM endpoints (`mimecast-api.md` §3.1 and §3.3).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode::lenient::{self, Optional};
use crate::request::{Call, percent_encode};
use crate::streams::InvalidResponse;
use crate::streams::pages;

/// The response to a call for a page. An optional member that cannot be read counts as missing: it is no
/// reason to drop the items.
pub(super) struct SiemPage<'a> {
    /// The records or files, as they are in the body.
    pub(super) items: Vec<&'a RawValue>,
    /// The token of the next page.
    pub(super) next_token: Option<String>,
    /// Whether there is no more for now.
    pub(super) is_caught_up: bool,
    /// The names of members that cannot be read.
    pub(super) unreadable_members: [Option<&'static str>; 2],
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    value: Option<Vec<&'a RawValue>>,
    #[serde(
        rename = "@nextPage",
        default,
        deserialize_with = "lenient::optional_text"
    )]
    next_page: Optional<String>,
    #[serde(
        rename = "isCaughtUp",
        default,
        deserialize_with = "lenient::optional_boolean"
    )]
    is_caught_up: Optional<bool>,
}

impl<'a> SiemPage<'a> {
    /// Parses the body of a response.
    ///
    /// # Errors
    ///
    /// The body is not a page, or its token is longer than a checkpoint may hold.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, InvalidResponse> {
        let response: Response<'a> = serde_json::from_slice(body)
            .map_err(|_| InvalidResponse("the page is not the documented JSON".to_owned()))?;
        if response.value.is_none()
            && response.next_page.is_absent()
            && response.is_caught_up.is_absent()
        {
            return Err(InvalidResponse(
                "the page has none of its members".to_owned(),
            ));
        }
        let unreadable_members = [
            response.next_page.name_if_unreadable("@nextPage"),
            response.is_caught_up.name_if_unreadable("isCaughtUp"),
        ];
        let next_token = response.next_page.value().filter(|token| !token.is_empty());
        pages::check_token_length(next_token.as_deref(), pages::PAGE_TOKEN_BYTES_MAX)?;
        Ok(Self {
            items: response.value.unwrap_or_default(),
            is_caught_up: response.is_caught_up.value().unwrap_or(false) || next_token.is_none(),
            next_token,
            unreadable_members,
        })
    }
}

/// Where a call for a page begins.
pub(super) enum PageStart<'a> {
    /// With a page token no dates are sent.
    Token(&'a str),
    /// A day or a time, as the endpoint takes it.
    Date(String),
}

/// Returns the call for a page of an endpoint whose path already has a query.
pub(super) fn call(mut path: String, start: PageStart<'_>) -> Call {
    match start {
        PageStart::Token(token) => {
            path.push_str("&nextPage=");
            percent_encode(token, &mut path);
        }
        PageStart::Date(date) => {
            path.push_str("&dateRangeStartsAt=");
            percent_encode(&date, &mut path);
        }
    }
    Call::get(path)
}
