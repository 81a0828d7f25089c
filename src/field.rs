//! The fields of upstream records by the names that the upstream is known to use.

/// A known name: its position in [`NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldName(u8);

impl FieldName {
    /// The names of the members that describe the transport of a record and not its contents.
    pub(crate) const TRANSPORT: [Self; 2] = [OFFSET, PARTITION];

    /// Returns the known name with that spelling.
    #[must_use]
    #[inline(never)]
    pub fn from_spelling(spelling: &str) -> Option<Self> {
        let at = NAMES.iter().position(|name| *name == spelling)?;
        u8::try_from(at).ok().map(Self)
    }

    /// Returns the name at a position in [`NAMES`].
    pub(crate) const fn from_index(position: u8) -> Self {
        Self(position)
    }

    /// Returns the position in [`NAMES`].
    #[must_use]
    #[expect(clippy::as_conversions, reason = "`usize::from` is not const")]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns its spelling.
    #[must_use]
    pub fn spelling(self) -> &'static str {
        NAMES.get(self.index()).copied().unwrap_or_default()
    }
}

/// A set of known names.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NameSet([u64; 4]);

impl NameSet {
    /// Adds a name.
    #[inline]
    pub(crate) fn insert(&mut self, name: FieldName) {
        if let Some(word) = self.0.get_mut(usize::from(name.0 / 64)) {
            *word |= 1 << (name.0 % 64);
        }
    }

    /// Removes a name.
    pub(crate) fn remove(&mut self, name: FieldName) {
        if let Some(word) = self.0.get_mut(usize::from(name.0 / 64)) {
            *word &= !(1 << (name.0 % 64));
        }
    }

    /// Whether a name is in the set.
    #[inline]
    pub(crate) fn contains(&self, name: FieldName) -> bool {
        let word = self.0.get(usize::from(name.0 / 64));
        word.is_some_and(|word| word >> (name.0 % 64) & 1 != 0)
    }
}

/// Declares a constant for each name. A name more than [`FieldName`] can count does not compile.
macro_rules! names {
    ($($constant:ident = $spelling:literal,)+) => {
        /// The names that API 2.0 is known to use, and those of the records that the collector writes.
        /// `legacy_keys` and `record::feed` map other spellings to them; any other name is copied to
        /// events unchanged.
        pub const NAMES: &[&str] = &[$($spelling),+];

        #[expect(
            non_camel_case_types,
            clippy::upper_case_acronyms,
            reason = "names of constants"
        )]
        #[repr(u8)]
        enum Position {
            $($constant),+
        }

        $(
            #[doc = concat!("`", $spelling, "`")]
            pub const $constant: FieldName = FieldName(Position::$constant as u8);
        )+
    };
}

