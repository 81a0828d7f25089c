//! Generates the values of records of POST logs: number, time, and values that many of them have.

use serde_json::{Value, json};

use super::{ip, words};
use crate::random::Random;
use crate::time::UtcTime;

/// Generates the values of one record of a POST log.
pub(crate) struct FieldGenerator {
    pub(crate) random: Random,
    /// The number of the record in its stream.
    pub(crate) number: u64,
    /// When it happened.
    pub(crate) at_ms: i64,
    /// Whether the odd shapes occur that the API is known for.
    pub(crate) odd_shapes: bool,
}

impl FieldGenerator {
    /// Returns the time of the record.
    pub(super) fn at(&self) -> UtcTime {
        UtcTime::new(self.at_ms)
    }

    /// Returns the time in the form of most logs; with odd shapes sometimes with an hour without
    /// its zero, as has been seen.
    pub(super) fn time(&mut self) -> String {
        if self.odd_shape_occurs(20) {
            self.at().iso_with_utc_offset_unpadded()
        } else {
            self.at().iso_with_utc_offset()
        }
    }

    /// Returns whether an odd shape with a probability of `per_mille` occurs here.
    pub(super) fn odd_shape_occurs(&mut self, per_mille: u32) -> bool {
        self.odd_shapes && self.random.chance(per_mille)
    }

    pub(super) fn pick<T: Copy + Default>(&mut self, items: &[T]) -> T {
        self.random.pick(items)
    }

    /// Returns the address of one of the tenant's own people.
    pub(super) fn mailbox(&mut self) -> String {
        let (_, mailbox) = self.random.pick(words::PEOPLE);
        format!("{mailbox}@{}", self.random.pick(words::TENANT_DOMAINS))
    }

    /// Returns the name of one of the tenant's own people, and the address.
    pub(super) fn person(&mut self) -> (&'static str, String) {
        let (name, mailbox) = self.random.pick(words::PEOPLE);
        let domain = self.random.pick(words::TENANT_DOMAINS);
        (name, format!("{mailbox}@{domain}"))
    }

    /// Returns the address of an external sender; with odd shapes sometimes the empty sender of
    /// bounces.
    pub(super) fn sender(&mut self) -> String {
        if self.odd_shape_occurs(50) {
            return "<>".to_owned();
        }
        let (_, mailbox) = self.random.pick(words::PEOPLE);
        let domain = if self.random.chance(300) {
            self.random.pick(words::BAD_DOMAINS)
        } else {
            self.random.pick(words::OUTSIDE_DOMAINS)
        };
        format!("{mailbox}@{domain}")
    }

    pub(super) fn subject(&mut self) -> String {
        if self.odd_shape_occurs(120) {
            return self.random.pick(words::ODD_SUBJECTS).to_owned();
        }
        format!("{} #{}", self.random.pick(words::SUBJECTS), self.number)
    }

    /// Returns a message id, with or without its brackets.
    pub(super) fn message_id(&mut self) -> String {
        let id = format!(
            "{}@{}",
            self.random.token(24),
            self.random.pick(words::OUTSIDE_DOMAINS)
        );
        if self.odd_shape_occurs(150) {
            id
        } else {
            format!("<{id}>")
        }
    }

    /// Returns an address outside the tenant.
    pub(super) fn external_ip(&mut self) -> String {
        ip(&mut self.random, "Inbound", self.odd_shapes)
    }

    /// Returns a text; with odd shapes sometimes null or an empty text instead.
    pub(super) fn text_or_nothing(&mut self, text: &str) -> Value {
        if self.odd_shape_occurs(60) {
            Value::Null
        } else if self.odd_shape_occurs(60) {
            json!("")
        } else {
            json!(text)
        }
    }

    /// Returns name, extension and media type of a file.
    pub(super) fn file(&mut self) -> (&'static str, &'static str, &'static str) {
        self.random.pick(words::FILES)
    }

    /// Returns the direction, as these logs write it.
    pub(super) fn route(&mut self) -> &'static str {
        self.pick(&["inbound", "inbound", "inbound", "outbound", "internal"])
    }
}
