//! The flags of the program.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::{fs, str};

/// Runs the program with these flags and without input, so that it ends by itself.
fn run(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mimecast-simulator"))
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn records_are_written_only_with_a_folder_and_a_number() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("written-records");
    let _ = fs::remove_dir_all(&folder);
    let to = folder.to_str().unwrap();
    for (flags, problem) in [
        (
            ["--records-to", to],
            "--records-to needs --records beside it",
        ),
        (["--records", "5"], "--records needs --records-to beside it"),
    ] {
        let output = run(&flags);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(
            str::from_utf8(&output.stderr).unwrap().contains(problem),
            "{output:?}"
        );
        assert!(!folder.exists());
    }

    let output = run(&["--records-to", to, "--records", "5"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let files: Vec<_> = fs::read_dir(&folder).unwrap().collect();
    assert!(!files.is_empty());
    for file in files {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        assert_eq!(text.lines().count(), 1);
    }
}
