//! The streams: one upstream log each, with its own position, permission and failure.
//!
//! Every fact about a stream that is not a decision is in its row of [`STREAMS`].

use crate::field::{self, FieldName};
use core::fmt;

/// Declares the [`Stream`] enum and its table from one list, so that neither can miss a row.
macro_rules! streams {
    ($($(#[doc = $summary:literal])+ $variant:ident = $row:expr;)+) => {
        /// One upstream log. The discriminant is the index into [`STREAMS`] and into the kinds
        /// of the `pipeline:source` description.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Stream {
            $($(#[doc = $summary])+ $variant,)+
        }

        /// One row per stream, in the order of the enum.
        pub static STREAMS: &[StreamInfo] = &[$(StreamInfo {
            stream: Stream::$variant,
            summary: concat!($($summary),+),
            ..$row
        },)+];
    };
}

/// What is known about a stream. Sources: `mimecast-api.md` §2.2 to §5, §7.3, §13 and §15.1.
#[derive(Clone, Copy, Debug)]
pub struct StreamInfo {
    /// The stream this row describes.
    pub stream: Stream,
    /// The name in settings, logs and events.
    pub name: &'static str,
    /// One sentence about its records.
    pub summary: &'static str,
    /// The path of its endpoint, below the base URL.
    pub endpoint: &'static str,
    /// How records are requested, and where they are in a response.
    pub fetch: FetchKind,
    /// The fields of a record that may have its time; the first that can be read counts.
    pub time_fields: &'static [FieldName],
    /// The role permission, in the words of the Administration Console.
    pub permission: &'static str,
    /// The API product to select for the application.
    pub product: &'static str,
    /// How far back the upstream answers, in hours; `None` where that is not documented.
    pub retention_hours: Option<u32>,
    /// The order in which records come.
    pub order: Order,
    /// What identifies a record.
    pub identity: &'static str,
    /// A list's share of the space for items in a checkpoint, or any other stream's share of the space
    /// for identities.
    pub checkpoint_share: u32,
}

/// In which order a stream's records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Descending by time within one window.
    NewestFirst,
    /// As the upstream wrote them into its files.
    AsWritten,
    /// Ascending by time.
    OldestFirst,
}

/// How the records of a stream are requested.
#[derive(Clone, Copy, Debug)]
pub enum FetchKind {
    /// A list of campaigns, and the people of each of them (`mimecast-api.md` §13).
    Campaigns {
        /// The request for the people of a campaign and its response.
        people_post: PostEndpoint,
        /// The path of that request, as `endpoint` is that of the list.
        people_endpoint: &'static str,
        /// The interval between two readings, in minutes.
        interval_minutes: u32,
    },
    /// One file of threat indicators after another, by token (`mimecast-api.md` §5.11).
    ThreatFeed {
        /// The `feedType` of the request.
        feed_type: &'static str,
    },
    /// Pages of batch files (`mimecast-api.md` §3.1).
    Files {
        /// The `type` of the request.
        event_type: &'static str,
        /// The path of the endpoint that returns the same records without files
        /// (`mimecast-api.md` §3.3).
        events_endpoint: &'static str,
    },
    /// A list of what is there now, read as a whole (`mimecast-api.md` §5.7, §5.12, §15.1).
    List {
        /// The request and the response.
        post: PostEndpoint,
        /// Whether an event is emitted when an item is no longer there.
        reports_removals: bool,
        /// The interval between two readings, in minutes.
        interval_minutes: u32,
        /// How far back the window of the request reaches, in hours; 0 without a window.
        lookback_hours: u32,
    },
    /// Log files of all SIEM types, one after another by token, of API 1.0
    /// (`mimecast-api.md` §7.3).
    LogFiles,
    /// A log that is read by windows of time, page by page (`mimecast-api.md` §5.1).
    Windows(PostEndpoint),
}

/// One POST endpoint (`mimecast-api.md` §5).
#[derive(Clone, Copy, Debug)]
pub struct PostEndpoint {
    /// The members of the request with the bounds of the window; `None` where the endpoint takes no dates.
    pub window_members: Option<(&'static str, &'static str)>,
    /// Further members of `data[0]` of the request, as JSON, each followed by a comma.
    pub request_members: &'static str,
    /// The list in `data[0]` of the response; empty where the records are in `data`.
    pub records_member: &'static str,
    /// How many records a page is to have.
    pub page_records: u32,
    /// The longest window, in hours, so that reading one again costs little.
    pub window_hours: u32,
}

const WHOLE_RECORD: &str = "hash of the whole record without _offset and _partition";
const SIEM_PERMISSION: &str =
    "Security Events and Data Retrieval | Threat and Security Events (SIEM) | Read";

/// The permission of a row for which Mimecast documents none.
pub const UNDOCUMENTED_PERMISSION: &str = "none documented";

/// Returns a SIEM batch stream (`mimecast-api.md` §3.1, §3.5).
const fn siem(name: &'static str, event_type: &'static str) -> StreamInfo {
    StreamInfo {
        stream: Stream::SiemReceipt,
        name,
        summary: "",
        endpoint: "/siem/v1/batch/events/cg",
        fetch: FetchKind::Files {
            event_type,
            events_endpoint: "/siem/v1/events/cg",
        },
        time_fields: &[field::TIMESTAMP],
        permission: SIEM_PERMISSION,
        product: "Threats, Security Events and Data for CG",
        retention_hours: Some(7 * 24),
        order: Order::AsWritten,
        identity: WHOLE_RECORD,
        checkpoint_share: 1,
    }
}

/// Returns a SIEM batch stream of Cloud Integrated (`mimecast-api.md` §3.4). No role permission is
/// documented for it.
const fn cloud_integrated(name: &'static str, event_type: &'static str) -> StreamInfo {
    StreamInfo {
        endpoint: "/siem/v1/batch/events/ci",
        fetch: FetchKind::Files {
            event_type,
            events_endpoint: "/siem/v1/events/ci",
        },
        permission: UNDOCUMENTED_PERMISSION,
        product: "Threats, Security Events and Data for CI",
        ..siem(name, event_type)
    }
}

/// The members with the bounds of a window: of the older logs, and of those in ascending order.
const START_END: Option<(&str, &str)> = Some(("start", "end"));
const FROM_TO: Option<(&str, &str)> = Some(("from", "to"));
const OLDEST_FIRST: &str = "\"oldestFirst\":true,";

/// A POST endpoint whose records are in `data` itself. 500 records are used in production by
/// others (`mimecast-api.md` §5.1).
const DEFAULT_POST_ENDPOINT: PostEndpoint = PostEndpoint {
    window_members: START_END,
    request_members: "",
    records_member: "",
    page_records: 500,
    window_hours: 6,
};

/// Returns a log behind a POST endpoint: name, path, time field, permission.
const fn log(
    name: &'static str,
    endpoint: &'static str,
    post: PostEndpoint,
    time_fields: &'static [FieldName],
    permission: &'static str,
) -> StreamInfo {
    StreamInfo {
        stream: Stream::Audit,
        name,
        summary: "",
        endpoint,
        fetch: FetchKind::Windows(post),
        time_fields,
        permission,
        product: "Audit Events",
        retention_hours: None,
        order: Order::NewestFirst,
        identity: "hash of the whole record",
        checkpoint_share: 1,
    }
}

/// Returns a log of Targeted Threat Protection or of the DLP policies, which can be read in
/// ascending order (`mimecast-api.md` §5.3 to §5.6).
const fn ascending(
    name: &'static str,
    endpoint: &'static str,
    records_member: &'static str,
    time_fields: &'static [FieldName],
    permission: &'static str,
) -> StreamInfo {
    let post = PostEndpoint {
        window_members: FROM_TO,
        request_members: OLDEST_FIRST,
        records_member,
        ..DEFAULT_POST_ENDPOINT
    };
    StreamInfo {
        product: "Security Events",
        retention_hours: Some(60 * 24),
        order: Order::OldestFirst,
        checkpoint_share: 3,
        ..log(name, endpoint, post, time_fields, permission)
    }
}

/// Returns a feed of threat indicators (`mimecast-api.md` §5.11).
const fn threat_intel(name: &'static str, feed_type: &'static str) -> StreamInfo {
    StreamInfo {
        fetch: FetchKind::ThreatFeed { feed_type },
        product: "Threat Management",
        retention_hours: Some(7 * 24),
        order: Order::AsWritten,
        ..log(
            name,
            "/api/ttp/threat-intel/get-feed",
            DEFAULT_POST_ENDPOINT,
            &[
                field::MODIFIED,
                field::CREATED,
                field::CREATION_DATE,
                field::TIMESTAMP,
            ],
            "Services | Gateway | Tracking | Read",
        )
    }
}

/// Returns a list of people in the awareness training (`mimecast-api.md` §5.12).
const fn training(name: &'static str, endpoint: &'static str) -> StreamInfo {
    let post = PostEndpoint {
        window_members: None,
        ..DEFAULT_POST_ENDPOINT
    };
    StreamInfo {
        fetch: FetchKind::List {
            post,
            reports_removals: false,
            interval_minutes: 6 * 60,
            lookback_hours: 0,
        },
        product: "Awareness Training",
        checkpoint_share: 5,
        order: Order::AsWritten,
        ..log(
            name,
            endpoint,
            post,
            &[],
            "Awareness Training | Dashboard | Read",
        )
    }
}

/// The times of what a person did with a phishing simulation; the last action comes first.
pub(crate) const PHISHING_TIME_FIELDS: &[FieldName] = &[
    field::TIME_REPORTED,
    field::TIME_SUBMITTED,
    field::TIME_CLICKED,
    field::TIME_OPENED,
    field::TIME_SCHEDULED,
    field::LAUNCH_DATE,
];

streams! {
    /// Messages at the moment they are accepted or rejected.
    SiemReceipt = siem("siem.receipt", "receipt");
    /// What the gateway did with a message: accepted, held, sandboxed.
    SiemProcess = siem("siem.process", "process");
    /// Attempts to deliver a message to its next hop.
    SiemDelivery = siem("siem.delivery", "delivery");
    /// Viruses found in messages.
    SiemAv = siem("siem.av", "av");
    /// Messages found to be spam.
    SiemSpam = siem("siem.spam", "spam");
    /// Threats found in internal and outbound messages.
    SiemInternalEmailProtect = siem("siem.internal-email-protect", "internal email protect");
    /// Messages that impersonate a person or company.
    SiemImpersonationProtect = siem("siem.impersonation-protect", "impersonation protect");
    /// Malicious links found or clicked.
    SiemUrlProtect = siem("siem.url-protect", "url protect");
    /// Malicious attachments.
    SiemAttachmentProtect = siem("siem.attachment-protect", "attachment protect");
    /// Messages taken into the journal.
    SiemJournal = siem("siem.journal", "journal");
    /// What administrators and users changed, and who logged on.
    Audit = StreamInfo {
        retention_hours: Some(60 * 24),
        checkpoint_share: 4,
        ..log(
            "audit",
            "/api/audit/get-audit-events",
            PostEndpoint { window_members: Some(("startDateTime", "endDateTime")), ..DEFAULT_POST_ENDPOINT },
            &[field::EVENT_TIME],
            "Account | Logs | Read",
        )
    };
    /// Messages that Cloud Integrated scanned, with the results.
    CiEntities = cloud_integrated("ci.entities", "entities");
    /// SPF, DKIM and DMARC of messages that Cloud Integrated scanned.
    CiMailflow = cloud_integrated("ci.mailflow", "mailflow");
    /// Clicks on links that Cloud Integrated blocked.
    CiUrlclick = cloud_integrated("ci.urlclick", "urlclick");
    /// Messages that a data leak prevention policy acted on.
    Dlp = ascending(
        "dlp",
        "/api/dlp/get-logs",
        "dlpLogs",
        &[field::EVENT_TIME],
        "Monitoring | Data Leak Prevention | Read",
    );
    /// Links that were clicked or scanned.
    TtpUrl = ascending(
        "ttp.url",
        "/api/ttp/url/get-logs",
        "clickLogs",
        &[field::DATE],
        "Monitoring | URL Protection | Read",
    );
    /// Attachments that were opened in the sandbox.
    TtpAttachment = ascending(
        "ttp.attachment",
        "/api/ttp/attachment/get-logs",
        "attachmentLogs",
        &[field::DATE],
        "Monitoring | Attachment Protection | Read",
    );
    /// Messages with a forged sender, with the signs by which they were found.
    TtpImpersonation = ascending(
        "ttp.impersonation",
        "/api/ttp/impersonation/get-logs",
        "impersonationLogs",
        &[field::EVENT_TIME],
        "Monitoring | Impersonation Protection | Read",
    );
    /// Messages that are held now: one event when a message appears, one when it is gone.
    HeldMessages = StreamInfo {
        fetch: FetchKind::List {
            post: PostEndpoint { request_members: "\"admin\":true,", ..DEFAULT_POST_ENDPOINT },
            reports_removals: true,
            interval_minutes: 5,
            // Held messages expire after weeks; a window that is too long costs nothing.
            lookback_hours: 90 * 24,
        },
        product: "Cloud Gateway",
        checkpoint_share: 72,
        order: Order::AsWritten,
        identity: "hash of the whole item; what is gone is named by the id of its first event",
        ..log(
            "held-messages",
            "/api/gateway/get-hold-message-list",
            DEFAULT_POST_ENDPOINT,
            &[field::DATE_RECEIVED],
            "Account | Dashboard | Read",
        )
    };
    /// Held messages that were released or rejected.
    HeldRelease = log(
        "held-release",
        "/api/gateway/get-held-release-logs",
        PostEndpoint { records_member: "heldReleaseLogs", ..DEFAULT_POST_ENDPOINT },
        &[field::RELEASED],
        "Monitoring | Held | Read",
    );
    /// Messages that were rejected before they were accepted.
    Rejections = log(
        "rejections",
        "/api/gateway/get-rejections",
        PostEndpoint { records_member: "rejections", request_members: "\"admin\":true,", ..DEFAULT_POST_ENDPOINT },
        &[field::CREATED],
        "Monitoring | Rejections | Read",
    );
    /// Who searched the archive, for what and why.
    ArchiveSearch = log(
        "archive.search",
        "/api/archive/get-archive-search-logs",
        PostEndpoint { window_members: None, records_member: "logs", ..DEFAULT_POST_ENDPOINT },
        &[field::CREATE_TIME],
        "Archive | Search Logs | Read",
    );
    /// Who looked at which message in the archive.
    ArchiveView = log(
        "archive.view",
        "/api/archive/get-view-logs",
        DEFAULT_POST_ENDPOINT,
        &[field::VIEWED],
        "Archive | View Logs | Read",
    );
    /// Malware that was found in messages to your own organization, as indicators.
    ThreatIntelCustomer = threat_intel("threat-intel.customer", "malware_customer");
    /// Malware that Mimecast found in the region, as indicators.
    ThreatIntelGrid = threat_intel("threat-intel.grid", "malware_grid");
    /// Answers of people to training questions.
    TrainingPerformance = training(
        "training.performance",
        "/api/awareness-training/company/get-performance-details",
    );
    /// The grades that people have for their behaviour.
    TrainingSafeScore = training(
        "training.safe-score",
        "/api/awareness-training/company/get-safe-score-details",
    );
    /// People who need attention, and how often they were named.
    TrainingWatchlist = training(
        "training.watchlist",
        "/api/awareness-training/company/get-watchlist-details",
    );
    /// API 1.0: log files of all SIEM types. Events have the kind of their own type, and this one
    /// where the type is unknown.
    Siem = StreamInfo {
        endpoint: "/api/audit/get-siem-logs",
        fetch: FetchKind::LogFiles,
        permission: "Gateway | Tracking | Read",
        product: "an API 1.0 application",
        identity: "hash of the whole record",
        checkpoint_share: 8,
        ..siem("siem", "")
    };
    /// Who searched messages and the archive, with the path and the query, by date.
    ArchiveSearchLog = log(
        "archive.search-log",
        "/api/archive/get-search-logs",
        PostEndpoint { records_member: "logs", ..DEFAULT_POST_ENDPOINT },
        &[field::CREATE_TIME],
        "Archive | Search Logs | Read",
    );
    /// Messages that were removed from mailboxes after their delivery: one event for each incident,
    /// and one whenever it has changed.
    Remediation = StreamInfo {
        fetch: FetchKind::List {
            post: REMEDIATION,
            reports_removals: false,
            interval_minutes: 15,
            // Incidents change while they run, and it is not documented by which of their times the
            // window selects them.
            lookback_hours: 30 * 24,
        },
        product: "Threat Management",
        order: Order::AsWritten,
        identity: "hash of the whole incident without the codes that restore messages",
        checkpoint_share: 2,
        ..log(
            "remediation",
            "/api/ttp/remediation/find-incidents",
            REMEDIATION,
            &[field::MODIFIED, field::CREATE],
            "Services | Threat Remediation | Read",
        )
    };
    /// What people did with the messages of simulated phishing campaigns: one event for each person
    /// and campaign, and one whenever it has changed.
    TrainingPhishing = StreamInfo {
        fetch: FetchKind::Campaigns {
            people_post: PostEndpoint { window_members: None, records_member: "items", ..DEFAULT_POST_ENDPOINT },
            people_endpoint: "/api/awareness-training/phishing/campaign/get-user-data",
            interval_minutes: 60,
        },
        time_fields: PHISHING_TIME_FIELDS,
        identity: "hash of the whole row with the id, name and launch date of its campaign",
        checkpoint_share: 11,
        ..training(
            "training.phishing",
            "/api/awareness-training/phishing/campaign/get-campaign",
        )
    };
}

/// `mimecast-api.md` §15.1.
const REMEDIATION: PostEndpoint = PostEndpoint {
    records_member: "incidents",
    page_records: 100,
    ..DEFAULT_POST_ENDPOINT
};

impl Stream {
    /// Returns the feature of the product that writes its records.
    #[must_use]
    pub const fn feature(self) -> &'static str {
        match self {
            Self::ArchiveSearch | Self::ArchiveSearchLog => "Archive Search",
            Self::ArchiveView => "Archive Message View",
            Self::Audit => "Audit Events",
            Self::CiEntities => "Threat Detection",
            Self::CiMailflow => "Mail Flow",
            Self::CiUrlclick | Self::SiemUrlProtect | Self::TtpUrl => "URL Protect",
            Self::Dlp => "Data Leak Prevention",
            Self::HeldMessages => "Held Messages",
            Self::HeldRelease => "Held Message Release",
            Self::Rejections => "Message Rejection",
            Self::Remediation => "Threat Remediation",
            Self::Siem => "Message Logs",
            Self::SiemAttachmentProtect | Self::TtpAttachment => "Attachment Protect",
            Self::SiemAv => "Anti-Virus",
            Self::SiemDelivery => "Message Delivery",
            Self::SiemImpersonationProtect | Self::TtpImpersonation => "Impersonation Protect",
            Self::SiemInternalEmailProtect => "Internal Email Protect",
            Self::SiemJournal => "Journaling",
            Self::SiemProcess => "Message Processing",
            Self::SiemReceipt => "Message Receipt",
            Self::SiemSpam => "Spam Detection",
            Self::ThreatIntelCustomer | Self::ThreatIntelGrid => "Threat Intelligence",
            Self::TrainingPerformance
            | Self::TrainingPhishing
            | Self::TrainingSafeScore
            | Self::TrainingWatchlist => "Awareness Training",
        }
    }

    /// Returns the facts about this stream: its row in [`STREAMS`].
    #[must_use]
    pub fn info(self) -> &'static StreamInfo {
        // The macro writes one row per variant in the same order; the fallback is never taken.
        STREAMS.get(self.index()).unwrap_or(&FALLBACK)
    }

    /// Returns the name in settings, logs and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Returns the position in [`STREAMS`].
    #[must_use]
    #[expect(
        clippy::as_conversions,
        reason = "a field-less enum has no other way to its number"
    )]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns the stream of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        STREAMS
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.stream)
    }

    /// Returns whether Mimecast offers the stream as batch files. `Settings::reads_only_batch_files` says
    /// whether nothing else is read.
    #[must_use]
    pub fn has_batch_files(self) -> bool {
        matches!(self.info().fetch, FetchKind::Files { .. })
    }

    /// Returns whether its records are indicators of a threat feed.
    #[must_use]
    pub const fn is_threat_feed(self) -> bool {
        matches!(self, Self::ThreatIntelCustomer | Self::ThreatIntelGrid)
    }

    /// Returns whether its records have the fields of the gateway's SIEM logs, of either API.
    #[must_use]
    pub fn is_gateway_siem(self) -> bool {
        self.family() == "siem"
    }

    /// Returns the first word of the name: `siem` of `siem.receipt`.
    #[must_use]
    pub fn family(self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }
}

static FALLBACK: StreamInfo = siem("siem.receipt", "receipt");

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
