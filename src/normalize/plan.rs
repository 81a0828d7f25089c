//! Tables made ready: rows as a sequence of steps that write nested objects in one pass.

use super::table::{Class, Keep, Row, Rule, Tables, Test, With};
use crate::record::{NAMES, Name, Record};

/// The tables of one stream in the form in which they are carried out.
pub(super) struct Plan {
    /// What to write, in order.
    pub(super) steps: Vec<Step>,
    /// How each known field is kept, by the index of its name.
    pub(super) kept: [Keep; NAMES.len()],
    /// Names under `mimecast` that rows write and that no unknown field may have.
    pub(super) reserved: Vec<&'static str>,
    rules: Vec<(Vec<Condition>, String)>,
}

/// One step of a plan.
pub(super) enum Step {
    /// Begins an object: the text to write.
    Enter(String),
    /// Ends the object begun last; without members it is taken back.
    Leave(&'static str),
    /// Writes one value, or nothing.
    Value(Leaf),
}

/// A row made ready.
pub(super) struct Leaf {
    /// The name in quotes, and a colon.
    pub(super) key: String,
    /// The fields it may come from.
    pub(super) from: Vec<Name>,
    /// What is written.
    pub(super) with: With,
}

struct Condition {
    field: Option<Name>,
    words: &'static [&'static str],
    whole: bool,
}

impl Plan {
    /// Makes tables ready.
    pub(super) fn new(tables: &Tables) -> Self {
        let mut rows: Vec<&Row> = tables.rows.iter().copied().flatten().collect();
        // What is left over is known when all else has been written.
        rows.sort_by_key(|row| match row.path.split('.').next() {
            Some("mimecast") => 1,
            Some("related") => 2,
            _ => 0,
        });
        let mut steps = Vec::new();
        let paths: Vec<_> = rows.iter().map(|row| (row.path, *row)).collect();
        push_steps(&mut steps, &paths);
        let mut kept = [Keep::Text; NAMES.len()];
        for (field, keep) in tables.kept {
            if let Some(slot) = Name::new(field).and_then(|name| kept.get_mut(name.index())) {
                *slot = *keep;
            }
        }
        let reserved = rows
            .iter()
            .filter_map(|row| row.path.strip_prefix("mimecast."))
            .filter_map(|path| path.split('.').next())
            .filter(|name| !name.is_empty())
            .chain(["auth", "parse_errors", "unparsed"])
            .collect();
        let rules = tables.rules.iter().map(compile_rule).collect();
        Self {
            steps,
            kept,
            reserved,
            rules,
        }
    }

    /// The class of a record as members of an object, by the first rule that holds.
    pub(super) fn class(&self, record: &Record<'_>) -> &str {
        let rule = self
            .rules
            .iter()
            .find(|(when, _)| when.iter().all(|test| test.holds(record)));
        rule.map_or("", |(_, class)| class)
    }
}

impl Condition {
    fn holds(&self, record: &Record<'_>) -> bool {
        let Some(value) = self.field.and_then(|field| record.get(field)) else {
            return false;
        };
        let text = value.text.trim_ascii();
        if self.whole {
            return self
                .words
                .iter()
                .any(|word| text.eq_ignore_ascii_case(word));
        }
        self.words
            .iter()
            .any(|word| super::values::contains_ignore_case(text, word))
    }
}

/// Writes the steps for rows whose paths are given below the object they stand in. Rows of one
/// object come where the first of them stands.
fn push_steps(steps: &mut Vec<Step>, rows: &[(&'static str, &Row)]) {
    let mut done: Vec<&str> = Vec::new();
    for (path, row) in rows {
        let Some((object, _)) = path.split_once('.') else {
            let key = if path.is_empty() {
                String::new()
            } else {
                format!("\"{path}\":")
            };
            let from = row
                .from
                .iter()
                .filter_map(|field| Name::new(field))
                .collect();
            steps.push(Step::Value(Leaf {
                key,
                from,
                with: row.with,
            }));
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
        steps.push(Step::Enter(format!("\"{name}\":{open}")));
        let inner: Vec<_> = rows
            .iter()
            .filter_map(|(path, row)| {
                let (first, rest) = path.split_once('.')?;
                (first == object).then_some((rest, *row))
            })
            .collect();
        push_steps(steps, &inner);
        steps.push(Step::Leave(close));
    }
}

fn compile_rule(rule: &Rule) -> (Vec<Condition>, String) {
    let when = rule.when.iter().map(|test| match *test {
        Test::Has(field, words) => Condition {
            field: Name::new(field),
            words,
            whole: false,
        },
        Test::Is(field, words) => Condition {
            field: Name::new(field),
            words,
            whole: true,
        },
    });
    (when.collect(), class_json(&rule.class))
}

fn class_json(class: &Class) -> String {
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
