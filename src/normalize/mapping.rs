//! Compiles the tables: their rows become a sequence of steps that write nested objects in one pass.

use super::attack::{self, Technique};
use super::audit_people;
use super::ocsf::actions;
use super::prose::{self, ProseCache};
use super::severity::SeverityOverride;
use super::table::{
    Computed, Convert, EcsClassification, EcsTables, FieldMapping, RowOutput, Test, UnmappedOutput,
};
use super::unmapped::OBSERVABLE_FIELDS;
use super::values::{self, UnescapedText, is_placeholder};
use crate::decode::json::Kind;
use crate::field::{FieldName, NAMES};
use crate::record::{Record, Value};
use crate::stream::Stream;

/// The compiled tables of one stream.
pub(super) struct CompiledMapping {
    /// What to write, in order.
    pub(super) steps: Vec<MappingStep>,
    /// How each known field is written that no row has used, by the index of its name.
    pub(super) unmapped: [UnmappedOutput; NAMES.len()],
    /// One more than the place of a field in [`OBSERVABLE_FIELDS`], or zero, by the index of its name.
    pub(super) observable_positions_from_one: [u8; NAMES.len()],
    /// Whether the event has observables, and not related values.
    pub(super) writes_observables: bool,
    /// Names that no unknown field may have, since rows write members of these names into the object of the
    /// unmapped fields.
    pub(super) reserved: Vec<&'static str>,
    /// Whether a step writes related values, so that they have to be collected.
    pub(super) writes_related: bool,
    classification_rules: Rules,
    technique_rules: Rules,
}

/// Rules of which the first that holds decides.
struct Rules(Vec<Rule>);

struct Rule {
    when: Vec<Test>,
    /// The first test is that of the rule before: where that one has failed, this rule does not hold.
    shares_first_test: bool,
    json: String,
}

impl Rules {
    fn new(rules: Vec<RuleInput>) -> Self {
        let mut first = None;
        let rules = rules.into_iter().map(|(when, json)| {
            let before = core::mem::replace(&mut first, when.first().copied());
            Rule {
                shares_first_test: before.is_some() && before == first,
                when,
                json,
            }
        });
        Self(rules.collect())
    }

    /// Returns the JSON of the first rule that holds.
    fn first_match(&self, record: &Record<'_>, prose_cache: &mut ProseCache) -> Option<&str> {
        let mut first_holds = true;
        let rule = self.0.iter().find(|rule| {
            let Some((first, others)) = rule.when.split_first() else {
                return true;
            };
            first_holds =
                (first_holds || !rule.shares_first_test) && holds(first, record, prose_cache);
            first_holds && all_hold(others, record, prose_cache)
        });
        rule.map(|rule| rule.json.as_str())
    }
}

/// The options of all tables of a stream, in either format.
pub(super) struct StreamOptions<'s> {
    /// The severity that the user sets.
    pub(super) severity: SeverityOverride<'s>,
    /// The test that turns a success into a failure.
    pub(super) failure_test: Option<Test>,
    /// The stream, for the techniques of MITRE ATT&CK; `None` where the setting `attack` is off.
    pub(super) attack_stream: Option<Stream>,
}

impl StreamOptions<'_> {
    /// Returns the rules for techniques, with the techniques as JSON.
    pub(super) fn technique_rules(&self, write: fn(&[Technique]) -> String) -> Vec<RuleInput> {
        let rows = self.attack_stream.into_iter().flat_map(attack::rows);
        rows.map(|row| (row.when.to_vec(), write(row.techniques)))
            .collect()
    }
}

