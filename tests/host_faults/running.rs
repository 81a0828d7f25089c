//! A host that runs while something goes wrong, and a disk that can be full.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use crate::setup::{DEADLINE, Process};

/// A host as a process, and its log.
pub(crate) struct Running {
    child: Process,
    lines: Receiver<String>,
    /// What has been read of the log.
    pub(crate) said: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines() {
                // The test may have heard enough.
                drop(sender.send(line.unwrap()));
            }
        });
        Self {
            child: Process(child),
            lines,
            said: String::new(),
        }
    }

    /// The next line of the log with these words.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("the host does not say `{words}`:\n{}", self.said);
            };
            self.said.push_str(&line);
            self.said.push('\n');
            if line.contains(words) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ask it to stop, and see how it ends.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        self.signal("-TERM");
        self.end()
    }

    /// Wait for its end.
    pub(crate) fn end(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        for line in self.lines.iter() {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        (status, std::mem::take(&mut self.said))
    }
}

/// A small disk of its own, in a namespace that ends with this value. Only what is started
/// through it finds that disk at its path.
pub(crate) struct Disk {
    holder: Child,
    of_user: bool,
    path: PathBuf,
}

impl Disk {
    /// `None` where the system does not allow that, which is said.
    pub(crate) fn new(path: PathBuf, mib: u32) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        for (flags, of_user) in [("-m", false), ("-rm", true)] {
            let mut holder = Command::new("unshare")
                .args([flags, "sh", "-c"])
                .arg("mount -t tmpfs -o size=$1m small \"$2\" && echo mounted && cat")
                .args(["sh", &mib.to_string()])
                .arg(&path)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .ok()?;
            let mut line = String::new();
            let mut said = BufReader::new(holder.stdout.take()?);
            said.read_line(&mut line).ok()?;
            if line == "mounted\n" {
                return Some(Self {
                    holder,
                    of_user,
                    path,
                });
            }
            holder.wait().ok()?;
        }
        let mut stderr = std::io::stderr();
        writeln!(
            stderr,
            "LEFT OUT: a disk of its own needs a mount namespace"
        )
        .unwrap();
        None
    }

    /// Where it is for everyone else.
    pub(crate) fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.path.strip_prefix("/").unwrap())
    }

    /// The command, with this disk.
    pub(crate) fn enter(&self, command: &Command) -> Command {
        let mut entered = Command::new("nsenter");
        entered.args(["-t", &self.holder.id().to_string(), "-m"]);
        if self.of_user {
            entered.args(["-U", "--preserve-credentials"]);
        }
        entered.arg(command.get_program()).args(command.get_args());
        entered.stdin(Stdio::null());
        entered
    }

    /// Take all room but so much.
    pub(crate) fn fill_but(&self, bytes: u64) {
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

    /// Let it be read and not be written.
    pub(crate) fn make_read_only(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,ro"]).arg(&self.path);
        assert!(self.enter(&mount).status().unwrap().success());
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Its standard input ends, and with that its `cat`.
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}
