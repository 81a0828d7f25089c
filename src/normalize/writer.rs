//! Executes a mapping: writes one event as one line, directly into the output.

use crate::field::{FieldName, NameSet};
use std::collections::{BTreeMap, BTreeSet};

use super::convert::{push_boolean, push_long, push_number, push_object, push_text};
use super::distinct::Distinct;
use super::mapping::{CompiledMapping, FieldStep, MappingStep};
use super::message_parts;
use super::prose::ProseCache;
use super::table::{Computed, ConvertFn, Related, UnmappedOutput};
use super::unmapped::{OBSERVABLE_FIELDS, matches_observable_type};
use super::values::{UnescapedText, is_absent, is_placeholder};
use crate::decode::json::{self, Kind, Member};
use crate::encode::{push_escaped, push_quoted, push_single_line};
use crate::identity::EventId;
use crate::record::{Field, Record, Value};
use crate::time::Timestamp;

/// Buffers that all events share.
#[derive(Default)]
pub(super) struct Buffers {
    /// The text of a value without escapes.
    pub(super) plain: String,
    /// The text of an object that comes as text, and that of the layer around it.
    pub(super) decoded: [String; 2],
    /// The members of an object in the record.
    pub(super) members: Vec<Member>,
    /// The members of an object inside that one.
    pub(super) nested_members: Vec<Member>,
    /// What was found in the prose of the record.
    pub(super) prose_cache: ProseCache,
    /// The values of the list that is being written.
    pub(super) list: Distinct<(usize, usize)>,
    related: [Distinct<(usize, usize)>; 4],
    pub(super) observables: Distinct<super::observables::Observable>,
}

/// The time of collection as the formats have it, with a comma after it: many events in a row have
/// the same.
#[derive(Default)]
pub(super) struct CollectionTime {
    at: Option<Timestamp>,
    text: String,
    millis: String,
}

impl CollectionTime {
    /// Sets the time of collection.
    pub(super) fn set(&mut self, at: Timestamp) {
        if self.at == Some(at) {
            return;
        }
        self.at = Some(at);
        self.text.clear();
        self.text.push('"');
        at.write_rfc3339(&mut self.text);
        self.text.push_str("\",");
        self.millis.clear();
        push_number(&mut self.millis, at.millis());
        self.millis.push(',');
    }
}

/// An object of the event that is not ended yet.
#[derive(Clone, Copy, Default)]
struct OpenObject {
    /// Where its text begins.
    start: usize,
    /// Where its members begin.
    members_start: usize,
}

/// One event while it is written.
pub(super) struct EventWriter<'r, 'b> {
    pub(super) mapping: &'b CompiledMapping,
    /// The text of the record, if it is to be written.
    original: Option<&'b str>,
    pub(super) record: Record<'r>,
    pub(super) id: &'b EventId,
    pub(super) occurred: Timestamp,
    /// When it was collected.
    pub(super) collected: &'b CollectionTime,
    /// The field that should have the time of the event, where none could be read.
    pub(super) unreadable_time: Option<FieldName>,
    pub(super) out: &'b mut String,
    pub(super) buffers: &'b mut Buffers,
    /// The fields that have a value.
    present: NameSet,
    /// The fields of which the whole value is written, so that they are not unmapped.
    pub(super) used: NameSet,
    /// Only a part of the field's value was just written: the field is unmapped as well.
    pub(super) is_also_unmapped: bool,
    /// The list that was just written has only some of the values.
    pub(super) is_truncated: bool,
    /// As in [`OriginalRecord`](super::OriginalRecord).
    pub(super) repaired: &'b [&'b str],
    /// The name of the tenant as a JSON string.
    pub(super) tenant_json: Option<&'b str>,
    unparsed: Vec<Field<'r>>,
    /// The fields whose lists end before their values do.
    truncated: Vec<FieldName>,
}

