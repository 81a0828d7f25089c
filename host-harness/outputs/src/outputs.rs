//! All outputs together: a batch is accepted when each of them has accepted
//! it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::try_join_all;
use source_common::backoff::Backoff;
use source_common::delivery::Reservation;
use source_common::delivery::to_usize;
use source_common::escape::escape;
use source_common::exit::Failure;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::statistics::{ActiveDelivery, OutputStatus, Statistics};
use super::{
    Delivery, DeliveryError, Output, OutputConfig, OutputError, Reason, UndeliverableEvent, stdout,
};

/// The category of a reason that persists until an operator changes something; a stable name.
const ACTION_REQUIRED: &str = "blocked";

/// Maximum number of tries at an output for which an operator has to act, where tries are bounded (`--once`). More would only
/// delay the reason that an operator has to see.
const ACTION_REQUIRED_TRIES_MAX: u32 = 3;

/// Maximum number of bytes, fetched or being fetched, that one output has not yet accepted: the
/// batches of some sixty sources. Other sources that deliver to it wait.
const UNDELIVERED_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// The outputs of a run, shared by its sources.
pub struct Outputs {
    outputs: Vec<NamedOutput>,
    has_stdout: bool,
    /// Maximum number of tries of a delivery; `None` for no limit.
    tries_max: Option<u32>,
    /// What the log adds if a delivery is tried again.
    advice: Option<&'static str>,
}

/// An output with its name from the settings.
struct NamedOutput {
    name: String,
    output_type: String,
    statistics: Statistics,
    /// A permit for each byte that may still be fetched for it.
    byte_permits: Arc<Semaphore>,
    output: Mutex<Box<dyn Output>>,
}

/// A try of a delivery that is to be repeated, and why.
struct PendingRetry {
    reason: Reason,
    /// The category, which the log shows as `kind`.
    category: &'static str,
    /// Minimum wait that the receiver asks for.
    wait_min: Duration,
}

impl PendingRetry {
    /// Creates a retry for a reason that may pass at any time.
    const fn new(reason: Reason) -> Self {
        Self {
            reason,
            category: "unavailable",
            wait_min: Duration::ZERO,
        }
    }
}

/// Splits [`Output::name`] into type and destination.
fn type_and_destination(name: &str) -> (&str, &str) {
    name.split_once(' ').unwrap_or((name, name))
}

impl Outputs {
    /// Opens every output. Their names are unique.
    pub async fn open(
        configs: impl IntoIterator<Item = (&str, &dyn OutputConfig)>,
        tries_max: Option<u32>,
    ) -> Result<Self, Failure> {
        let mut outputs = Vec::new();
        let mut has_stdout = false;
        for (name, config) in configs {
            has_stdout |= config.is_stdout();
            let output = config.open().await.map_err(|failure| Failure {
                message: format!("output: {failure}"),
                ..failure
            })?;
            let (output_type, _) = type_and_destination(output.name());
            outputs.push(NamedOutput {
                name: name.to_owned(),
                output_type: output_type.to_owned(),
                statistics: Statistics::default(),
                byte_permits: Arc::new(Semaphore::new(to_usize(UNDELIVERED_BYTES_MAX))),
                output: Mutex::new(output),
            });
        }
        Ok(Self {
            outputs,
            has_stdout,
            tries_max,
            advice: None,
        })
    }

    /// Makes the log add this advice if a delivery is tried again.
    #[must_use]
    pub fn with_advice(self, advice: &'static str) -> Self {
        Self {
            advice: Some(advice),
            ..self
        }
    }

    /// Makes each output return what its receiver refuses, even if that is every event: see
    /// [`Output::disable_blocking_on_refusal`].
    #[must_use]
    pub fn without_blocking_on_refusal(mut self) -> Self {
        for output in &mut self.outputs {
            output.output.get_mut().disable_blocking_on_refusal();
        }
        self
    }

