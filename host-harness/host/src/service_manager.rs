//! Notifications to the service manager, for a unit with `Type=notify`: ready,
//! reloading, stopping, watchdog. Nothing is sent unless
//! `NOTIFY_SOCKET` is set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use source_runtime::shutdown::Shutdown;
use tokio::task::JoinSet;

/// Sends notifications until it is dropped.
pub(crate) struct Notifier {
    _tasks: JoinSet<()>,
    stop: StopNotification,
}

/// The notification of a stop, which is sent once.
#[derive(Clone)]
struct StopNotification {
    shutdown: Shutdown,
    is_sent: Arc<AtomicBool>,
}

impl StopNotification {
    fn send(&self) {
        if !self.is_sent.swap(true, Ordering::Relaxed) {
            notify(&Notification::Stopping);
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        // A host that stops at once may be done before the task has run.
        if self.stop.shutdown.is_requested() {
            self.stop.send();
        }
    }
}

impl Notifier {
    /// Reports that the host is ready, and from then on that it is alive and that it stops, until the
    /// notifier is dropped.
    pub(crate) fn start(shutdown: Shutdown) -> Self {
        let mut tasks = JoinSet::new();
        notify(&Notification::Ready);
        let stop = StopNotification {
            shutdown,
            is_sent: Arc::default(),
        };
        let mut requested = stop.clone();
        tasks.spawn(async move {
            requested.shutdown.requested().await;
            requested.send();
        });
        if let Some(limit) = watchdog_limit() {
            tasks.spawn(async move {
                // Half of the limit, as sd_watchdog_enabled(3) recommends.
                let mut ticks = tokio::time::interval(limit / 2);
                loop {
                    ticks.tick().await;
                    notify(&Notification::Watchdog);
                }
            });
        }
        Self {
            _tasks: tasks,
            stop,
        }
    }
}

/// A notification to the service manager.
#[derive(Debug)]
pub(crate) enum Notification {
    Ready,
    /// Its settings are read again; [`Self::Ready`] follows.
    Reloading,
    Stopping,
    Watchdog,
}

#[cfg(unix)]
pub(crate) fn notify(notification: &Notification) {
    use sd_notify::NotifyState;

    // systemd compares the time of the reload with that of its request.
    let sent = match notification {
        Notification::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Notification::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        Notification::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        Notification::Watchdog => sd_notify::notify(&[NotifyState::Watchdog]),
    };
    if let Err(error) = sent {
        tracing::warn!("the service manager was not notified ({notification:?}): {error}");
    }
}

#[cfg(unix)]
fn watchdog_limit() -> Option<std::time::Duration> {
    sd_notify::watchdog_enabled()
}

#[cfg(not(unix))]
pub(crate) fn notify(_: &Notification) {}

#[cfg(not(unix))]
fn watchdog_limit() -> Option<std::time::Duration> {
    None
}
