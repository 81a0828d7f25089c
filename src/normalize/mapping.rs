//! Compiles the tables: their rows become a sequence of steps that write nested objects in one pass.

use super::attack::{self, Technique};
use super::audit_people;
use super::ocsf::actions;
use super::prose::{self, FoundProse};
use super::severity::SeverityOverride;
use super::table::{
    Computed, Convert, EcsClassification, EcsTables, FieldMapping, Keep, RowOutput, Test,
};
use super::unmapped::OBSERVABLE_FIELDS;
use super::values::{UnescapedText, is_placeholder};
use crate::decode::json::Kind;
use crate::field::{FieldName, NAMES};
use crate::record::{Record, Value};
use crate::stream::Stream;

/// The compiled tables of one stream.
pub(super) struct CompiledMapping {
    /// What to write, in order.
    pub(super) steps: Vec<MappingStep>,
    /// How each known field is kept, by the index of its name.
    pub(super) kept: [Keep; NAMES.len()],
    /// One more than the place of a field in [`OBSERVABLE_FIELDS`], or zero, by the index of its name.
    pub(super) observable_fields: [u8; NAMES.len()],
    /// Whether the event has observables, and not related values.
    pub(super) writes_observables: bool,
    /// Names beside the kept fields that rows write and that no unknown field may have.
    pub(super) reserved: Vec<&'static str>,
    /// Whether a step writes related values, so that they have to be remembered.
    pub(super) writes_related: bool,
    rules: Rules,
    /// The techniques of ATT&CK, as JSON.
    attacks: Rules,
}

