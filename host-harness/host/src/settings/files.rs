//! Checks the files that the settings have the host write to: no two writers may share
//! one, under any name.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use source_common::exit::Failure;
use source_common::section::{SettingsErrors, at};
use source_outputs::{ANY, PathTemplate};
use source_runtime::store;

use super::{CACHE_DIR, DeadLetterSettings, PAUSED_FILE, Settings};

/// As many as a system follows.
const SYMLINKS_MAX: u32 = 40;

/// A file and its use.
struct FileUse {
    by: String,
    id: FileId,
}

/// Identifies a file, to detect two paths to the same one.
#[derive(Clone, Debug, Eq, PartialEq)]
struct FileId {
    path: PathBuf,
    /// Device and inode number of an existing file, which may have several names.
    inode: Option<(u64, u64)>,
}

impl FileId {
    fn of(path: &Path) -> Self {
        let path = resolved(path);
        Self {
            inode: node(&path),
            path,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.path == other.path || (self.inode.is_some() && self.inode == other.inode)
    }
}

/// Files that an output writes to.
struct OutputFiles<'a> {
    by: String,
    line: Option<usize>,
    path: PathTemplate,
    /// The names of the sources that it gets events of.
    sources: Vec<&'a str>,
}

/// The files that a template can name, by source.
struct TemplateUse<'a> {
    by: String,
    all: String,
    of_source: Vec<(&'a str, String)>,
}

/// Refuses a file that two outputs write to, or an output and the host itself.
pub(super) fn refuse_shared(settings: &Settings, mistakes: &mut SettingsErrors) {
    let mut used = host_files(settings);
    let state = FileId::of(&settings.state_dir).path;
    let refuse = |output: &OutputFiles<'_>, of: &str| {
        let at = at(&settings.file, output.line);
        let (by, path) = (&output.by, &output.path);
        Failure::settings(format!(
            "{at}: {by}: `path` is {path}, which {of}; give each a file of its own"
        ))
    };
    let (fixed, templates): (Vec<_>, Vec<_>) = output_files(settings)
        .into_iter()
        .partition(|output| output.path.fixed().is_some());
    for output in fixed {
        let id = FileId::of(&output.path.fixed().unwrap_or_default());
        if let Some(other) = used.iter().find(|other| other.id.is_same(&id)) {
            mistakes.add(refuse(&output, &format!("is the file of {}", other.by)));
            continue;
        }
        let of_state = id.path.strip_prefix(&state).ok();
        if of_state.is_some_and(is_host_file) {
            mistakes.add(refuse(&output, "is a file of the state directory"));
            continue;
        }
        used.push(FileUse { by: output.by, id });
    }
    let mut earlier: Vec<TemplateUse<'_>> = Vec::new();
    for output in templates {
        let written = TemplateUse::of(&output);
        match written.shared(&used, &state, &earlier) {
            Some(of) => mistakes.add(refuse(&output, &of)),
            None => earlier.push(written),
        }
    }
}

impl<'a> TemplateUse<'a> {
    fn of(output: &OutputFiles<'a>) -> Self {
        let sources = output.sources.iter();
        Self {
            by: output.by.clone(),
            all: resolved_pattern(&output.path.pattern(None)),
            of_source: sources
                .map(|source| {
                    (
                        *source,
                        resolved_pattern(&output.path.pattern(Some(*source))),
                    )
                })
                .collect(),
        }
    }

    /// What it shares a file with, as a clause.
    fn shared(&self, used: &[FileUse], state: &Path, earlier: &[Self]) -> Option<String> {
        for other in used {
            let path = other.id.path.to_string_lossy();
            if let Some(source) = self.overlapping(&path) {
                let by = &other.by;
                return Some(format!("can be the file of {by}, for source `{source}`"));
            }
        }
        let kept = [
            format!("{ANY}{}", store::STATE_FILE_SUFFIX),
            "lock".to_owned(),
            format!("{CACHE_DIR}/{ANY}"),
        ];
        for name in kept {
            let path = state.join(name);
            if let Some(source) = self.overlapping(&path.to_string_lossy()) {
                let of = "can be a file of the state directory";
                return Some(format!("{of}, for source `{source}`"));
            }
        }
        let others = earlier
            .iter()
            .filter(|other| overlap(&self.all, &other.all));
        for other in others {
            let mut paths = other.of_source.iter();
            let shared = paths.find_map(|(_, path)| self.overlapping(path));
            if let Some(source) = shared {
                let by = &other.by;
                return Some(format!("can be a file of {by} too, for source `{source}`"));
            }
        }
        None
    }