/// One step of a mapping.
pub(super) enum MappingStep {
    /// Begins an object: the text to write.
    Enter(String),
    /// Ends the object begun last, or removes it where it has no members.
    EndOrDrop(&'static str),
    /// Ends an object that has members.
    End(&'static str),
    /// Writes a constant.
    Constant(String),
    /// Writes what the engine computes, after the name in quotes and a colon.
    Computed(String, Computed),
    /// Writes one value, or nothing.
    Field(FieldStep),
}

/// A compiled row.
pub(super) struct FieldStep {
    /// The name in quotes, and a colon.
    pub(super) key: String,
    /// The fields it may come from.
    pub(super) from: &'static [FieldName],
    /// How it is read and written.
    pub(super) convert: Convert,
    /// The path in the event.
    pub(super) path: &'static str,
    /// The type of the observable at that path; 0 is none.
    pub(super) observable_type: u8,
}

/// The tests of a rule, and the JSON to write where all of them hold.
pub(super) type RuleInput = (Vec<Test>, String);

/// The tables that a mapping is compiled from.
pub(super) struct MappingInputs<'t> {
    /// As in [`EcsTables`].
    pub(super) rows: &'t [&'static [FieldMapping]],
    /// As in [`EcsTables`].
    pub(super) unmapped: Vec<(FieldName, UnmappedOutput)>,
    /// The rules of classification.
    pub(super) classification_rules: Vec<RuleInput>,
    /// The rules for techniques of MITRE ATT&CK.
    pub(super) technique_rules: Vec<RuleInput>,
    /// The object into which the fields are written that no row uses.
    pub(super) unmapped_object: &'static str,
    /// Returns the type of the observable at a path; 0 is none.
    pub(super) observable_type: fn(&str) -> u8,
}

impl CompiledMapping {
    /// Compiles the tables of ECS. A severity that the user sets replaces that of every rule.
    ///
    /// A success by a rule is a failure where `failure_test` holds.
    #[cold]
    pub(super) fn for_ecs(tables: &EcsTables, options: &StreamOptions<'_>) -> Self {
        let (severity, failure_test) = (options.severity, options.failure_test);
        let to_json = |mut classification: EcsClassification| {
            let is_alert = classification.kind == "alert";
            classification.severity = severity(is_alert).unwrap_or(classification.severity);
            classification_json(&classification)
        };
        let rules = tables.rules.iter().flat_map(|rule| {
            let classification = rule.classification;
            let failure_test = failure_test.filter(|_| classification.outcome == Some("success"));
            let failure_rule = failure_test.map(|failure_test| {
                let failure = EcsClassification {
                    outcome: Some("failure"),
                    severity: classification.severity.max(2),
                    ..classification
                };
                ([rule.when, &[failure_test]].concat(), to_json(failure))
            });
            failure_rule
                .into_iter()
                .chain([(rule.when.to_vec(), to_json(classification))])
        });
        Self::build(MappingInputs {
            rows: tables.rows,
            unmapped: tables.unmapped.to_vec(),
            classification_rules: rules.collect(),
            technique_rules: options.technique_rules(attack::ecs),
            unmapped_object: "mimecast",
            observable_type: |_| 0,
        })
    }

    /// Compiles rows and rules.
    pub(super) fn build(tables: MappingInputs<'_>) -> Self {
        // The unused fields are known when everything else has been written. Three passes and no sort:
        // the code of a stable sort is twenty times as long.
        let pass_of = |row: &FieldMapping| match row.path.split('.').next() {
            Some(object) if object == tables.unmapped_object => 1,
            Some("related" | "observables") => 2,
            _ => 0,
        };
        let rows = || tables.rows.iter().copied().flatten();
        // Where a field of the record is the message, none is computed.
        let is_computed_message =
            |row: &&FieldMapping| matches!(row.output, RowOutput::Computed(Computed::Message));
        let has_message = rows().any(|row| row.path == "message" && !is_computed_message(&row));
        let all = || rows().filter(|row| !(has_message && is_computed_message(row)));
        let rows = (0..3).flat_map(|pass| all().filter(move |row| pass_of(row) == pass));
        let rows: Vec<&FieldMapping> = rows.collect();
        let mut steps = Vec::new();
        let paths: Vec<_> = rows.iter().map(|row| (row.path, *row)).collect();
        push_steps(&mut steps, &paths, tables.observable_type);
        let steps = merge_constants(steps);
        let mut unmapped = [UnmappedOutput::Text; NAMES.len()];
        for (field, output) in &tables.unmapped {
            if let Some(slot) = unmapped.get_mut(field.index()) {
                *slot = *output;
            }
        }
        let mut observable_positions_from_one = [0; NAMES.len()];
        for (position, (field, ..)) in (1_u8..).zip(OBSERVABLE_FIELDS) {
            if let Some(slot) = observable_positions_from_one.get_mut(field.index()) {
                *slot = position;
            }
        }
        let reserved = rows
            .iter()
            .filter_map(|row| row.path.split_once('.'))
            .filter(|(object, _)| *object == tables.unmapped_object)
            .filter_map(|(_, path)| path.split('.').next())
            .filter(|name| !name.is_empty())
            .chain(["auth", "parse_errors", "unparsed"])
            .collect();
        Self {
            steps,
            unmapped,
            observable_positions_from_one,
            writes_observables: tables.unmapped_object == "unmapped",
            reserved,
            writes_related: rows
                .iter()
                .any(|row| matches!(row.output, RowOutput::Computed(Computed::Related(_)))),
            classification_rules: Rules::new(tables.classification_rules),
            technique_rules: Rules::new(tables.technique_rules),
        }
    }

