//! Checks the files that the settings have the host write to: no two writers may share
//! one, under any name.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use source_common::exit::Failure;
use source_runtime::store;

use super::{DeadLetterSettings, STATE_CACHE, STATE_PAUSED, Settings};

/// As many as a system follows.
const LINKS_MAX: u32 = 40;

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
    node: Option<(u64, u64)>,
}

impl FileId {
    fn of(path: &Path) -> Self {
        let path = resolved(path);
        Self {
            node: node(&path),
            path,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.path == other.path || (self.node.is_some() && self.node == other.node)
    }
}

/// Rejects a file that two outputs write to, or an output and the host itself.
pub(super) fn refuse_shared(settings: &Settings) -> Result<(), Failure> {
    let mut used = host_files(settings);
    let state = FileId::of(&settings.state_dir).path;
    for (by, path) in output_files(settings) {
        let id = FileId::of(path);
        let file = settings.file.display();
        let refuse = |of: &str| {
            let shown = path.display();
            Failure::settings(format!(
                "{file}: {by}: `path` is {shown}, which is {of}; give each a file of its own"
            ))
        };
        if let Some(other) = used.iter().find(|other| other.id.is_same(&id)) {
            return Err(refuse(&format!("the file of {}", other.by)));
        }
        let of_state = id.path.strip_prefix(&state).ok();
        if of_state.is_some_and(is_kept) {
            return Err(refuse("a file of the state directory"));
        }
        used.push(FileUse { by, id });
    }
    Ok(())
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
        let checkpoint = store::record_path(&settings.state_dir, name);
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

/// Returns the files that the settings have outputs write to, with their locations in the settings.
fn output_files(settings: &Settings) -> Vec<(String, &Path)> {
    let several = settings.outputs.len() > 1;
    let outputs = settings.outputs.iter().enumerate();
    let mut files: Vec<(String, &Path)> = outputs
        .filter_map(|(index, config)| {
            let place = if several {
                format!("[[output]] number {}", index + 1)
            } else {
                "[[output]]".to_owned()
            };
            Some((place, config.config.file()?))
        })
        .collect();
    let dead_letter = match &settings.dead_letter {
        None => None,
        Some(DeadLetterSettings::File(path)) => Some(path.as_path()),
        Some(DeadLetterSettings::Output(config)) => config.file(),
    };
    files.extend(dead_letter.map(|path| ("[dead_letter]".to_owned(), path)));
    files
}

/// Returns whether a path in the state directory is a file of the host: also of a
/// source that the settings file does not name for now.
fn is_kept(path: &Path) -> bool {
    let name = path.to_string_lossy();
    path.starts_with(STATE_CACHE)
        || ["lock", STATE_PAUSED].contains(&&*name)
        || name.ends_with(store::RECORD_SUFFIX)
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
            Ok(target) if links < LINKS_MAX => {
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
