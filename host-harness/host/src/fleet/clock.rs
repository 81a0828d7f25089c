//! A clock that continues to run while the machine is suspended, as the leases of the server do.

use std::time::Duration;

/// The time since the machine was started.
#[cfg(target_os = "linux")]
pub(crate) fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

/// The time since the first call, plus one second, so that it is never zero. It does not advance while the
/// machine is suspended.
#[cfg(not(target_os = "linux"))]
pub(crate) fn now() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;

    static FIRST_CALL: LazyLock<Instant> = LazyLock::new(Instant::now);
    // Zero is the time of an entry of `superseded` that is new.
    FIRST_CALL.elapsed().saturating_add(Duration::from_secs(1))
}
