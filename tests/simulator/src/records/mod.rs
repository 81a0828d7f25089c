//! The records of every stream, with every odd shape that the API is known for.

pub(crate) mod archive;
mod field_generator;
pub(crate) mod gateway;
mod integrated;
pub(crate) mod intel;
mod mail;
mod message;
pub(crate) mod protection;
mod record;
pub(crate) mod remediation;
mod spam_detail;
mod threat;
pub(crate) mod training;
mod words;

pub(crate) use field_generator::FieldGenerator;
pub(crate) use message::ip;
pub(crate) use record::{Record, RecordFormat};
pub(crate) use words::PEOPLE;

use serde_json::Value;

use crate::batch_file::RecordRange;
use crate::event_type::EventType;
use crate::random::Random;
use message::Message;

/// Generates the records of one event type of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct RecordGenerator {
    /// The seed that everything is derived from.
    pub(crate) seed: u64,
    /// The event type.
    pub(crate) event_type: EventType,
    /// Whether the odd shapes occur.
    pub(crate) odd_shapes: bool,
    /// The average length of receipt and process records.
    pub(crate) record_bytes: u32,
    /// The name of the account, as in `C0A0`.
    pub(crate) account_id: String,
}

/// One record under construction.
struct RecordBuilder<'a> {
    generator: &'a RecordGenerator,
    random: Random,
    message: Message,
    record: Record,
}

impl RecordGenerator {
    /// Generates the record of that number, about the message of the same number or of the one
    /// before.
    pub(crate) fn record(&self, number: u64, range: &RecordRange) -> Record {
        let previous_number = number.saturating_sub(1).max(range.first);
        // No id is unique: attempts to deliver a message share both, findings of spam share one.
        let (message_number, processing_number) = match (self.event_type, number % 8) {
            (EventType::Delivery, 3) if self.odd_shapes => (previous_number, previous_number),
            (EventType::Spam, 5) if self.odd_shapes => (number, previous_number),
            _ => (number, number),
        };
        let random =
            |purpose, number| Random::new(self.seed, purpose, &[self.event_type.index(), number]);
        let at_ms = range.at_ms(message_number);
        let mut builder = RecordBuilder {
            generator: self,
            random: random("record", number),
            message: Message::new(self.seed, message_number, at_ms, self.odd_shapes),
            record: Record::default(),
        };
        builder.add_processing_id(
            &mut random("processing", processing_number),
            range.at_ms(processing_number),
        );
        builder.add_common_fields();
        match self.event_type {
            EventType::AttachmentProtect => threat::attachment_protect(&mut builder),
            EventType::Av => threat::av(&mut builder),
            EventType::Delivery => mail::delivery(&mut builder),
            EventType::Entities => integrated::entities(&mut builder),
            EventType::ImpersonationProtect => threat::impersonation_protect(&mut builder),
            EventType::InternalEmailProtect => threat::internal_email_protect(&mut builder),
            EventType::Journal => mail::journal(&mut builder),
            EventType::Mailflow => integrated::mailflow(&mut builder),
            EventType::Process => mail::process(&mut builder),
            EventType::Receipt => mail::receipt(&mut builder),
            EventType::Spam => threat::spam(&mut builder),
            EventType::UrlProtect => threat::url_protect(&mut builder),
            EventType::Urlclick => integrated::urlclick(&mut builder),
        }
        builder.record
    }
}

impl RecordBuilder<'_> {
    fn add_processing_id(&mut self, random: &mut Random, at_ms: i64) {
        let id = if self.generator.event_type == EventType::UrlProtect {
            format!("req-{}", random.hex(32))
        } else {
            format!("{}_{}", random.token(43), at_ms.div_euclid(1000))
        };
        self.record.put("processingId", id);
    }

    /// Adds the fields that every record has.
    fn add_common_fields(&mut self) {
        self.record
            .put("aggregateId", self.message.aggregate_id.clone());
        self.record
            .put("accountId", self.generator.account_id.clone());
        let at_ms = self.message.at_ms + self.below(900);
        self.record.put("timestamp", at_ms);
        // The documented spelling is rarer in the files than the other one.
        let key = if self.odd_shape_occurs(40) {
            "eventType"
        } else {
            "type"
        };
        self.record.put(key, self.generator.event_type.name());
    }

    /// Adds the `subtype`, in the spelling that matches the record's `type`.
    fn add_subtype(&mut self, value: Option<&str>) {
        let uses_documented_spelling = self.record.value("eventType").is_some();
        let key = if uses_documented_spelling {
            "subType"
        } else {
            "subtype"
        };
        self.record.put(key, value.map_or(Value::Null, Value::from));
    }

    /// Adds sender, recipient, subject and message id, as most event types have them.
    fn add_message_fields(&mut self) {
        self.put("senderEnvelope", self.message.sender.clone());
        self.put("recipients", self.message.recipient.clone());
        self.put_value_or_empty("subject", self.message.subject.clone());
        self.put_value_or_empty("messageId", self.message.message_id.clone());
    }

    fn put(&mut self, key: &'static str, value: impl Into<Value>) {
        self.record.put(key, value);
    }

    fn put_value_or_empty(&mut self, key: &'static str, value: Option<impl Into<Value>>) {
        self.record
            .put_value_or_empty(key, value, &mut self.random, self.generator.odd_shapes);
    }

    fn put_empty_value(&mut self, key: &'static str) {
        self.record
            .put_empty_value(key, &mut self.random, self.generator.odd_shapes);
    }

    /// Returns whether an odd shape with a probability of `per_mille` occurs here.
    fn odd_shape_occurs(&mut self, per_mille: u32) -> bool {
        self.generator.odd_shapes && self.random.chance(per_mille)
    }

    fn below(&mut self, bound: u64) -> i64 {
        i64::try_from(self.random.below(bound)).unwrap_or(0)
    }

    /// Generates a number as the API writes it: a text.
    fn decimal_text(&mut self, bound: u64) -> String {
        self.random.below(bound).to_string()
    }

    /// Generates a boolean as the API writes it: a text.
    fn boolean(&mut self, per_mille: u32) -> &'static str {
        if self.random.chance(per_mille) {
            "true"
        } else {
            "false"
        }
    }

    /// Returns about how many bytes the record should have.
    fn target_bytes(&mut self) -> usize {
        let average = u64::from(self.generator.record_bytes);
        let spread = average / 2;
        let jitter = self.random.below(spread + 1);
        usize::try_from((average + jitter).saturating_sub(spread / 2)).unwrap_or(0)
    }
}
