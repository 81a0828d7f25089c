//! A request to stop, from a signal or from within, and how long it leaves.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

/// The side that asks.
#[derive(Clone, Debug)]
pub struct Stopper {
    since: watch::Sender<Option<Instant>>,
}

/// The side that is asked.
#[derive(Clone, Debug)]
pub struct Shutdown {
    since: watch::Receiver<Option<Instant>>,
}

/// Both sides.
#[must_use]
pub fn channel() -> (Stopper, Shutdown) {
    let (sender, receiver) = watch::channel(None);
    (Stopper { since: sender }, Shutdown { since: receiver })
}

impl Stopper {
    /// Ask everyone to stop. Only the first request counts.
    pub fn stop(&self) {
        self.since.send_if_modified(|since| {
            let first = since.is_none();
            since.get_or_insert_with(Instant::now);
            first
        });
    }
}

impl Shutdown {
    /// Whether a stop has been asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.since.borrow().is_some()
    }

    /// Wait until a stop is asked for. Without anyone who could ask, forever.
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

    /// Wait until a stop was asked for so long ago.
    pub async fn requested_since(&mut self, grace: Duration) {
        let since = self.requested().await;
        tokio::time::sleep_until(since + grace).await;
    }
}

/// Ask for a stop when the system or a person does.
pub async fn on_signal(stopper: Stopper) -> std::io::Result<()> {
    wait_for_signal().await?;
    stopper.stop();
    Ok(())
}

#[cfg(unix)]
async fn wait_for_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // A service manager sends it to have settings read again. It must not end collection.
            _ = hangup.recv() => warn!(
                "SIGHUP: settings are read at the start of a run only; restart source-host to use \
                 changed ones"
            ),
        }
    }
}

#[cfg(not(unix))]
async fn wait_for_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_hears_the_first_request() {
        let (stopper, mut shutdown) = channel();
        let mut other = shutdown.clone();
        assert!(!shutdown.is_requested());
        stopper.stop();
        stopper.stop();
        assert!(shutdown.is_requested());
        assert_eq!(shutdown.requested().await, other.requested().await);
        shutdown.requested_since(Duration::ZERO).await;
    }
}
