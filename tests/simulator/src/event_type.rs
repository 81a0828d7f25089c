//! The event types: ten of the Cloud Gateway and three of Cloud Integrated, and the names of their
//! streams.

/// Declares the enum and its names from one list.
macro_rules! event_types {
    ($($(#[doc = $summary:literal])+ $variant:ident = $stream:literal, $name:literal;)+) => {
        /// Mimecast's own category of a record: the `type` of the batch endpoint.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventType {
            $($(#[doc = $summary])+ $variant,)+
        }

        impl EventType {
            /// All of them, those of the Cloud Gateway first.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the name in the API and in the records.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Returns the name of the stream, as in `siem.receipt`.
            #[must_use]
            pub const fn stream(self) -> &'static str {
                match self { $(Self::$variant => $stream,)+ }
            }
        }
    };
}

event_types! {
    /// Messages at the moment they are accepted or rejected.
    Receipt = "siem.receipt", "receipt";
    /// What the gateway did with a message.
    Process = "siem.process", "process";
    /// Attempts to deliver a message.
    Delivery = "siem.delivery", "delivery";
    /// Viruses found in messages.
    Av = "siem.av", "av";
    /// Messages found to be spam.
    Spam = "siem.spam", "spam";
    /// Threats in internal and outbound messages.
    InternalEmailProtect = "siem.internal-email-protect", "internal email protect";
    /// Messages that impersonate somebody.
    ImpersonationProtect = "siem.impersonation-protect", "impersonation protect";
    /// Malicious links.
    UrlProtect = "siem.url-protect", "url protect";
    /// Malicious attachments.
    AttachmentProtect = "siem.attachment-protect", "attachment protect";
    /// Messages taken into the journal.
    Journal = "siem.journal", "journal";
    /// Messages that Cloud Integrated looked at.
    Entities = "ci.entities", "entities";
    /// SPF, DKIM and DMARC of messages that Cloud Integrated saw.
    Mailflow = "ci.mailflow", "mailflow";
    /// Clicks on links that Cloud Integrated blocked.
    Urlclick = "ci.urlclick", "urlclick";
}

impl EventType {
    /// Returns the ten event types of the Cloud Gateway.
    #[must_use]
    pub fn gateway() -> Vec<Self> {
        let all = Self::ALL.iter().copied();
        all.filter(|event_type| event_type.product() == "cg")
            .collect()
    }

    /// Returns the product, as the last part of the paths names it: `cg` or `ci`.
    #[must_use]
    pub fn product(self) -> &'static str {
        if self.stream().starts_with("ci.") {
            "ci"
        } else {
            "cg"
        }
    }

    /// Returns the event type of that name in the API.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|event_type| event_type.name() == name)
    }

    /// Returns the event type of that stream.
    #[must_use]
    pub fn from_stream(stream: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|event_type| event_type.stream() == stream)
    }

    /// Returns the position among all.
    pub(crate) fn index(self) -> u64 {
        let index = Self::ALL.iter().position(|event_type| *event_type == self);
        index
            .and_then(|index| u64::try_from(index).ok())
            .unwrap_or(0)
    }
}
