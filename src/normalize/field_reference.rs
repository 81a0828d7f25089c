//! The tables as a text for people: which field becomes what.

use super::attack::{self, ATTACK_RELEASE};
use super::ecs;
use super::ocsf::{self, OBSERVABLES, actions::ACTIONS};
use super::table::{FieldMapping, RowOutput, UnmappedOutput};
use crate::field::FieldName;
use crate::stream::{STREAMS, Stream};

/// An upstream field, and the paths that it is mapped to.
struct FieldLine {
    field: &'static str,
    ecs: Vec<String>,
    ocsf: Vec<String>,
}

/// Returns the tables of one stream, or of all, as Markdown. The result of `sample` for a stream is
/// added at the end of its section.
#[must_use]
pub fn render(stream: Option<Stream>, sample: &dyn Fn(Stream) -> String) -> String {
    let mut out = String::new();
    if stream.is_none() {
        preface(&mut out);
    }
    for row in STREAMS {
        if stream.is_none_or(|stream| stream == row.stream) {
            section(&mut out, row.stream);
            out.push_str(&sample(row.stream));
        }
    }
    out
}

fn preface(out: &mut String) {
    out.push_str(
        "# Streams and fields\n\n\
         This file is written from the tables that the normalizer carries out; a test compares it.\n\n\
         A field that no row names is kept under its own name: in ECS below `mimecast`, in OCSF below\n\
         `unmapped`. What cannot be read as what it should be is kept as text in `unparsed`, and named in\n\
         `parse_errors` beside it. `parse_errors` also names fields that were repaired to be read (bytes that\n\
         are not UTF-8, half of a surrogate pair, a control character, a value that is nested too deeply), the\n\
         first field of the time where a record has no time that can be read, and lists that are cut: after 10,000\n\
         values a list ends, and its field is kept whole under its own name. A path is written when the value\n\
         fits; of several fields in one row the first that fits is taken.\n\n\
         Severities are 1 informational, 2 low, 3 medium, 4 high, the same in both formats: `event.severity` and\n\
         `severity_id`. An outcome is `none` where a record is about nothing that could fail. A word of the upstream\n\
         that no table has gives the outcome `unknown` and `status_id` 0.\n\n",
    );
    endpoints(out);
    out.push_str(
        "\n## Actions\n\n\
         What the words of the upstream mean in OCSF. A word that is not here becomes 99, with the word\n\
         itself in `action` and `disposition`.\n\n\
         | word | `action_id` | `disposition_id` |\n|---|---|---|\n",
    );
    for (word, action, disposition) in ACTIONS {
        out.push_str(&format!("| `{word}` | {action} | {disposition} |\n"));
    }
    out.push_str("\n## Observables\n\n| path | `type_id` |\n|---|---|\n");
    for (path, type_id) in OBSERVABLES {
        out.push_str(&format!("| `{path}` | {type_id} |\n"));
    }
    out.push_str(&format!(
        "\n## ATT&CK\n\n\
         The MITRE ATT&CK techniques that the rules find for the record, by its stream and verdict, with the ids of\n\
         ATT&CK {ATTACK_RELEASE}: in ECS below `threat`, in OCSF in `attacks`. The setting `attack = false` leaves them\n\
         out. For each stream the first row that fits counts.\n\n\
         | stream | record | techniques |\n|---|---|---|\n"
    ));
    for row in attack::ROWS {
        let names = row.techniques.iter().map(|it| {
            let (id, name) = it.subtechnique.unwrap_or(it.technique);
            let (tactic, tactic_name) = it.tactic;
            format!("{id} {name} ({tactic} {tactic_name})")
        });
        let names = names.collect::<Vec<_>>().join(", ");
        out.push_str(&format!(
            "| `{}` | {} | {names} |\n",
            row.stream, row.meaning
        ));
    }
    out.push_str("\n## Streams\n\n");
}