/// Rules of which the first that holds counts.
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
    fn first(&self, record: &Record<'_>, prose: &mut FoundProse) -> Option<&str> {
        let mut first_holds = true;
        let rule = self.0.iter().find(|rule| {
            let Some((first, others)) = rule.when.split_first() else {
                return true;
            };
            first_holds = (first_holds || !rule.shares_first_test) && holds(first, record, prose);
            first_holds && all_hold(others, record, prose)
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
    /// The stream, where its events name techniques of ATT&CK.
    pub(super) attack: Option<Stream>,
}

impl StreamOptions<'_> {
    /// Returns the rules for techniques, with the JSON that `write` makes of them.
    pub(super) fn attacks(&self, write: fn(&[Technique]) -> String) -> Vec<RuleInput> {
        let rows = self.attack.into_iter().flat_map(attack::rows);
        rows.map(|row| (row.when.to_vec(), write(row.techniques)))
            .collect()
    }
}

/// One step of a mapping.
pub(super) enum MappingStep {
    /// Begins an object: the text to write.
    Enter(String),
    /// Ends the object begun last; without members it is taken back.
    Leave(&'static str),
    /// Ends an object that has members.
    Close(&'static str),
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
    /// The path in the event, and the type of the observable there; 0 is none.
    pub(super) observable: (&'static str, u8),
}

/// The tests of a rule, and the JSON text to write where all of them hold.
pub(super) type RuleInput = (Vec<Test>, String);

/// The tables that a mapping is compiled from.
pub(super) struct MappingInputs<'t> {
    /// As in [`EcsTables`].
    pub(super) rows: &'t [&'static [FieldMapping]],
    /// As in [`EcsTables`].
    pub(super) kept: Vec<(FieldName, Keep)>,
    /// The rules of classification.
    pub(super) rules: Vec<RuleInput>,
    /// The rules for techniques of ATT&CK.
    pub(super) attacks: Vec<RuleInput>,
    /// The object in which fields are kept that no row uses.
    pub(super) unmapped_object: &'static str,
    /// Returns the type of the observable at a path; 0 is none.
    pub(super) observable: fn(&str) -> u8,
}

impl CompiledMapping {
    /// Compiles the tables of ECS. A severity that the user sets replaces that of every rule.
    ///
    /// A success by a rule is a failure where `failure_test` holds.
    #[cold]
    pub(super) fn for_ecs(tables: &EcsTables, options: &StreamOptions<'_>) -> Self {
        let (severity, failure_test) = (options.severity, options.failure_test);
        let to_json = |mut class: EcsClassification| {
            class.severity = severity(class.kind == "alert").unwrap_or(class.severity);
            class_json(&class)
        };
        let rules = tables.rules.iter().flat_map(|rule| {
            let class = rule.class;
            let failure_test = failure_test.filter(|_| class.outcome == Some("success"));
            let failure_rule = failure_test.map(|failure_test| {
                let class = EcsClassification {
                    outcome: Some("failure"),
                    severity: class.severity.max(2),
                    ..class
                };
                ([rule.when, &[failure_test]].concat(), to_json(class))
            });
            failure_rule
                .into_iter()
                .chain([(rule.when.to_vec(), to_json(class))])
        });
        Self::build(MappingInputs {
            rows: tables.rows,
            kept: tables.kept.to_vec(),
            rules: rules.collect(),
            attacks: options.attacks(attack::ecs),
            unmapped_object: "mimecast",
            observable: |_| 0,
        })
    }

    /// Compiles rows and rules.
    pub(super) fn build(tables: MappingInputs<'_>) -> Self {
        // The unused fields are known when everything else has been written. Three passes and no sort:
        // the code of a stable sort is twenty times as long.
        let place = |row: &FieldMapping| match row.path.split('.').next() {
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
        let rows = (0..3).flat_map(|pass| all().filter(move |row| place(row) == pass));
        let rows: Vec<&FieldMapping> = rows.collect();
        let mut steps = Vec::new();
        let paths: Vec<_> = rows.iter().map(|row| (row.path, *row)).collect();
        push_steps(&mut steps, &paths, tables.observable);
        let steps = merge_constants(steps);
        let mut kept = [Keep::Text; NAMES.len()];
        for (field, keep) in &tables.kept {
            if let Some(slot) = kept.get_mut(field.index()) {
                *slot = *keep;
            }
        }
        let mut observable_fields = [0; NAMES.len()];
        for (at, (field, ..)) in (1_u8..).zip(OBSERVABLE_FIELDS) {
            if let Some(slot) = observable_fields.get_mut(field.index()) {
                *slot = at;
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
            kept,
            observable_fields,
            writes_observables: tables.unmapped_object == "unmapped",
            reserved,
            writes_related: rows
                .iter()
                .any(|row| matches!(row.output, RowOutput::Computed(Computed::Related(_)))),
            rules: Rules::new(tables.rules),
            attacks: Rules::new(tables.attacks),
        }
    }

    /// Returns the techniques that a record names, as JSON.
    pub(super) fn attack(&self, record: &Record<'_>, prose: &mut FoundProse) -> Option<&str> {
        self.attacks.first(record, prose)
    }

    /// Returns the class of a record as members of an object, by the first rule that holds.
    pub(super) fn class(&self, record: &Record<'_>, prose: &mut FoundProse) -> &str {
        self.rules.first(record, prose).unwrap_or_default()
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
                let is_full = matches!(steps.peek(), Some(MappingStep::Constant(_)));
                open.push(is_full);
                if is_full {
                    MappingStep::Constant(text)
                } else {
                    MappingStep::Enter(text)
                }
            }
            MappingStep::Leave(close) if open.pop() == Some(true) => MappingStep::Close(close),
            MappingStep::Leave(_)
            | MappingStep::Close(_)
            | MappingStep::Constant(_)
            | MappingStep::Computed(..)
            | MappingStep::Field(_) => step,
        };
        match (merged.last_mut(), step) {
            (Some(MappingStep::Constant(before)), MappingStep::Constant(text)) => {
                before.push_str(&text)
            }
            (Some(MappingStep::Constant(before)), MappingStep::Close(close)) => {
                before.pop();
                before.push_str(close);
            }
            (_, step) => merged.push(step),
        }
    }
    merged
}

/// Returns whether a test of the prose holds for the text of a value.
#[inline(never)]
fn prose_holds(
    found: &mut FoundProse,
    value: Value<'_>,
    holds: &dyn Fn(&mut FoundProse, &str) -> bool,
) -> bool {
    let mut buffer = String::new();
    let plain = UnescapedText::new(value, &mut buffer);
    plain.is_some_and(|plain| holds(found, plain.text))
}

/// Returns whether a test holds for a record.
fn holds(test: &Test, record: &Record<'_>, found_prose: &mut FoundProse) -> bool {
    let mut values = test.fields().iter().filter_map(|field| record.get(*field));
    let is_one_of =
        |text: &str, words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    let holds = |value: Value<'_>| {
        let text = value.text.trim_ascii();
        match *test {
            Test::Email(_) => super::people::has_email(value),
            Test::Given(_) => is_given(value),
            Test::NullSender(_) => value.kind == Kind::String && matches!(text, "" | "<>"),
            Test::Pattern(_) => prose_holds(found_prose, value, &|_, text| {
                super::stix::osint(text).is_some()
            }),
            Test::SaysNotDone(_) => prose_holds(found_prose, value, &prose::says_not_done),
            Test::NamesPerson(_) => prose_holds(found_prose, value, &prose::names_person),
            Test::NamesTarget(_) => prose_holds(found_prose, value, &prose::names_target),
            Test::NamesUser(_) => prose_holds(found_prose, value, &|_, text| {
                !is_placeholder(text) && !audit_people::user(text).is_empty()
            }),
            Test::ChangesMembers(_) => prose_holds(found_prose, value, &prose::changes_members),
            Test::ActionIs(_, words) => prose_holds(found_prose, value, &|found, text| {
                prose::action_is(found, text, words)
            }),
            Test::NamesRole(_) => prose_holds(found_prose, value, &prose::names_role),
            Test::Says(_, words) => prose_holds(found_prose, value, &|found, text| {
                prose::says(found, text, words)
            }),
            Test::Is(_, words) => is_one_of(text, words),
            Test::HasActionId(_, action) => {
                actions::find(text).is_some_and(|(found, _)| found == action)
            }
            Test::IsOrMissing(_, words) => !is_given(value) || is_one_of(text, words),
            Test::Contains(_, words) => words
                .iter()
                .any(|word| super::values::contains_ignore_case(text, word)),
        }
    };
    if let Test::IsOrMissing(..) = test {
        // It holds where there is no value as well.
        values.all(holds)
    } else {
        values.any(holds)
    }
}

/// Returns whether all tests hold for a record.
pub(super) fn all_hold(tests: &[Test], record: &Record<'_>, prose: &mut FoundProse) -> bool {
    tests.iter().all(|test| holds(test, record, prose))
}

/// Returns whether it is a scalar other than `null` and a placeholder.
fn is_given(value: Value<'_>) -> bool {
    match value.kind {
        Kind::String => !is_placeholder(value.text.trim_ascii()),
        Kind::False | Kind::Number | Kind::True => true,
        Kind::Array | Kind::Null | Kind::Object => false,
    }
}

/// Appends the steps for rows whose paths are relative to the object that contains them. All rows of
/// an object come at the place of the first of them.
fn push_steps(
    steps: &mut Vec<MappingStep>,
    rows: &[(&'static str, &FieldMapping)],
    observable: fn(&str) -> u8,
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
                    observable: (row.path, observable(row.path)),
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
        push_steps(steps, &inner, observable);
        steps.push(MappingStep::Leave(close));
    }
}

fn class_json(class: &EcsClassification) -> String {
    let list = |words: &[&str]| format!("[\"{}\"]", words.join("\",\""));
    let outcome = class
        .outcome
        .map(|word| format!("\"outcome\":\"{word}\","))
        .unwrap_or_default();
    format!(
        "\"kind\":\"{}\",\"category\":{},\"type\":{},{outcome}\"severity\":{},",
        class.kind,
        list(class.category),
        list(class.types),
        class.severity
    )
}