    /// The source for which it can be this path.
    fn overlapping(&self, path: &str) -> Option<&'a str> {
        if !overlap(&self.all, path) {
            return None;
        }
        let found = self.of_source.iter().find(|(_, own)| overlap(own, path));
        found.map(|(source, _)| *source)
    }
}

/// The pattern of a path whose directory, as far as it is known, has no links.
fn resolved_pattern(pattern: &Path) -> String {
    let text = pattern.to_string_lossy();
    let known = text.split(ANY).next().unwrap_or_default();
    let end = known.rfind('/').map_or(0, |at| at + 1);
    let (directory, rest) = text.split_at(end);
    resolved(Path::new(directory))
        .join(rest)
        .to_string_lossy()
        .into_owned()
}

/// Whether two patterns have a path in common.
fn overlap(one: &str, other: &str) -> bool {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![(0, 0)];
    while let Some((i, j)) = open.pop() {
        if !seen.insert((i, j)) {
            continue;
        }
        let (a, b) = (one.get(i).copied(), other.get(j).copied());
        match (a, b) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b && a != ANY => open.push((i + 1, j + 1)),
            _ => {
                let is_taken = |by: Option<char>, taken: Option<char>| {
                    by == Some(ANY) && taken.is_some_and(|taken| taken != '/')
                };
                if a == Some(ANY) {
                    open.push((i + 1, j));
                }
                if b == Some(ANY) {
                    open.push((i, j + 1));
                }
                if is_taken(a, b) {
                    open.push((i, j + 1));
                }
                if is_taken(b, a) {
                    open.push((i + 1, j));
                }
            }
        }
    }
    false
}

/// Returns the files that the host itself writes.
fn host_files(settings: &Settings) -> Vec<FileUse> {
    let used = |by: String, path: &Path| FileUse {
        by,
        id: FileId::of(path),
    };
    let mut files = vec![used("the settings".to_owned(), &settings.file)];
    let has_own_file = matches!(settings.dead_letter, Some(DeadLetterSettings::File(_)));
    for source in &settings.sources {
        let name = &source.name;
        let checkpoint = store::state_path(&settings.state_dir, name);
        files.push(used(format!("the checkpoint of `{name}`"), &checkpoint));
        if !has_own_file {
            let rejected = store::rejected_path(&settings.state_dir, name);
            files.push(used(format!("the rejected records of `{name}`"), &rejected));
        }
        if let Some(component) = &source.component {
            files.push(used(format!("the component of `{name}`"), component));
        }
    }
    files
}

/// The files that the settings file names to be written to, with their places.
fn output_files(settings: &Settings) -> Vec<OutputFiles<'_>> {
    let several = settings.outputs.len() > 1;
    let outputs = settings.outputs.iter().enumerate();
    let mut files: Vec<OutputFiles<'_>> = outputs
        .filter_map(|(index, output)| {
            let by = if several {
                format!("[[output]] number {}", index + 1)
            } else {
                "[[output]]".to_owned()
            };
            let users = settings.sources.iter();
            let users = users.filter(|source| source.uses_output(&output.name));
            Some(OutputFiles {
                by,
                line: output.lines.line("path"),
                path: output.config.file()?.clone(),
                sources: users.map(|source| source.name.as_str()).collect(),
            })
        })
        .collect();
    let path = match &settings.dead_letter {
        None => None,
        Some(DeadLetterSettings::File(path)) => Some(PathTemplate::of_file(path)),
        Some(DeadLetterSettings::Output(config)) => config.file().cloned(),
    };
    files.extend(path.map(|path| {
        OutputFiles {
            by: "[dead_letter]".to_owned(),
            line: settings.dead_letter_lines.line("path"),
            path,
            sources: settings
                .sources
                .iter()
                .map(|source| source.name.as_str())
                .collect(),
        }
    }));
    files
}