    /// Waits until the reader of standard output has closed it. Never returns if standard output is
    /// not one of the outputs.
    pub async fn stdout_closed(&self) {
        if self.has_stdout {
            stdout::wait_until_closed().await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until each output, or each chosen one, has room for so many bytes of events of a source,
    /// and reserves it. While one has no room, nothing is reserved in the others.
    pub async fn reserve(
        &self,
        source: &str,
        chosen: Option<&[String]>,
        bytes: usize,
    ) -> Reservation {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let bytes = bytes.min(UNDELIVERED_BYTES_MAX);
        let mut waited_for = None;
        loop {
            match self.try_reserve(chosen, bytes, waited_for) {
                Ok(reservation) => return reservation,
                Err((number, full)) => {
                    let _wait = full.statistics.begin_capacity_wait(source);
                    let room = Arc::clone(&full.byte_permits)
                        .acquire_many_owned(bytes)
                        .await;
                    // Only a closed semaphore refuses, and nothing closes these.
                    waited_for = room.ok().map(|room| (number, room));
                }
            }
        }
    }

    /// Reserves room in all or none of the chosen outputs. `waited_for` is the room in one of them, if
    /// that was full before. The error is the first output that is full.
    fn try_reserve(
        &self,
        chosen: Option<&[String]>,
        bytes: u32,
        waited_for: Option<(usize, OwnedSemaphorePermit)>,
    ) -> Result<Reservation, (usize, &NamedOutput)> {
        let mut reservation = Reservation::default();
        let reserved = waited_for.as_ref().map(|(number, _)| *number);
        if let Some((number, room)) = waited_for {
            reservation.add(number, room);
        }
        for (number, output) in self.chosen(chosen) {
            if Some(number) == reserved {
                continue;
            }
            match Arc::clone(&output.byte_permits).try_acquire_many_owned(bytes) {
                Ok(room) => reservation.add(number, room),
                Err(TryAcquireError::NoPermits) => return Err((number, output)),
                Err(TryAcquireError::Closed) => {}
            }
        }
        Ok(reservation)
    }

    /// Returns the outputs that are chosen by their names, or all, with their numbers.
    fn chosen<'a>(
        &'a self,
        chosen: Option<&[String]>,
    ) -> impl Iterator<Item = (usize, &'a NamedOutput)> {
        let outputs = self.outputs.iter().enumerate();
        outputs.filter(move |(_, it)| chosen.is_none_or(|names| names.contains(&it.name)))
    }

    /// Delivers to all outputs at once, or to those that are chosen by their
    /// names, with as many tries as it takes, or at most `tries_max`. Returns the events that an
    /// output can never accept. The error is that standard output is closed, or that there is no
    /// further try. An output that does not accept holds up only the sources that it is
    /// chosen for.
    pub async fn accept(
        &self,
        delivery: &Delivery<'_>,
        chosen: Option<&[String]>,
        mut reservation: Reservation,
    ) -> Result<Vec<UndeliverableEvent>, DeliveryError> {
        let deliveries = self.chosen(chosen).map(|(number, output)| {
            let room = reservation.take(number);
            async move {
                let undeliverable_events = self.deliver_to(output, delivery).await;
                drop(room);
                undeliverable_events
            }
        });
        let undeliverable_events = try_join_all(deliveries).await?;
        Ok(undeliverable_events.into_iter().flatten().collect())
    }

    /// Returns the status of each output, in the order in which they were opened.
    #[must_use]
    pub fn report(&self) -> Vec<OutputStatus> {
        let outputs = self.outputs.iter();
        outputs
            .map(|output| output.statistics.report(&output.name, &output.output_type))
            .collect()
    }

    /// Returns the name of the output that blocks a source, and why; `None` if none
    /// does.
    #[must_use]
    pub fn blocking_output(&self, source: &str) -> Option<(String, String)> {
        self.outputs.iter().find_map(|output| {
            let reason = output.statistics.blocking_reason(source)?;
            Some((output.name.clone(), reason))
        })
    }

    /// Returns the name of an output that has not yet answered a delivery of the source, or one that
    /// is ahead of it, and since when. An output that is known to be blocked does not count.
    #[must_use]
    pub fn unresponsive_output(&self, source: &str) -> Option<(String, SystemTime)> {
        self.outputs.iter().find_map(|output| {
            let since = output.statistics.unresponsive_since(source)?;
            Some((output.name.clone(), since))
        })
    }

    async fn deliver_to(
        &self,
        output: &NamedOutput,
        delivery: &Delivery<'_>,
    ) -> Result<Vec<UndeliverableEvent>, DeliveryError> {
        let mut backoff = Backoff::default();
        let active_delivery = output.statistics.begin(delivery.source);
        loop {
            // Releases the lock between two tries, for other sources.
            let mut held = output.output.lock().await;
            let full_name = held.name().to_owned();
            let result = held.accept(delivery).await;
            drop(held);
            let tries = backoff.failures().saturating_add(1);
            let retry = match result {
                Ok(()) => {
                    if tries > 1 {
                        info!(source = %delivery.source, output = %output.name, tries, "the output accepts again");
                    }
                    active_delivery.record_completed(delivery.index.len());
                    return Ok(Vec::new());
                }
                Err(OutputError::Closed) => return Err(DeliveryError::Closed),
                Err(OutputError::Undeliverable(events)) => {
                    let with_output_name = |undeliverable: UndeliverableEvent| UndeliverableEvent {
                        reason: escape(&format!("output {full_name}: {}", undeliverable.reason))
                            .into_owned(),
                        ..undeliverable
                    };
                    let accepted = delivery.index.len().saturating_sub(events.len());
                    active_delivery.record_completed(accepted);
                    return Ok(events.into_iter().map(with_output_name).collect());
                }
                Err(OutputError::ActionRequired(reason)) => PendingRetry {
                    category: ACTION_REQUIRED,
                    ..PendingRetry::new(reason)
                },
                Err(OutputError::RetryAfterProgress(reason)) => {
                    backoff.reset();
                    PendingRetry::new(reason)
                }
                Err(OutputError::Retry(reason)) => PendingRetry::new(reason),
                Err(OutputError::Throttled { reason, wait }) => PendingRetry {
                    category: "throttled",
                    wait_min: wait,
                    ..PendingRetry::new(reason)
                },
            };
            backoff.fail();
            self.wait_before_retry((&output.name, &full_name), &active_delivery, backoff, retry)
                .await?;
        }
    }

    /// Waits before the next try, at least as long as the receiver asks for. The error is that there is none:
    /// tries are bounded, and this was the last.
    async fn wait_before_retry(
        &self,
        (output, full_name): (&str, &str),
        active_delivery: &ActiveDelivery<'_>,
        backoff: Backoff,
        retry: PendingRetry,
    ) -> Result<(), DeliveryError> {
        let (source, tries) = (active_delivery.source(), backoff.failures());
        let (_, destination) = type_and_destination(full_name);
        // The reason may quote the receiver.
        let reason = escape(&retry.reason);
        let reason = [full_name, destination]
            .into_iter()
            .find_map(|name| reason.strip_prefix(name)?.strip_prefix(": "))
            .unwrap_or(&reason);
        let is_action_required = retry.category == ACTION_REQUIRED;
        let tries_max = self.tries_max.map(|max| {
            if is_action_required {
                max.min(ACTION_REQUIRED_TRIES_MAX)
            } else {
                max
            }
        });
        if tries_max.is_some_and(|max| tries >= max) {
            return Err(DeliveryError::Failed(format!("{full_name}: {reason}")));
        }
        active_delivery.record_retry(reason);
        let wait = backoff.delay().max(retry.wait_min);
        let seconds = wait.as_secs_f64();
        let mut text = format!(
            "cannot deliver to {destination}: {reason}; retry in {seconds:.1} s (attempt {tries})"
        );
        if let Some(advice) = self.advice {
            text = format!("{text}; {advice}");
        }
        let (category, status) = (retry.category, retry.reason.status);
        if is_action_required {
            error!(%source, %output, kind = category, status, "output blocked: {text}");
        } else {
            warn!(%source, %output, kind = category, status, "{text}");
        }
        sleep(wait).await;
        Ok(())
    }

    /// Flushes and closes every output; returns the first error.
    pub async fn close(&self) -> Result<(), OutputError> {
        let mut first = Ok(());
        for output in &self.outputs {
            let closed = output.output.lock().await.close().await;
            if first.is_ok() {
                first = closed;
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;

    use super::*;
    use source_common::delivery::Entry;

    /// Refuses so many deliveries, then accepts.
    #[derive(Clone, Debug)]
    struct Refusing {
        left: u32,
        tries: Arc<AtomicU32>,
        error: fn() -> OutputError,
    }

    #[async_trait]
    impl OutputConfig for Refusing {
        async fn open(&self) -> Result<Box<dyn Output>, Failure> {
            Ok(Box::new(self.clone()))
        }

        async fn test(&self) -> Result<String, OutputError> {
            Ok("http http://x".to_owned())
        }
    }

    #[async_trait]
    impl Output for Refusing {
        fn name(&self) -> &str {
            "http http://x"
        }

        async fn accept(&mut self, _: &Delivery<'_>) -> Result<(), OutputError> {
            self.tries.fetch_add(1, Ordering::Relaxed);
            match self.left.checked_sub(1) {
                None => Ok(()),
                Some(left) => {
                    self.left = left;
                    Err((self.error)())
                }
            }
        }

        async fn close(&mut self) -> Result<(), OutputError> {
            Ok(())
        }
    }

    const fn delivery() -> Delivery<'static> {
        const INDEX: &[Entry] = &[Entry {
            end: 3,
            occurred_at: 0,
            kind: 0,
        }];
        Delivery {
            source: "acme",
            namespace: "test",
            events: "{}\n",
            index: INDEX,
            kinds: &[],
        }
    }

    /// Delivers in virtual time. Returns how it ended and after how many tries.
    async fn deliver(
        left: u32,
        tries_max: Option<u32>,
        error: fn() -> OutputError,
    ) -> (Result<Vec<UndeliverableEvent>, DeliveryError>, u32) {
        let config = Refusing {
            left,
            tries: Arc::default(),
            error,
        };
        let tries = Arc::clone(&config.tries);
        let configs: [(&str, &dyn OutputConfig); 1] = [("http", &config)];
        let outputs = Outputs::open(configs, tries_max).await.unwrap();
        let result = outputs
            .accept(&delivery(), None, Reservation::default())
            .await;
        (result, tries.load(Ordering::Relaxed))
    }

    fn blocked() -> OutputError {
        OutputError::ActionRequired("the credentials are refused".to_owned().into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_output_is_retried_with_backoff_until_it_accepts() {
        let begun = tokio::time::Instant::now();
        let (result, tries) = deliver(30, None, blocked).await;
        assert_eq!((result.unwrap().len(), tries), (0, 31));
        // Some 20 of them have the longest wait, of which half is random.
        let waited = begun.elapsed();
        assert!(waited > Duration::from_secs(20 * 150), "{waited:?}");
        assert!(waited < Duration::from_secs(22 * 300), "{waited:?}");
    }

    #[tokio::test]
    async fn a_delivery_of_which_nothing_is_accepted_is_no_success() {
        let config = Refusing {
            left: 1,
            tries: Arc::default(),
            error: || {
                OutputError::Undeliverable(vec![UndeliverableEvent {
                    index: 0,
                    reason: "too long".to_owned(),
                }])
            },
        };
        let configs: [(&str, &dyn OutputConfig); 1] = [("siem", &config)];
        let outputs = Outputs::open(configs, None).await.unwrap();
        let delivery = delivery();
        let deliver = || outputs.accept(&delivery, None, Reservation::default());
        let status = || outputs.report().remove(0);
        assert_eq!(deliver().await.unwrap().len(), 1);
        let refused = status();
        assert_eq!((refused.last_success_at, refused.blocked), (None, None));
        assert_eq!((refused.batches, refused.events), (0, 0));
        assert!(deliver().await.unwrap().is_empty());
        let accepted = status();
        assert!(accepted.last_success_at.is_some());
        assert_eq!((accepted.batches, accepted.events), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_bound_a_blocked_output_is_given_up_after_three_tries() {
        let (result, tries) = deliver(3, Some(8), blocked).await;
        assert!(
            matches!(result, Err(DeliveryError::Failed(_))),
            "{result:?}"
        );
        assert_eq!(tries, 3);
        let (result, tries) = deliver(2, Some(8), blocked).await;
        assert_eq!((result.unwrap().len(), tries), (0, 3));
        let (result, tries) =
            deliver(9, Some(8), || OutputError::Retry(String::new().into())).await;
        assert!(
            matches!(result, Err(DeliveryError::Failed(_))),
            "{result:?}"
        );
        assert_eq!(tries, 8);
    }

    /// Every try is counted, and an output is blocked from the first one that is refused until none
    /// waits, also where a delivery is given up.
    #[tokio::test(start_paused = true)]
    async fn an_output_reports_why_and_for_how_long_it_does_not_accept() {
        let config = Refusing {
            left: 4,
            tries: Arc::default(),
            error: || OutputError::Retry("http http://x: connection refused".to_owned().into()),
        };
        let configs: [(&str, &dyn OutputConfig); 1] = [("siem", &config)];
        let outputs = Arc::new(Outputs::open(configs, None).await.unwrap());
        let status = || outputs.report().remove(0);
        assert_eq!(
            (status().name.as_str(), status().output_type.as_str()),
            ("siem", "http")
        );
        assert_eq!((status().blocked, status().last_success_at), (None, None));

        let deliver = || {
            let outputs = Arc::clone(&outputs);
            tokio::spawn(async move {
                outputs
                    .accept(&delivery(), None, Reservation::default())
                    .await
            })
        };
        let begun = tokio::time::Instant::now();
        let first = deliver();
        while config.tries.load(Ordering::Relaxed) < 3 {
            sleep(Duration::from_millis(1)).await;
        }
        let blocked = status();
        assert_eq!(blocked.blocked.as_deref(), Some("connection refused"));
        assert_eq!((blocked.retries, blocked.waiting_sources), (3, 1));
        let of_source = outputs.blocking_output("acme").unwrap();
        assert_eq!(
            of_source,
            ("siem".to_owned(), "connection refused".to_owned())
        );
        assert_eq!(outputs.blocking_output("other"), None);
        // The source is stopped while it waits.
        first.abort();
        assert!(first.await.is_err());
        assert_eq!((status().blocked, status().waiting_sources), (None, 0));
        assert_eq!(outputs.blocking_output("acme"), None);

        deliver().await.unwrap().unwrap();
        let last = status();
        assert_eq!((last.retries, last.batches, last.events), (4, 1, 1));
        assert!(last.blocked.is_none() && last.last_success_at.is_some());
        assert!(last.blocked_for > Duration::from_secs(1), "{last:?}");
        assert!(last.blocked_for <= begun.elapsed(), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn progress_resets_the_backoff() {
        let begun = tokio::time::Instant::now();
        let partly = || OutputError::RetryAfterProgress("429".to_owned().into());
        let (result, tries) = deliver(30, Some(8), partly).await;
        assert_eq!((result.unwrap().len(), tries), (0, 31));
        assert!(begun.elapsed() <= Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn closed_standard_output_is_not_retried() {
        let (result, tries) = deliver(1, None, || OutputError::Closed).await;
        assert!(matches!(result, Err(DeliveryError::Closed)), "{result:?}");
        assert_eq!(tries, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_output_holds_up_only_deliveries_that_choose_it() {
        let config = |left| Refusing {
            left,
            tries: Arc::default(),
            error: blocked,
        };
        let (good, refusing) = (config(0), config(u32::MAX));
        let configs: [(&str, &dyn OutputConfig); 2] = [("bad", &refusing), ("good", &good)];
        let outputs = Arc::new(Outputs::open(configs, None).await.unwrap());
        let held_up = {
            let outputs = Arc::clone(&outputs);
            tokio::spawn(async move {
                outputs
                    .accept(&delivery(), None, Reservation::default())
                    .await
            })
        };
        while refusing.tries.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let only = ["good".to_owned()];
        for _ in 0..3 {
            let accepted = outputs
                .accept(&delivery(), Some(&only), Reservation::default())
                .await;
            assert!(accepted.unwrap().is_empty());
        }
        // One of them is of the delivery that is held up.
        assert_eq!(good.tries.load(Ordering::Relaxed), 4);
        assert!(!held_up.is_finished());
        held_up.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_output_that_is_full_holds_back_its_own_sources_only() {
        const MIB: usize = 1024 * 1024;
        let config = Refusing {
            left: u32::MAX,
            tries: Arc::default(),
            error: blocked,
        };
        let configs: [(&str, &dyn OutputConfig); 2] = [("bad", &config), ("good", &config)];
        let outputs = Outputs::open(configs, None).await.unwrap();
        let [bad, good] = ["bad", "good"].map(|name| [name.to_owned()]);
        let reserve = async |chosen, bytes| {
            let reserved = outputs.reserve("acme", chosen, bytes);
            tokio::time::timeout(Duration::from_secs(60), reserved).await
        };
        let mut reservations = Vec::new();
        for _ in 0..64 {
            reservations.push(reserve(Some(&bad[..]), MIB).await.unwrap());
        }
        assert!(reserve(Some(&bad[..]), 1).await.is_err());
        // One that waits for both holds nothing of the other.
        let of_both = outputs.reserve("acme", None, MIB);
        let mut of_both = std::pin::pin!(of_both);
        let waits = tokio::time::timeout(Duration::from_secs(60), &mut of_both);
        assert!(waits.await.is_err());
        assert_eq!(outputs.report()[0].waiting_sources, 1);
        let all_of_good = reserve(Some(&good[..]), 64 * MIB).await.unwrap();
        drop(all_of_good);
        // What was fetched is less than what was reserved.
        for reservation in &mut reservations {
            reservation.shrink_to(MIB / 2);
        }
        let mut both = of_both.await;
        assert!(both.take(0).is_some() && both.take(1).is_some());
        assert_eq!(outputs.report()[0].waiting_sources, 0);
        for reservation in &mut reservations {
            drop(reservation.take(0));
        }
        drop(both);
        assert!(reserve(Some(&bad[..]), usize::MAX).await.is_ok());
    }
}
