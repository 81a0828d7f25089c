//! A small disk, which a test can fill or make read-only.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A small disk in a mount namespace of its own, which ends when this value is dropped. Only
/// commands from [`command_in_namespace`](Self::command_in_namespace) see the disk at its path.
pub(crate) struct Disk {
    holder: Child,
    in_user_namespace: bool,
    mount_point: PathBuf,
}

impl Disk {
    /// Mounts a disk of that size. `None` where the system does not allow it, which is reported.
    pub(crate) fn new(path: PathBuf, mib: u32) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mounted = Self::mount(&path, mib);
        if let Err(reason) = &mounted {
            let test = std::thread::current();
            let test = test.name().unwrap_or("a test");
            let mut stderr = io::stderr();
            writeln!(stderr, "LEFT OUT: {test} needs a disk of its own: {reason}").unwrap();
        }
        mounted.ok()
    }

    /// Mounts the disk. The error is the reason why the system does not allow it.
    fn mount(path: &Path, mib: u32) -> Result<Self, String> {
        let failed = |error: io::Error| format!("unshare: {error}");
        let mut refusals = Vec::new();
        for (flags, in_user_namespace) in [("-m", false), ("-rm", true)] {
            let mut holder = Command::new("unshare")
                .args([flags, "sh", "-c"])
                .arg("mount -t tmpfs -o size=$1m small \"$2\" && echo mounted && cat")
                .args(["sh", &mib.to_string()])
                .arg(path)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(failed)?;
            let mut line = String::new();
            let mut stdout = BufReader::new(holder.stdout.take().unwrap());
            stdout.read_line(&mut line).map_err(failed)?;
            if line == "mounted\n" {
                return Ok(Self {
                    holder,
                    in_user_namespace,
                    mount_point: path.to_owned(),
                });
            }
            let refused = holder.wait_with_output().map_err(failed)?;
            refusals.push(String::from_utf8_lossy(&refused.stderr).trim().to_owned());
        }
        Err(refusals.join("; "))
    }

    /// Returns the path of the disk outside of its namespace.
    pub(crate) fn path_outside_namespace(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.mount_point.strip_prefix("/").unwrap())
    }

    /// Returns a command that runs this program with these arguments in the namespace of this disk. The
    /// directory, the environment and the streams of `command` are not taken over.
    pub(crate) fn command_in_namespace(&self, command: &Command) -> Command {
        let mut entered = Command::new("nsenter");
        entered.args(["-t", &self.holder.id().to_string(), "-m"]);
        if self.in_user_namespace {
            entered.args(["-U", "--preserve-credentials"]);
        }
        entered.arg(command.get_program()).args(command.get_args());
        entered.stdin(Stdio::null());
        entered
    }

    /// Fills the disk except for that many bytes.
    pub(crate) fn fill_except(&self, bytes: u64) {
        let mut ballast = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.ballast())
            .unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
        let length = ballast.metadata().unwrap().len();
        ballast.set_len(length.saturating_sub(bytes)).unwrap();
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    /// Makes it read-only.
    pub(crate) fn make_read_only(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,ro"]).arg(&self.mount_point);
        assert!(
            self.command_in_namespace(&mount)
                .status()
                .unwrap()
                .success()
        );
    }

    fn ballast(&self) -> PathBuf {
        self.path_outside_namespace().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Its standard input ends, and with that its `cat`.
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}