/// Appends the table of endpoints: where each stream comes from, how long it is kept, and what
/// identifies its records.
fn endpoints(out: &mut String) {
    out.push_str(
        "## Endpoints\n\n\
         Of each stream: the endpoint, the permission of the role, how long Mimecast keeps its records where that\n\
         is documented, and what tells two records apart.\n\n\
         | stream | endpoint | permission | retention | deduplicated by |\n|---|---|---|---|---|\n",
    );
    for row in STREAMS {
        let retention = row
            .retention_hours
            .map_or_else(String::new, |hours| format!("{} days", hours / 24));
        let permission = row.permission.replace('|', "\\|");
        out.push_str(&format!(
            "| `{}` | `{}` | {permission} | {retention} | {} |\n",
            row.name, row.endpoint, row.identity
        ));
    }
}

fn section(out: &mut String, stream: Stream) {
    let info = stream.info();
    out.push_str(&format!(
        "### {}\n\n{}\n\nOCSF classes: ",
        info.name,
        info.summary.trim()
    ));
    let mut classes: Vec<String> = Vec::new();
    for variant in ocsf::variants(stream) {
        let class = format!("{} {}", variant.class.uid, variant.class.name);
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    out.push_str(&classes.join(", "));
    out.push_str("\n\n");
    values(out, stream);
    out.push_str("| upstream | ECS | OCSF |\n|---|---|---|\n");
    for line in lines(stream) {
        out.push_str(&format!(
            "| `{}` | {} | {} |\n",
            line.field,
            cell(&line.ecs),
            cell(&line.ocsf)
        ));
    }
    out.push('\n');
}

/// Appends the values that the rules of a stream give, and the fields of its word of action.
fn values(out: &mut String, stream: Stream) {
    let tables = ecs::tables(stream);
    let mut kinds: Vec<String> = Vec::new();
    let mut categories = Vec::new();
    let mut types = Vec::new();
    let mut outcomes = Vec::new();
    let mut severities = Vec::new();
    for rule in tables.rules {
        let classification = rule.classification;
        add(&mut kinds, classification.kind);
        classification
            .category
            .iter()
            .for_each(|it| add(&mut categories, it));
        classification
            .types
            .iter()
            .for_each(|it| add(&mut types, it));
        add(&mut outcomes, classification.outcome.unwrap_or("none"));
        add(&mut severities, &classification.severity.to_string());
    }
    severities.sort();
    let actions = tables.rows.iter().copied().flatten();
    let actions = actions.filter(|row| row.path == "event.action");
    let action = actions.map(|row| match (row.from, row.output) {
        (from, RowOutput::Field(convert)) if !convert.constant.is_empty() => {
            format!("the word of {}, or `{}`", cell_of(from), convert.constant)
        }
        (from, RowOutput::Field(_)) => format!("the word of {}", cell_of(from)),
        (_, RowOutput::Json(json)) => format!("`{}`", json.trim_matches('"')),
        (_, RowOutput::Computed(_)) => String::new(),
    });
    let action = action.collect::<Vec<_>>().join(", ");
    out.push_str("| ECS field | values |\n|---|---|\n");
    for (field, values) in [
        ("event.kind", cell(&kinds)),
        ("event.category", cell(&categories)),
        ("event.type", cell(&types)),
        ("event.outcome", cell(&outcomes)),
        ("event.severity", cell(&severities)),
        ("event.action", action),
    ] {
        out.push_str(&format!("| `{field}` | {values} |\n"));
    }
    out.push('\n');
}

fn cell_of(fields: &[FieldName]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|field| field.spelling().to_owned())
        .collect();
    cell(&fields)
}

fn cell(paths: &[String]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
    quoted.join(", ")
}