    /// Returns the techniques that the rules find for a record, as JSON.
    pub(super) fn techniques(
        &self,
        record: &Record<'_>,
        prose_cache: &mut ProseCache,
    ) -> Option<&str> {
        self.technique_rules.first_match(record, prose_cache)
    }

    /// Returns how a record is classified, as members of an object, by the first rule that holds.
    pub(super) fn classification(&self, record: &Record<'_>, prose_cache: &mut ProseCache) -> &str {
        let rule = self.classification_rules.first_match(record, prose_cache);
        rule.unwrap_or_default()
    }
}

/// Merges adjacent constants into one step. An object with a constant is never empty, so
/// its start does not have to be recorded.
fn merge_constants(steps: Vec<MappingStep>) -> Vec<MappingStep> {
    let mut merged: Vec<MappingStep> = Vec::new();
    // Whether each object that is open has a constant at its beginning.
    let mut open = Vec::new();
    let mut steps = steps.into_iter().peekable();
    while let Some(step) = steps.next() {
        let step = match step {
            MappingStep::Enter(text) => {
                let begins_with_constant = matches!(steps.peek(), Some(MappingStep::Constant(_)));
                open.push(begins_with_constant);
                if begins_with_constant {
                    MappingStep::Constant(text)
                } else {
                    MappingStep::Enter(text)
                }
            }
            MappingStep::EndOrDrop(close) if open.pop() == Some(true) => MappingStep::End(close),
            MappingStep::EndOrDrop(_)
            | MappingStep::End(_)
            | MappingStep::Constant(_)
            | MappingStep::Computed(..)
            | MappingStep::Field(_) => step,
        };
        match (merged.last_mut(), step) {
            (Some(MappingStep::Constant(before)), MappingStep::Constant(text)) => {
                before.push_str(&text)
            }
            (Some(MappingStep::Constant(before)), MappingStep::End(close)) => {
                before.pop();
                before.push_str(close);
            }
            (_, step) => merged.push(step),
        }
    }
    merged
}

/// Returns whether a test holds for the text of a value, without its escapes.
#[inline(never)]
fn unescaped_text_holds(
    cache: &mut ProseCache,
    value: Value<'_>,
    holds: &dyn Fn(&mut ProseCache, &str) -> bool,
) -> bool {
    let mut buffer = String::new();
    let plain = UnescapedText::new(value, &mut buffer);
    plain.is_some_and(|plain| holds(cache, plain.text))
}

