//! Process metrics under Prometheus's standard names. Only
//! Linux has `/proc`; elsewhere they are left out.

use std::fs;

/// Ticks per second of the CPU times in `/proc`; 100 on every architecture in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// Metrics of the process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) open_fds: u64,
    pub(super) max_fds: u64,
    pub(super) threads: u64,
}

impl Process {
    /// Reads the current values.
    pub(super) fn read() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let (max_fds, _) = rlimit::Resource::NOFILE.get().ok()?;
        let open_fds = fs::read_dir("/proc/self/fd").ok()?.count();
        Some(Self {
            cpu_seconds: cpu_seconds(&stat)?,
            resident_bytes: field_bytes(&status, "VmRSS:")?,
            virtual_bytes: field_bytes(&status, "VmSize:")?,
            // One of them is the directory handle of this read.
            open_fds: u64::try_from(open_fds).ok()?.saturating_sub(1),
            max_fds,
            threads: field(&status, "Threads:")?.parse().ok()?,
        })
    }
}

/// Returns the CPU time in user and system mode.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The name of the program is in parentheses and may hold spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn field_bytes(status: &str, key: &str) -> Option<u64> {
    let kib: u64 = field(status, key)?.parse().ok()?;
    kib.checked_mul(1024)
}

fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_user_and_system_mode() {
        let stat = "42 (a) b c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0 99";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("42 (a) S 1"), None);
        assert_eq!(
            field_bytes("VmSize:\t  20 kB\nVmRSS:\t  10 kB\n", "VmRSS:"),
            Some(10_240)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_files_and_threads() {
        let process = Process::read().unwrap();
        assert!(
            process.resident_bytes > 1 << 20 && process.virtual_bytes >= process.resident_bytes
        );
        assert!(process.open_fds > 2 && process.max_fds >= process.open_fds);
        assert!(process.threads > 0 && process.cpu_seconds >= 0.0);
    }
}