/// Returns the fields of a stream in the order in which its tables name them.
fn lines(stream: Stream) -> Vec<FieldLine> {
    let mut lines: Vec<FieldLine> = Vec::new();
    for field in stream.info().time_fields {
        with_line(&mut lines, field.spelling(), |line| {
            add(&mut line.ecs, "@timestamp");
            add(&mut line.ocsf, "time");
        });
    }
    let tables = ecs::tables(stream);
    for row in tables.rows.iter().copied().flatten() {
        for field in row.from {
            with_line(&mut lines, field.spelling(), |line| {
                for path in paths(row) {
                    add(&mut line.ecs, &path);
                }
            });
        }
    }
    for variant in ocsf::variants(stream) {
        for row in variant.rows.iter().copied().flatten() {
            for field in row.from {
                with_line(&mut lines, field.spelling(), |line| {
                    for path in paths(row) {
                        add(&mut line.ocsf, &path);
                    }
                });
            }
        }
    }
    for line in &mut lines {
        let is_dropped = tables.unmapped.iter().any(|(field, output)| {
            field.spelling() == line.field && *output == UnmappedOutput::Omit
        });
        for (paths, object) in [(&mut line.ecs, "mimecast"), (&mut line.ocsf, "unmapped")] {
            if paths.is_empty() && !is_dropped {
                paths.push(format!("{object}.{}", line.field));
            }
        }
    }
    lines
}

/// Calls `change` with the line of a field, which is added if there is none.
fn with_line(lines: &mut Vec<FieldLine>, field: &'static str, change: impl FnOnce(&mut FieldLine)) {
    if let Some(line) = lines.iter_mut().find(|line| line.field == field) {
        change(line);
        return;
    }
    let mut line = FieldLine {
        field,
        ecs: Vec::new(),
        ocsf: Vec::new(),
    };
    change(&mut line);
    lines.push(line);
}

fn add(paths: &mut Vec<String>, path: &str) {
    if !path.is_empty() && !paths.iter().any(|known| known == path) {
        paths.push(path.to_owned());
    }
}

/// Returns where a row writes.
fn paths(row: &FieldMapping) -> Vec<String> {
    if row.path.is_empty() || row.path.ends_with('.') {
        return Vec::new();
    }
    let Some((object, members)) = row.path.split_once('{') else {
        return vec![row.path.to_owned()];
    };
    let members = members.trim_end_matches('}').split(',');
    members.map(|member| format!("{object}{member}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use serde_json::Value;

    use super::*;
    use crate::batch::{RecordProcessor, normalize_all};
    use crate::normalize::{Format, Options};
    use crate::time::Timestamp;

    /// The first record of the first fixture of a stream, and its events.
    fn sample(stream: Stream) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let entries = fs::read_dir(folder.join(stream.name())).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.to_string_lossy().ends_with(".upstream.ndjson"));
        files.sort();
        let text = fs::read_to_string(&files[0]).unwrap();
        let record = text.lines().next().unwrap();
        let mut out = format!("A record:\n\n```json\n{record}\n```\n\n");
        for (format, name) in [(Format::Ecs, "ECS"), (Format::Ocsf, "OCSF")] {
            let mut processor = RecordProcessor::new(format, Options::default());
            let now = Timestamp::from_millis(1_772_400_000_000);
            let normalized = normalize_all(&mut processor, stream, record.as_bytes(), now);
            let event: Value = serde_json::from_str(&normalized.events).unwrap();
            out.push_str(&format!("In {name}:\n\n```json\n{event:#}\n```\n\n"));
        }
        out
    }

    #[test]
    fn the_page_of_fields_is_what_the_tables_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fields.md");
        let rendered = render(None, &sample);
        if std::env::var_os("BLESS").is_some() {
            fs::write(path, &rendered).unwrap();
        }
        let written = fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == rendered,
            "run the tests with BLESS=1 to write docs/fields.md"
        );
    }

    #[test]
    fn a_stream_has_a_page_of_its_own() {
        let page = render(Some(Stream::SiemReceipt), &|_| String::new());
        assert!(page.starts_with("### siem.receipt\n"));
        assert!(
            page.contains("| `senderIp` | `source.ip`, `source.port` | `src_endpoint.ip`, `src_endpoint.port` |"),
            "{page}"
        );
        assert!(!page.contains("### audit"));
    }
}