/// Returns whether a test holds for a record.
fn holds(test: &Test, record: &Record<'_>, prose_cache: &mut ProseCache) -> bool {
    if let Test::IsOrMissing(field, _) = test
        && record.get(*field).is_none()
    {
        return true;
    }
    let mut values = test.fields().iter().filter_map(|field| record.get(*field));
    let is_one_of =
        |text: &str, words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    let holds = |value: Value<'_>| {
        let text = value.text.trim_ascii();
        match *test {
            Test::Email(_) => super::address_lists::has_email(value),
            Test::HasValue(_) => has_value(value),
            Test::NullSender(_) => value.kind == Kind::String && matches!(text, "" | "<>"),
            Test::HasIndicator(_) => unescaped_text_holds(prose_cache, value, &|_, text| {
                super::stix::osint(text).is_some()
            }),
            Test::ReportsFailure(_) => {
                unescaped_text_holds(prose_cache, value, &prose::reports_failure)
            }
            Test::NamesPerson(_) => unescaped_text_holds(prose_cache, value, &prose::names_person),
            Test::NamesTarget(_) => unescaped_text_holds(prose_cache, value, &prose::names_target),
            Test::HasUser(_) => unescaped_text_holds(prose_cache, value, &|_, text| {
                !is_placeholder(text) && !audit_people::user(text).is_empty()
            }),
            Test::ChangesMembers(_) => {
                unescaped_text_holds(prose_cache, value, &prose::changes_members)
            }
            Test::ActionIs(_, words) | Test::ActionIsAlsoAfterChange(_, words) => {
                let allow_change_before = matches!(test, Test::ActionIsAlsoAfterChange(..));
                unescaped_text_holds(prose_cache, value, &|cache, text| {
                    prose::action_is(cache, text, words, allow_change_before)
                })
            }
            Test::NamesRoleAndTarget(_) => {
                unescaped_text_holds(prose_cache, value, &prose::names_role_and_target)
            }
            Test::SentenceHasWordPrefix(_, words) => {
                unescaped_text_holds(prose_cache, value, &|cache, text| {
                    prose::has_word_prefix(cache, text, words)
                })
            }
            Test::Is(_, words) => is_one_of(text, words),
            Test::HasActionId(_, action) => {
                actions::find(text).is_some_and(|(found, _)| found == action)
            }
            // A list or an object is no known word, and not missing either.
            Test::IsOrMissing(_, words) => {
                !matches!(value.kind, Kind::Array | Kind::Object)
                    && (!has_value(value) || is_one_of(text, words))
            }
            Test::Contains(_, words) | Test::HasWordPrefix(_, words) => {
                let is_anywhere = matches!(test, Test::Contains(..));
                words
                    .iter()
                    .any(|word| values::contains_word(text, word, is_anywhere))
            }
        }
    };
    values.any(holds)
}

/// Returns whether all tests hold for a record.
pub(super) fn all_hold(tests: &[Test], record: &Record<'_>, prose_cache: &mut ProseCache) -> bool {
    tests.iter().all(|test| holds(test, record, prose_cache))
}

/// Returns whether a value is a scalar other than `null` and a placeholder.
fn has_value(value: Value<'_>) -> bool {
    match value.kind {
        Kind::String => !is_placeholder(value.text.trim_ascii()),
        Kind::False | Kind::Number | Kind::True => true,
        Kind::Array | Kind::Null | Kind::Object => false,
    }
}

/// Appends the steps for rows whose paths are relative to the object that contains them. All rows of
/// an object are written where its first row stands.
fn push_steps(
    steps: &mut Vec<MappingStep>,
    rows: &[(&'static str, &FieldMapping)],
    observable_type: fn(&str) -> u8,
) {
    let mut done: Vec<&str> = Vec::new();
    for (path, row) in rows {
        let Some((object, _)) = path.split_once('.') else {
            let key = if path.is_empty() || path.starts_with('{') {
                String::new()
            } else {
                format!("\"{path}\":")
            };
            steps.push(match row.output {
                RowOutput::Computed(what) => MappingStep::Computed(key, what),
                RowOutput::Json(json) => MappingStep::Constant(format!("{key}{json},")),
                RowOutput::Field(convert) => MappingStep::Field(FieldStep {
                    key,
                    from: row.from,
                    convert,
                    path: row.path,
                    observable_type: observable_type(row.path),
                }),
            });
            continue;
        };
        if done.contains(&object) {
            continue;
        }
        done.push(object);
        let (name, open, close) = match object.strip_suffix("[]") {
            Some(name) => (name, "[{", "}],"),
            None => (object, "{", "},"),
        };
        steps.push(MappingStep::Enter(format!("\"{name}\":{open}")));
        let inner: Vec<_> = rows
            .iter()
            .filter_map(|(path, row)| {
                let (first, rest) = path.split_once('.')?;
                (first == object).then_some((rest, *row))
            })
            .collect();
        push_steps(steps, &inner, observable_type);
        steps.push(MappingStep::EndOrDrop(close));
    }
}

/// Returns the members of a classification, as JSON.
fn classification_json(classification: &EcsClassification) -> String {
    let list = |words: &[&str]| format!("[\"{}\"]", words.join("\",\""));
    let outcome = classification
        .outcome
        .map(|word| format!("\"outcome\":\"{word}\","))
        .unwrap_or_default();
    format!(
        "\"kind\":\"{}\",\"category\":{},\"type\":{},{outcome}\"severity\":{},",
        classification.kind,
        list(classification.category),
        list(classification.types),
        classification.severity
    )
}