names! {
    // transport
    OFFSET = "_offset",
    PARTITION = "_partition",
    // every SIEM record
    ACCOUNT_ID = "accountId",
    AGGREGATE_ID = "aggregateId",
    EVENT_TYPE = "eventType",
    LOG_TYPE = "logType",
    LOG_TYPE_CAPITAL = "Logtype",
    PROCESSING_ID = "processingId",
    SUB_TYPE = "subType",
    SUBTYPE = "subtype",
    TIMESTAMP = "timestamp",
    TYPE = "type",
    // messages
    ACTION = "action",
    DIRECTION = "direction",
    EMAIL_SIZE = "emailSize",
    MESSAGE_ID = "messageId",
    NUMBER_ATTACHMENTS = "numberAttachments",
    RECIPIENT = "recipient",
    RECIPIENTS = "recipients",
    ROUTE = "route",
    SENDER_DOMAIN = "senderDomain",
    SENDER_ENVELOPE = "senderEnvelope",
    SENDER_HEADER = "senderHeader",
    SENDER_IP = "senderIp",
    SUBJECT = "subject",
    TLS_CIPHER = "tlsCipher",
    TLS_USED = "tlsUsed",
    TLS_VERSION = "tlsVersion",
    TOTAL_SIZE_ATTACHMENTS = "totalSizeAttachments",
    // receipt
    RECEIPT_ERRORS = "receiptErrors",
    REJECTION_CODE = "rejectionCode",
    REJECTION_INFO = "rejectionInfo",
    REJECTION_TYPE = "rejectionType",
    SPAM_DETECTION_LEVEL = "spamDetectionLevel",
    SPAM_INFO = "spamInfo",
    SPAM_PROCESSING_DETAIL = "spamProcessingDetail",
    SPAM_SCORE = "spamScore",
    VIRUS_FOUND = "virusFound",
    // process
    ATTACHMENTS = "attachments",
    HOLD_REASON = "holdReason",
    IP_NEW_DOMAIN = "ipNewDomain",
    IP_REPLY_MISMATCH = "ipReplyMismatch",
    IP_SIMILAR_DOMAIN = "ipSimilarDomain",
    IP_THREAT_DICTIONARY = "ipThreatDictionary",
    IP_USER_NAME = "ipUserName",
    // delivery
    HOSTNAME_CAPITAL = "Hostname",
    DELIVERED = "delivered",
    DELIVERY_ATTEMPTS = "deliveryAttempts",
    DELIVERY_ERRORS = "deliveryErrors",
    DELIVERY_TIME = "deliveryTime",
    DESTINATION_IP = "destinationIp",
    HOSTNAME = "hostname",
    // files
    CUSTOMER_IP = "customerIp",
    FILE_EXTENSION = "fileExtension",
    FILE_MIME = "fileMime",
    FILE_NAME = "fileName",
    MD5 = "md5",
    SENDER_DOMAIN_INTERNAL = "senderDomainInternal",
    SHA1 = "sha1",
    SHA256 = "sha256",
    SIZE_ATTACHMENT = "sizeAttachment",
    // impersonation and internal email protect
    CUSTOM_NAME = "customName",
    CUSTOM_NAME_MATCH = "customNameMatch",
    CUSTOM_THREAT_DICTIONARY = "customThreatDictionary",
    INTERNAL_USER_NAME = "internalUserName",
    ITEMS_DETECTED = "itemsDetected",
    MIMECAST_THREAT_DICTIONARY = "mimecastThreatDictionary",
    MONITORED_DOMAIN_SOURCE = "monitoredDomainSource",
    NEW_DOMAIN = "newDomain",
    POLICY_DEFINITION = "policyDefinition",
    REPLY_MISMATCH = "replyMismatch",
    SCAN_RESULTS = "scanResults",
    SIMILAR_CUSTOM_EXTERNAL_DOMAIN = "similarCustomExternalDomain",
    SIMILAR_DOMAIN = "similarDomain",
    SIMILAR_INTERNAL_DOMAIN = "similarInternalDomain",
    SIMILAR_MIMECAST_EXTERNAL_DOMAIN = "similarMimecastExternalDomain",
    TAGGED_EXTERNAL = "taggedExternal",
    TAGGED_MALICIOUS = "taggedMalicious",
    URL_CATEGORY = "urlCategory",
    // url protect
    ANALYSIS = "analysis",
    BLOCK_REASON = "blockReason",
    SOURCE_IP = "sourceIp",
    URL = "url",
    // audit
    AUDIT_TYPE = "auditType",
    CATEGORY = "category",
    EVENT_INFO = "eventInfo",
    EVENT_TIME = "eventTime",
    ID = "id",
    USER = "user",
    // times of other logs
    CREATION_DATE = "CreationDate",
    CREATE_TIME = "createTime",
    CREATED = "created",
    DATE = "date",
    DATE_RECEIVED = "dateReceived",
    MODIFIED = "modified",
    RELEASED = "released",
    VIEWED = "viewed",
    // cloud integrated
    AUTH_RESULTS = "authResults",
    HISTORICAL_MAIL = "historicalMail",
    ORIGINAL_URL = "originalUrl",
    POLICIES_APPLIED = "policiesApplied",
    REDIRECT_URL = "redirectUrl",
    SOURCE = "source",
    TAGS = "tags",
    THREAT_STATE = "threatState",
    THREAT_TYPE = "threatType",
    // dlp and targeted threat protection
    ACTION_TRIGGERED = "actionTriggered",
    ACTIONS = "actions",
    ADMIN_OVERRIDE = "adminOverride",
    CREATION_METHOD = "creationMethod",
    DEFINITION = "definition",
    DETAILS = "details",
    EMAIL_PARTS_DESCRIPTION = "emailPartsDescription",
    FILE_HASH = "fileHash",
    FILE_TYPE = "fileType",
    FROM_USER_EMAIL_ADDRESS = "fromUserEmailAddress",
    HITS = "hits",
    IDENTIFIERS = "identifiers",
    IMPERSONATION_RESULTS = "impersonationResults",
    POLICY = "policy",
    RECIPIENT_ADDRESS = "recipientAddress",
    RESULT = "result",
    SCAN_RESULT = "scanResult",
    SENDER_ADDRESS = "senderAddress",
    SENDER_IP_ADDRESS = "senderIpAddress",
    SENDING_IP = "sendingIp",
    TAG_MAP = "tagMap",
    TTP_DEFINITION = "ttpDefinition",
    USER_AWARENESS_ACTION = "userAwarenessAction",
    USER_EMAIL_ADDRESS = "userEmailAddress",
    USER_OVERRIDE = "userOverride",
    // held and rejected messages
    DESCRIPTION = "description",
    DETECTION_LEVEL = "detectionLevel",
    EVENT = "event",
    FIRST_EVENT_ID = "firstEventId",
    FROM = "from",
    FROM_ADDRESS = "fromAddress",
    FROM_ENV = "fromEnv",
    FROM_HDR = "fromHdr",
    FROM_HEADER = "fromHeader",
    HAS_ATTACHMENTS = "hasAttachments",
    HELD_GROUP = "heldGroup",
    HELD_REASON = "heldReason",
    INFO = "info",
    IP_ADDRESS = "ipAddress",
    MANAGE_RECIPIENT = "manageRecipient",
    MESSAGE_INFO = "messageInfo",
    OPERATOR = "operator",
    POLICY_INFO = "policyInfo",
    REASON = "reason",
    REASON_CODE = "reasonCode",
    REASON_ID = "reasonId",
    REJECT_REASON = "rejectReason",
    REMOTE_EHLO = "remoteEhlo",
    REMOTE_NAME = "remoteName",
    SIZE = "size",
    STATUS = "status",
    TO = "to",
    TO_ADDRESS = "toAddress",
    TO_ADDRESS_POST_CHECK = "toAddressPostCheck",
    TO_ADDRESS_PRE_CHECK = "toAddressPreCheck",
    // archive
    CONTENT_VIEWED = "contentViewed",
    DISCOVERY_CASE = "discoveryCase",
    EMAIL_ADDR = "emailAddr",
    IS_ADMIN = "isAdmin",
    MESSAGE_DATE = "messageDate",
    MUSE_QUERY = "museQuery",
    SEARCH_PATH = "searchPath",
    SEARCH_REASON = "searchReason",
    SEARCH_TEXT = "searchText",
    VIEWER = "viewer",
    // threat intelligence and awareness training
    DEPARTMENT = "department",
    EMAIL = "email",
    EMAIL_ADDRESS = "emailAddress",
    ENGAGEMENT = "engagement",
    HUMAN_ERROR = "humanError",
    KNOWLEDGE = "knowledge",
    LABELS = "labels",
    MALWARE_NAME = "malwareName",
    NAME = "name",
    NUM_CORRECT = "numCorrect",
    NUM_INCORRECT = "numIncorrect",
    NUM_NOT_WATCHED = "numNotWatched",
    PATTERN = "pattern",
    RISK = "risk",
    SENTIMENT = "sentiment",
    USER_DETAILS = "userDetails",
    USER_STATE = "userState",
    VALID_FROM = "valid_from",
    WATCHLIST_COUNT = "watchlistCount",
    // phishing campaigns
    CAMPAIGN_ID = "campaignId",
    CAMPAIGN_NAME = "campaignName",
    CLICKED_IP = "clickedIp",
    LAUNCH_DATE = "launchDate",
    NUM_CAMPAIGNS_CLICKED = "numCampaignsClicked",
    NUM_CAMPAIGNS_SENT = "numCampaignsSent",
    NUM_CORRECT_ANSWERS = "numCorrectAnswers",
    NUM_INCORRECT_ANSWERS = "numIncorrectAnswers",
    NUM_TRAINING_MODULES_ASSIGNED = "numTrainingModulesAssigned",
    REACTION_TIME = "reactionTime",
    TEMPLATE_NAME = "templateName",
    TIME_CLICKED = "timeClicked",
    TIME_OPENED = "timeOpened",
    TIME_REPORTED = "timeReported",
    TIME_SCHEDULED = "timeScheduled",
    TIME_SUBMITTED = "timeSubmitted",
    // remediation incidents
    CODE = "code",
    CREATE = "create",
    FAILED = "failed",
    IDENTIFIED = "identified",
    RESTORED = "restored",
    SEARCH_CRITERIA = "searchCriteria",
    SUCCESSFUL = "successful",
}
