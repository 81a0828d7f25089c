//! Requests to stop, by a signal or internally, and the time since the request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Requests a stop.
#[derive(Clone, Debug)]
pub struct ShutdownTrigger {
    since: watch::Sender<Option<Instant>>,
}

/// Receives the request to stop.
#[derive(Clone, Debug)]
pub struct Shutdown {
    since: watch::Receiver<Option<Instant>>,
}

/// Creates a connected pair.
#[must_use]
pub fn channel() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(None);
    (
        ShutdownTrigger { since: sender },
        Shutdown { since: receiver },
    )
}

impl ShutdownTrigger {
    /// Requests a stop. Only the first request counts.
    pub fn stop(&self) {
        self.since.send_if_modified(|since| {
            let first = since.is_none();
            since.get_or_insert_with(Instant::now);
            first
        });
    }
}

impl Shutdown {
    /// Returns whether a stop was requested.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.since.borrow().is_some()
    }

    /// Waits until a stop is requested. Waits forever if every [`ShutdownTrigger`] is dropped.
    pub async fn requested(&mut self) -> Instant {
        let since = match self.since.wait_for(Option::is_some).await {
            Ok(since) => *since,
            Err(_) => None,
        };
        match since {
            Some(since) => since,
            None => std::future::pending().await,
        }
    }

    /// Waits until `grace` has passed since a stop was requested.
    pub async fn grace_elapsed(&mut self, grace: Duration) {
        let since = self.requested().await;
        tokio::time::sleep_until(since + grace).await;
    }
}

/// Requests a stop on SIGTERM, SIGINT or SIGHUP. With `hangup`, SIGHUP notifies `hangup` instead: a
/// service manager sends SIGHUP to have the settings reloaded.
pub async fn on_signal(
    trigger: ShutdownTrigger,
    hangup: Option<Arc<Notify>>,
) -> std::io::Result<()> {
    wait_for_signal(hangup).await?;
    trigger.stop();
    Ok(())
}

#[cfg(unix)]
async fn wait_for_signal(on_hangup: Option<Arc<Notify>>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => match &on_hangup {
                Some(notify) => notify.notify_one(),
                None => return Ok(()),
            },
        }
    }
}

#[cfg(not(unix))]
async fn wait_for_signal(_: Option<Arc<Notify>>) -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_receiver_gets_the_first_request() {
        let (trigger, mut shutdown) = channel();
        let mut other = shutdown.clone();
        assert!(!shutdown.is_requested());
        trigger.stop();
        assert!(shutdown.is_requested());
        let first = shutdown.requested().await;
        while Instant::now() <= first {
            std::hint::spin_loop();
        }
        trigger.stop();
        assert_eq!(shutdown.requested().await, first);
        assert_eq!(other.requested().await, first);
        shutdown.grace_elapsed(Duration::ZERO).await;
    }
}
