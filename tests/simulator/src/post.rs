//! The POST endpoints, with the properties of each in one row.

use serde_json::Value;

use crate::audit;
use crate::records::{FieldGenerator, archive, gateway, intel, protection, remediation, training};

/// The properties of one endpoint.
#[derive(Debug)]
pub(crate) struct PostEndpoint {
    /// The name of the stream.
    pub(crate) stream: &'static str,
    /// The path.
    pub(crate) path: &'static str,
    /// What it returns.
    pub(crate) kind: Kind,
    /// The names of the bounds of the window, in `data[0]` of the request, where it has one.
    pub(crate) window_members: Option<(&'static str, &'static str)>,
    /// Where the items are in the response.
    pub(crate) items_location: ItemsLocation,
    /// Whether a request without `admin` sees only the caller's own items.
    pub(crate) for_admin: bool,
    /// How many items a page has if the request has no page size.
    pub(crate) page_size_default: usize,
    /// Generates a record.
    pub(crate) generate_record: fn(&mut FieldGenerator) -> Value,
}

/// What an endpoint returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Phishing campaigns, and at another path the people of each.
    Campaigns,
    /// The categories of audit events.
    Categories,
    /// A file of threat indicators.
    Feed,
    /// Pages.
    Pages,
}

/// Where the items are in a response.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ItemsLocation {
    /// `data` is the list of items.
    Data,
    /// In that list of `data[0]`.
    ListInData(&'static str),
    /// In that list of `data`, which is an object.
    ListInObject(&'static str),
}

const AUDIT: PostEndpoint = PostEndpoint {
    stream: "audit",
    path: "/api/audit/get-audit-events",
    kind: Kind::Pages,
    window_members: Some(("startDateTime", "endDateTime")),
    items_location: Data,
    for_admin: false,
    page_size_default: 10,
    generate_record: audit::event,
};

/// The endpoint of the audit categories; in `Config::permissions` it has a stream name of its own.
const CATEGORIES: PostEndpoint = PostEndpoint {
    stream: "audit.categories",
    path: "/api/audit/get-categories",
    kind: Kind::Categories,
    window_members: None,
    ..AUDIT
};

/// Creates the endpoint of a log with a window.
const fn log(
    stream: &'static str,
    path: &'static str,
    window_members: (&'static str, &'static str),
    items_location: ItemsLocation,
    generate_record: fn(&mut FieldGenerator) -> Value,
) -> PostEndpoint {
    PostEndpoint {
        stream,
        path,
        window_members: Some(window_members),
        items_location,
        page_size_default: 25,
        generate_record,
        ..AUDIT
    }
}

/// Creates the endpoint of a log with a window whose records are shown only to administrators.
const fn for_admin(post_endpoint: PostEndpoint) -> PostEndpoint {
    PostEndpoint {
        for_admin: true,
        ..post_endpoint
    }
}

/// Creates the endpoint of a log or list without a window.
const fn log_without_window(
    stream: &'static str,
    path: &'static str,
    items_location: ItemsLocation,
    generate_record: fn(&mut FieldGenerator) -> Value,
) -> PostEndpoint {
    PostEndpoint {
        window_members: None,
        ..log(stream, path, FROM_TO, items_location, generate_record)
    }
}

/// Creates the endpoint of a feed of threat indicators.
const fn feed(stream: &'static str) -> PostEndpoint {
    PostEndpoint {
        kind: Kind::Feed,
        ..log_without_window(stream, FEED_PATH, Data, intel::indicator)
    }
}

const FROM_TO: (&str, &str) = ("from", "to");
const START_END: (&str, &str) = ("start", "end");
const FEED_PATH: &str = "/api/ttp/threat-intel/get-feed";
const CAMPAIGNS_PATH: &str = "/api/awareness-training/phishing/campaign/get-campaign";
pub(crate) const CAMPAIGN_PEOPLE_PATH: &str =
    "/api/awareness-training/phishing/campaign/get-user-data";

use ItemsLocation::{Data, ListInData, ListInObject};

/// The endpoints.
#[rustfmt::skip]
pub(crate) static POST_ENDPOINTS: &[PostEndpoint] = &[
    AUDIT,
    CATEGORIES,
    log("dlp", "/api/dlp/get-logs", FROM_TO, ListInData("dlpLogs"), gateway::dlp),
    log("ttp.url", "/api/ttp/url/get-logs", FROM_TO, ListInData("clickLogs"), protection::ttp_url),
    log("ttp.attachment", "/api/ttp/attachment/get-logs", FROM_TO, ListInData("attachmentLogs"), protection::ttp_attachment),
    log("ttp.impersonation", "/api/ttp/impersonation/get-logs", FROM_TO, ListInData("impersonationLogs"), protection::ttp_impersonation),
    for_admin(log("held-messages", "/api/gateway/get-hold-message-list", START_END, Data, gateway::held_message)),
    log("held-release", "/api/gateway/get-held-release-logs", START_END, ListInData("heldReleaseLogs"), gateway::held_release),
    for_admin(log("rejections", "/api/gateway/get-rejections", START_END, ListInObject("rejections"), gateway::rejection)),
    log_without_window("archive.search", "/api/archive/get-archive-search-logs", ListInData("logs"), archive::archive_search),
    log("archive.search-log", "/api/archive/get-search-logs", START_END, ListInData("logs"), archive::archive_search_log),
    log("archive.view", "/api/archive/get-view-logs", START_END, Data, archive::archive_view),
    log("remediation", "/api/ttp/remediation/find-incidents", START_END, ListInData("incidents"), remediation::incident),
    feed("threat-intel.customer"),
    feed("threat-intel.grid"),
    log_without_window("training.performance", "/api/awareness-training/company/get-performance-details", Data, training::performance),
    log_without_window("training.safe-score", "/api/awareness-training/company/get-safe-score-details", Data, training::safe_score),
    log_without_window("training.watchlist", "/api/awareness-training/company/get-watchlist-details", Data, training::watchlist),
    PostEndpoint { kind: Kind::Campaigns, ..log_without_window("training.phishing", CAMPAIGNS_PATH, ListInData("items"), training::phishing_result) },
];

/// Returns the endpoint of a request: two feeds share one path, and campaigns have two.
pub(crate) fn find_post_endpoint(path: &str, body: &[u8]) -> Option<&'static PostEndpoint> {
    let path = if path == CAMPAIGN_PEOPLE_PATH {
        CAMPAIGNS_PATH
    } else {
        path
    };
    let grid = b"malware_grid";
    let is_grid = body.windows(grid.len()).any(|window| window == grid);
    let mut endpoints = POST_ENDPOINTS
        .iter()
        .filter(|post_endpoint| post_endpoint.path == path);
    endpoints.find(|post_endpoint| {
        post_endpoint.path != FEED_PATH || (post_endpoint.stream == "threat-intel.grid") == is_grid
    })
}

/// Returns the endpoint of a stream.
pub(crate) fn post_endpoint_of_stream(stream: &str) -> Option<&'static PostEndpoint> {
    POST_ENDPOINTS
        .iter()
        .find(|post_endpoint| post_endpoint.stream == stream)
}

/// Iterates over the endpoints whose items are records.
pub(crate) fn record_endpoints() -> impl Iterator<Item = &'static PostEndpoint> {
    POST_ENDPOINTS
        .iter()
        .filter(|post_endpoint| post_endpoint.kind != Kind::Categories)
}