impl<'r, 'b> EventWriter<'r, 'b> {
    pub(super) fn new(
        mapping: &'b CompiledMapping,
        original: Option<&'b str>,
        record: Record<'r>,
        (id, occurred, collected): (&'b EventId, Timestamp, &'b CollectionTime),
        out: &'b mut String,
        buffers: &'b mut Buffers,
    ) -> Self {
        for values in &mut buffers.related {
            values.clear();
        }
        buffers.observables.clear();
        let mut present = NameSet::default();
        let fields = (0..record.len()).filter_map(|at| record.effective_field(at, |_| false));
        for field in fields.filter(|field| !is_absent(&field.value)) {
            if let Some(name) = field.name {
                present.insert(name);
            }
        }
        Self {
            mapping,
            original,
            record,
            id,
            occurred,
            collected,
            unreadable_time: None,
            out,
            buffers,
            present,
            used: NameSet::default(),
            is_also_unmapped: false,
            is_truncated: false,
            repaired: &[],
            tenant_json: None,
            unparsed: Vec::new(),
            truncated: Vec::new(),
        }
    }

    /// Appends the event and a line feed.
    pub(super) fn write(&mut self) {
        let mut open_objects = [OpenObject::default(); 8];
        let mut depth = 0_usize;
        self.out.push('{');
        let mapping = self.mapping;
        for step in &mapping.steps {
            match step {
                MappingStep::Enter(open) => {
                    if let Some(object) = open_objects.get_mut(depth) {
                        *object = OpenObject {
                            start: self.out.len(),
                            members_start: self.out.len() + open.len(),
                        };
                    }
                    depth += 1;
                    self.out.push_str(open);
                }
                MappingStep::EndOrDrop(close) => {
                    depth = depth.saturating_sub(1);
                    let object = open_objects.get(depth).copied().unwrap_or_default();
                    if self.out.len() == object.members_start {
                        self.out.truncate(object.start);
                    } else {
                        self.out.pop();
                        self.out.push_str(close);
                    }
                }
                MappingStep::End(close) => {
                    self.out.pop();
                    self.out.push_str(close);
                }
                MappingStep::Computed(key, what) => self.write_computed(key, *what),
                MappingStep::Constant(text) => self.out.push_str(text),
                MappingStep::Field(row) => self.write_field(row),
            }
        }
        if self.out.ends_with(',') {
            self.out.pop();
        }
        self.out.push_str("}\n");
    }

    #[inline]
    pub(super) fn mark_used(&mut self, name: FieldName) {
        self.used.insert(name);
    }