/// Returns whether a path in the state directory is a file of the host: also of a
/// source that the settings file does not name for now.
fn is_host_file(path: &Path) -> bool {
    let name = path.to_string_lossy();
    path.starts_with(CACHE_DIR)
        || ["lock", PAUSED_FILE].contains(&&*name)
        || name.ends_with(store::STATE_FILE_SUFFIX)
}

/// Resolves symlinks, `.` and `..`, even if the path does not exist yet.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut left: VecDeque<OsString> = parts(&absolute);
    let mut resolved = PathBuf::new();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&part);
        match next.read_link() {
            Ok(target) if links < SYMLINKS_MAX => {
                links += 1;
                if target.is_absolute() {
                    resolved = PathBuf::new();
                }
                let mut through = parts(&target);
                through.append(&mut left);
                left = through;
            }
            // Not a symlink, or does not exist.
            _ => resolved = next,
        }
    }
    resolved
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| !matches!(part, Component::CurDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

#[cfg(unix)]
fn node(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn node(_: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What is wrong with these outputs in a file `m.toml` of a directory.
    fn refusal(directory: &Path, more: &str) -> Option<String> {
        let text = format!(
            "state_dir = \"state\"\n[[source]]\nname = \"acme\"\n[source.settings]\n{more}"
        );
        let failure = Settings::parse(&text, &directory.join("m.toml")).err()?;
        assert_eq!(failure.exit.code(), 78);
        Some(failure.message)
    }

    fn outputs(paths: &[&str]) -> String {
        let outputs = paths
            .iter()
            .map(|path| format!("[[output]]\ntype = \"file\"\npath = \"{path}\"\n"));
        outputs.collect()
    }

    #[test]
    fn two_outputs_on_one_file_are_refused_under_whatever_name() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("there/deep")).unwrap();
        fs::write(at("there/a"), "").unwrap();
        fs::hard_link(at("there/a"), at("hard")).unwrap();
        std::os::unix::fs::symlink("there/a", at("link")).unwrap();
        std::os::unix::fs::symlink(at("link"), at("link-to-link")).unwrap();
        std::os::unix::fs::symlink("there", at("directory")).unwrap();
        std::os::unix::fs::symlink("there/new", at("dangling")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        let absolute = at("there/a").display().to_string();
        for (one, other) in [
            ("there/a", "there/a"),
            ("there/a", "./there//a"),
            ("there/a", "there/deep/../a"),
            ("there/a", &absolute),
            ("there/a", "link"),
            ("there/a", "link-to-link"),
            ("there/a", "hard"),
            ("there/a", "directory/a"),
            ("link", "directory/deep/../a"),
            // Nothing is there yet.
            ("there/new", "dangling"),
            ("new/b", "./new/../new/b"),
            ("directory/b", "there/b"),
            ("loop", "loop"),
        ] {
            for (one, other) in [(one, other), (other, one)] {
                let message = refusal(directory.path(), &outputs(&[one, "x", other]));
                let message = message.unwrap_or_else(|| panic!("{one} and {other}"));
                assert!(
                    message.contains("[[output]] number 3: `path` is ")
                        && message.contains("the file of [[output]] number 1"),
                    "{message}"
                );
            }
        }
        let apart = ["there/a", "there/b", "there/deep/a", "new/a", "a"];
        assert_eq!(refusal(directory.path(), &outputs(&apart)), None);
    }

    #[test]
    fn templates_that_can_name_one_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(".", directory.path().join("link")).unwrap();
        for (one, other, of) in [
            (
                "{source}.ndjson",
                "{source}.ndjson",
                Some("[[output]] number 1 too"),
            ),
            (
                "out/{source}",
                "link/out/{source}",
                Some("[[output]] number 1 too"),
            ),
            (
                "out/{stream}",
                "out/{kind}",
                Some("[[output]] number 1 too"),
            ),
            (
                "out/{source}",
                "out/acme",
                Some("the file of [[output]] number 2"),
            ),
            ("out/{source}", "out/acme-{kind}", None),
            ("out/{source}", "out/other", None),
            (
                "out/{stream}",
                "out/x",
                Some("the file of [[output]] number 2"),
            ),
            ("out/{source}/{stream}", "out/{stream}", None),
            ("a-{stream}", "b-{stream}", None),
            (
                "state/{source}.rejected.ndjson",
                "x",
                Some("the rejected records of `acme`"),
            ),
            (
                "state/{source}.checkpoint.json",
                "x",
                Some("the checkpoint of `acme`"),
            ),
            (
                "state/x{kind}.json",
                "x",
                Some("a file of the state directory"),
            ),
            (
                "state/cache/{kind}",
                "x",
                Some("a file of the state directory"),
            ),
            ("state/events/{kind}", "x", None),
        ] {
            let message = refusal(directory.path(), &outputs(&[one, other]));
            let Some(of) = of else {
                assert_eq!(message, None, "{one} and {other}");
                continue;
            };
            let message = message.unwrap_or_else(|| panic!("{one} and {other}"));
            assert!(
                message.contains(of) && message.contains("for source `acme`"),
                "{message}"
            );
        }
    }

    #[test]
    fn patterns_overlap_where_a_path_fits_both() {
        let any = ANY.to_string();
        for (one, other, wanted) in [
            ("/a/*.json", "/a/x.json", true),
            ("/a/*.json", "/a/x/y.json", false),
            ("/a/*", "/a/*.json", true),
            ("/a/x*", "/a/*y", true),
            ("/a/x*", "/a/y*", false),
            ("/*/a", "/b/*", true),
            ("/a/*-*.x", "/a/1-2-3.x", true),
            ("/a", "/a", true),
            ("/a", "/ab", false),
        ] {
            let (a, b) = (one.replace('*', &any), other.replace('*', &any));
            assert_eq!(overlap(&a, &b), wanted, "{one} {other}");
            assert_eq!(overlap(&b, &a), wanted, "{other} {one}");
        }
    }

    #[test]
    fn an_output_is_not_the_file_of_the_rejected_records() {
        let directory = tempfile::tempdir().unwrap();
        for dead_letter in [
            "[dead_letter]\npath = \"./a\"",
            "[dead_letter]\ntype = \"file\"\npath = \"b/../a\"",
        ] {
            let message = refusal(
                directory.path(),
                &format!("{}{dead_letter}", outputs(&["a"])),
            );
            let message = message.unwrap();
            assert!(
                message.contains("[dead_letter]: `path` is ")
                    && message.contains("the file of [[output]]"),
                "{message}"
            );
        }
        let default = refusal(directory.path(), &outputs(&["state/acme.rejected.ndjson"]));
        assert!(default.unwrap().contains("the rejected records of `acme`"));
        let own = format!(
            "{}[dead_letter]\npath = \"state/acme.rejected.ndjson\"",
            outputs(&["a"])
        );
        assert_eq!(refusal(directory.path(), &own), None);
    }

    #[test]
    fn an_output_is_not_a_file_of_the_host() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("state")).unwrap();
        std::os::unix::fs::symlink("state", directory.path().join("link")).unwrap();
        for (path, of) in [
            ("m.toml", "the settings"),
            ("state/acme.checkpoint.json", "the checkpoint of `acme`"),
            ("link/acme.checkpoint.json", "the checkpoint of `acme`"),
            ("state/removed.checkpoint.json", "the state directory"),
            ("link/lock", "the state directory"),
            ("state/paused.json", "the state directory"),
            ("state/cache/x", "the state directory"),
        ] {
            let message = refusal(directory.path(), &outputs(&[path])).unwrap();
            assert!(message.contains(of), "{message}");
        }
        assert_eq!(refusal(directory.path(), &outputs(&["state/events"])), None);
    }
}
