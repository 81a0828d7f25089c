//! Notifications to the service manager, for a unit with `Type=notify`: ready,
//! watchdog, stopping. Nothing is sent unless
//! `NOTIFY_SOCKET` is set.

use source_runtime::shutdown::Shutdown;
use tokio::task::JoinSet;

/// Sends notifications until it is dropped.
pub(crate) struct Reports {
    _tasks: JoinSet<()>,
}

/// Reports that the host is ready: its settings are read, its state directory
/// is locked, its outputs are open, and every source has its task. Reports a
/// stop when it is requested, and meanwhile, where the manager asks for that,
/// that the runtime still executes tasks.
pub(crate) fn report(mut shutdown: Shutdown) -> Reports {
    let mut tasks = JoinSet::new();
    notify(&Message::Ready);
    tasks.spawn(async move {
        shutdown.requested().await;
        notify(&Message::Stopping);
    });
    if let Some(limit) = watchdog_limit() {
        tasks.spawn(async move {
            // Half of the limit, as sd_watchdog_enabled(3) recommends.
            let mut ticks = tokio::time::interval(limit / 2);
            loop {
                ticks.tick().await;
                notify(&Message::Watchdog);
            }
        });
    }
    Reports { _tasks: tasks }
}

/// A notification to the service manager.
#[derive(Debug)]
enum Message {
    Ready,
    Stopping,
    Watchdog,
}

#[cfg(unix)]
fn notify(message: &Message) {
    use sd_notify::NotifyState;

    let state = match message {
        Message::Ready => NotifyState::Ready,
        Message::Stopping => NotifyState::Stopping,
        Message::Watchdog => NotifyState::Watchdog,
    };
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("the service manager was not notified ({message:?}): {error}");
    }
}

#[cfg(unix)]
fn watchdog_limit() -> Option<std::time::Duration> {
    sd_notify::watchdog_enabled()
}

#[cfg(not(unix))]
fn notify(_: &Message) {}

#[cfg(not(unix))]
fn watchdog_limit() -> Option<std::time::Duration> {
    None
}