    /// Returns the value of a field that is not absent.
    #[inline]
    pub(super) fn value(&self, name: FieldName) -> Option<Value<'r>> {
        let is_present = self.present.contains(name);
        is_present.then(|| self.record.get(name)).flatten()
    }

    /// Marks a field as used if all of its value was written; otherwise it is unmapped as well.
    #[inline]
    pub(super) fn finish_field(&mut self, name: FieldName) {
        if core::mem::take(&mut self.is_truncated) && !self.truncated.contains(&name) {
            self.truncated.push(name);
        }
        if !core::mem::take(&mut self.is_also_unmapped) {
            self.mark_used(name);
        }
    }

    /// Resets the flags of the field, whose output is discarded.
    pub(super) const fn reset_field_flags(&mut self) {
        self.is_truncated = false;
        self.is_also_unmapped = false;
    }

    /// Records the text that was written from `start` on for `related`.
    #[inline]
    pub(super) fn add_related(&mut self, kind: Related, start: usize) {
        self.add_related_range(kind, (start, self.out.len()));
    }

    /// Records a range of the output for `related`.
    #[inline]
    fn add_related_range(&mut self, kind: Related, range: (usize, usize)) {
        if !self.mapping.writes_related {
            return;
        }
        let [hash, hosts, ip, user] = &mut self.buffers.related;
        let values = match kind {
            Related::Hash => hash,
            Related::Hosts => hosts,
            Related::Ip => ip,
            Related::User => user,
        };
        values.add(self.out, range);
    }

    fn write_field(&mut self, row: &FieldStep) {
        let start = self.out.len();
        if let ConvertFn::Row(write) = row.convert.function {
            write(self, row);
        } else if !row
            .from
            .iter()
            .any(|name| self.push_field_as(row, *name, row.convert.function))
            && let Some(otherwise) = row.convert.otherwise
        {
            otherwise(self, row);
        }
        if row.observable_type != 0 {
            super::observables::add_written(self, row, start);
        }
    }

    /// Writes one field of the row, if it has a value that fits; the output of any other is removed.
    #[inline]
    pub(super) fn push_field_as(
        &mut self,
        row: &FieldStep,
        name: FieldName,
        function: ConvertFn,
    ) -> bool {
        self.value(name)
            .is_some_and(|value| self.push_value_as(row, (name, value), function))
    }

    #[inline(never)]
    fn push_value_as(
        &mut self,
        row: &FieldStep,
        (name, value): (FieldName, Value<'r>),
        function: ConvertFn,
    ) -> bool {
        let start = self.out.len();
        self.out.push_str(&row.key);
        let mut buffer = String::new();
        let is_written = match function {
            ConvertFn::Row(_) => false,
            ConvertFn::Value(push) => push(self, value),
            ConvertFn::Text(push) => UnescapedText::new(value, &mut buffer)
                .is_some_and(|plain| !is_placeholder(plain.text) && push(self, plain)),
            ConvertFn::TextOrPlaceholder(push) => {
                UnescapedText::new(value, &mut buffer).is_some_and(|plain| push(self, plain))
            }
        };
        if is_written {
            self.out.push(',');
            self.finish_field(name);
        } else {
            self.reset_field_flags();
            self.out.truncate(start);
        }
        is_written
    }

    fn write_computed(&mut self, key: &str, what: Computed) {
        match what {
            Computed::Techniques => {
                let cache = &mut self.buffers.prose_cache;
                if let Some(json) = self.mapping.techniques(&self.record, cache) {
                    self.out.push_str(key);
                    self.out.push_str(json);
                }
            }
            Computed::Collected => {
                self.out.push_str(key);
                self.out.push_str(&self.collected.text);
            }
            Computed::CollectedMillis => {
                self.out.push_str(key);
                self.out.push_str(&self.collected.millis);
            }
            Computed::Feature => {
                self.out.push_str(key);
                self.out.push('"');
                self.out.push_str(self.record.stream().feature());
                self.out.push_str("\",");
            }
            Computed::Message => self.write_message(key),
            Computed::Classification => {
                let cache = &mut self.buffers.prose_cache;
                let members = self.mapping.classification(&self.record, cache);
                self.out.push_str(members);
            }
            Computed::Id => {
                self.out.push_str(key);
                self.out.push('"');
                self.id.write(self.out);
                self.out.push_str("\",");
            }
            Computed::Unmapped => self.write_unmapped(),
            Computed::Occurred => {
                self.out.push_str(key);
                self.out.push('"');
                self.occurred.write_rfc3339(self.out);
                self.out.push_str("\",");
            }
            Computed::Observables => super::observables::write(self, key),
            Computed::OccurredMillis => {
                self.out.push_str(key);
                push_number(self.out, self.occurred.millis());
                self.out.push(',');
            }
            Computed::Original => {
                if let Some(original) = self.original {
                    self.out.push_str(key);
                    push_quoted(self.out, original);
                    self.out.push(',');
                }
            }
            Computed::Related(kind) => self.write_related(key, kind),
            Computed::Stream => {
                self.out.push_str(key);
                self.out.push('"');
                self.out.push_str(self.record.stream().name());
                self.out.push_str("\",");
            }
        }
    }

    /// Writes the message: the feature, and who did what to whom as far as the record has it.
    fn write_message(&mut self, key: &str) {
        self.out.push_str(key);
        self.out.push('"');
        self.out.push_str(self.record.stream().feature());
        for (words, names) in message_parts::MESSAGE_PARTS {
            let values = names.iter().filter_map(|name| self.value(*name));
            let mut texts = values.filter(|value| {
                value.kind == Kind::String
                    && value.text.len() <= message_parts::VALUE_BYTES_MAX
                    && !is_placeholder(value.text.trim_ascii())
            });
            if let Some(value) = texts.next() {
                self.out.push_str(words);
                self.out.push_str(value.text.trim_ascii());
            }
        }
        self.out.push_str("\",");
    }

    fn write_related(&mut self, key: &str, kind: Related) {
        let [hash, hosts, ip, user] = &self.buffers.related;
        let values = match kind {
            Related::Hash => hash,
            Related::Hosts => hosts,
            Related::Ip => ip,
            Related::User => user,
        };
        if values.values().is_empty() {
            return;
        }
        self.out.push_str(key);
        self.out.push('[');
        for (start, end) in values.values() {
            self.out.push('"');
            self.out.extend_from_within(*start..*end);
            self.out.push_str("\",");
        }
        self.out.pop();
        self.out.push_str("],");
    }

    /// Writes every field that no row has used.
    fn write_unmapped(&mut self) {
        let record = self.record;
        if !record.has_unique_names() && self.write_unmapped_if_repeated() {
            return;
        }
        for at in 0..record.len() {
            let is_done = |name| !self.present.contains(name) || self.used.contains(name);
            if let Some(field) = record.effective_field(at, is_done)
                && !is_absent(&field.value)
            {
                self.write_unmapped_field(field);
            }
        }
        self.write_unparsed();
    }

    /// Writes unmapped fields where unknown names occur twice: the last counts. Returns whether any
    /// name occurs twice; nothing is written if not.
    fn write_unmapped_if_repeated(&mut self) -> bool {
        let record = self.record;
        let mut last = BTreeMap::new();
        let mut repeats = false;
        for (at, field) in record
            .fields()
            .enumerate()
            .filter(|(_, field)| field.name.is_none())
        {
            repeats |= last.insert(decoded_key(field.key), at).is_some();
        }
        if !repeats {
            return false;
        }
        for (at, field) in record.fields().enumerate() {
            if field.name.is_some() || last.get(&decoded_key(field.key)) == Some(&at) {
                self.write_unmapped_field(field);
            }
        }
        self.write_unparsed();
        true
    }

    fn write_unmapped_field(&mut self, field: Field<'r>) {
        let Some(name) = field.name else {
            self.write_unknown(field);
            return;
        };
        if self.used.contains(name) || is_absent(&field.value) {
            return;
        }
        let output = self
            .mapping
            .unmapped
            .get(name.index())
            .copied()
            .unwrap_or(UnmappedOutput::Text);
        let start = self.out.len();
        self.out.push('"');
        // The name and not the key: API 1.0 spells it in another way.
        self.out.push_str(name.spelling());
        self.out.push_str("\":");
        let written = match output {
            UnmappedOutput::Boolean => push_boolean(self, field.value),
            UnmappedOutput::BooleanOrText => {
                push_boolean(self, field.value) || push_text(self, field.value)
            }
            UnmappedOutput::Omit => {
                self.out.truncate(start);
                return;
            }
            UnmappedOutput::Json => {
                self.push_without_nulls(field.value);
                true
            }
            UnmappedOutput::Long => push_long(self, field.value),
            UnmappedOutput::Object => push_object(self, field.value),
            UnmappedOutput::Text => push_text(self, field.value),
            UnmappedOutput::Unparsed => false,
        };
        if written {
            self.add_observable_or_related(name, field.value);
            self.out.push(',');
        } else {
            self.out.truncate(start);
            self.unparsed.push(field);
        }
    }

    /// Records the unmapped text that was just written, if it is an observable.
    fn add_observable_or_related(&mut self, name: FieldName, value: Value<'_>) {
        let positions = self.mapping.observable_positions_from_one;
        let position = positions.get(name.index()).copied();
        let index = position.and_then(|position| usize::from(position).checked_sub(1));
        let Some((_, type_id)) = index.and_then(|index| OBSERVABLE_FIELDS.get(index)) else {
            return;
        };
        let end = self.out.len().saturating_sub(1);
        let start = end.saturating_sub(value.text.len());
        let is_verbatim = self.out.get(start..end) == Some(value.text);
        if value.kind != Kind::String
            || !is_verbatim
            || !matches_observable_type(value.text, *type_id)
        {
            return;
        }
        if self.mapping.writes_observables {
            super::observables::add_text(self, *type_id, "", (start, end));
        } else {
            match type_id {
                2 => self.add_related_range(Related::Ip, (start, end)),
                5 => self.add_related_range(Related::User, (start, end)),
                8 => self.add_related_range(Related::Hash, (start, end)),
                _ => {}
            }
        }
    }

    /// Writes a value; a list without its `null` elements.
    fn push_without_nulls(&mut self, value: Value<'_>) {
        if value.kind != Kind::Array || !value.text.contains("null") {
            return self.push_raw(value);
        }
        let start = self.out.len();
        self.out.push('[');
        let is_read = json::scan_array(value.text, |element| {
            let quote = element.kind.quote();
            if element.kind != Kind::Null {
                self.out.push_str(quote);
                push_single_line(self.out, element.value.of(value.text));
                self.out.push_str(quote);
                self.out.push(',');
            }
        })
        .is_ok();
        if self.out.ends_with(',') {
            self.out.pop();
        }
        self.out.push(']');
        if !is_read {
            self.out.truncate(start);
            self.push_raw(value);
        }
    }

    fn write_unknown(&mut self, field: Field<'r>) {
        if is_absent(&field.value) {
            return;
        }
        if field.key.is_empty() || self.mapping.reserved.contains(&field.key) {
            self.unparsed.push(field);
            return;
        }
        self.out.push('"');
        self.out.push_str(field.key);
        self.out.push_str("\":");
        self.push_raw(field.value);
        self.out.push(',');
    }

    /// Writes a value as it is in the record.
    fn push_raw(&mut self, value: Value<'_>) {
        match value.kind {
            Kind::String => {
                self.out.push('"');
                self.out.push_str(value.text);
                self.out.push('"');
            }
            Kind::Array | Kind::Object if self.record.is_multiline() => {
                push_single_line(self.out, value.text);
            }
            Kind::Array | Kind::False | Kind::Null | Kind::Number | Kind::Object | Kind::True => {
                self.out.push_str(value.text)
            }
        }
    }

    /// Writes the fields whose values could not be read, as text; and the names of these, of those
    /// that were repaired, of those whose lists are cut, and of the field that should have the time where
    /// none could be read.
    fn write_unparsed(&mut self) {
        if self.unparsed.is_empty()
            && self.repaired.is_empty()
            && self.truncated.is_empty()
            && self.unreadable_time.is_none()
        {
            return;
        }
        let fields = core::mem::take(&mut self.unparsed);
        let cut = core::mem::take(&mut self.truncated);
        let repaired = self.repaired;
        let mut known = BTreeSet::new();
        let mut errors: Vec<&str> = fields.iter().map(|field| field.key).collect();
        errors.extend(repaired);
        for name in cut.into_iter().chain(self.unreadable_time) {
            errors.push(name.spelling());
        }
        errors.retain(|key| known.insert(*key));
        if !fields.is_empty() {
            self.out.push_str("\"unparsed\":{");
            for field in &fields {
                self.out.push('"');
                self.out.push_str(name_or_underscore(field.key));
                self.out.push_str("\":\"");
                if field.value.kind == Kind::String {
                    self.out.push_str(field.value.text);
                } else {
                    push_escaped(self.out, field.value.text);
                }
                self.out.push_str("\",");
            }
            self.out.pop();
            self.out.push_str("},");
        }
        if errors.is_empty() {
            return;
        }
        self.out.push_str("\"parse_errors\":[");
        for key in errors {
            self.out.push('"');
            self.out.push_str(name_or_underscore(key));
            self.out.push_str("\",");
        }
        self.out.pop();
        self.out.push_str("],");
    }
}

/// Returns the name, or `_` if it is empty, since stores refuse an empty name.
const fn name_or_underscore(key: &str) -> &str {
    if key.is_empty() { "_" } else { key }
}

fn decoded_key(key: &str) -> String {
    let mut out = String::new();
    crate::decode::unescape::unescape_into(key, &mut out);
    out
}
