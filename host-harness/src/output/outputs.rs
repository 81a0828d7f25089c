//! All outputs together: a batch is accepted when each of them has accepted
//! it.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Delivery, Output, OutputError, Plan, Poison};
use crate::backoff;
use crate::exit::Failure;

/// The outputs of a run, shared by its sources.
pub struct Outputs {
    outputs: Vec<Mutex<Box<dyn Output>>>,
    /// How often a delivery is tried at most; without it, for ever.
    tries_max: Option<u32>,
}

/// Why a delivery has come to an end without being accepted.
#[derive(Debug)]
pub enum Undelivered {
    /// The other end is gone; this needs no words.
    Closed,
    /// Somebody has to look.
    Failed(String),
}

impl Outputs {
    /// Open every output.
    pub async fn open(plans: &[Box<dyn Plan>], tries_max: Option<u32>) -> Result<Self, Failure> {
        let mut outputs = Vec::with_capacity(plans.len());
        for plan in plans {
            let output = plan
                .open()
                .await
                .map_err(|error| Failure::failed(format!("output: {error}")))?;
            outputs.push(Mutex::new(output));
        }
        Ok(Self { outputs, tries_max })
    }

    /// Deliver to each output, as often as it takes. Returns the events that
    /// an output can never accept.
    pub async fn accept(&self, delivery: &Delivery<'_>) -> Result<Vec<Poison>, Undelivered> {
        let mut poison = Vec::new();
        for output in &self.outputs {
            poison.extend(self.accept_by(output, delivery).await?);
        }
        Ok(poison)
    }

    async fn accept_by(
        &self,
        output: &Mutex<Box<dyn Output>>,
        delivery: &Delivery<'_>,
    ) -> Result<Vec<Poison>, Undelivered> {
        let mut tries = 0_u32;
        loop {
            // Other sources take their turn between two tries.
            let mut held = output.lock().await;
            let name = held.name().to_owned();
            let result = held.accept(delivery).await;
            drop(held);
            tries = tries.saturating_add(1);
            match result {
                Ok(()) => {
                    if tries > 1 {
                        info!(source = %delivery.source, output = %name, tries, "the output accepts again");
                    }
                    return Ok(Vec::new());
                }
                Err(OutputError::Closed) => return Err(Undelivered::Closed),
                Err(OutputError::Fatal(reason)) => return Err(Undelivered::Failed(reason)),
                Err(OutputError::Poison(events)) => {
                    let name_it = |poison: Poison| Poison {
                        reason: format!("output {name}: {}", poison.reason),
                        ..poison
                    };
                    return Ok(events.into_iter().map(name_it).collect());
                }
                Err(OutputError::Retry(reason)) => {
                    self.put_off(&name, delivery, tries, reason, Duration::ZERO)
                        .await?;
                }
                Err(OutputError::Throttled { reason, wait }) => {
                    self.put_off(&name, delivery, tries, reason, wait).await?;
                }
            }
        }
    }

    /// Wait before the next try, at least as long as the receiver asks for.
    async fn put_off(
        &self,
        output: &str,
        delivery: &Delivery<'_>,
        tries: u32,
        reason: String,
        asked: Duration,
    ) -> Result<(), Undelivered> {
        if self.tries_max.is_some_and(|max| tries >= max) {
            return Err(Undelivered::Failed(reason));
        }
        let wait = backoff::wait(tries, fastrand::f64()).max(asked);
        warn!(
            source = %delivery.source,
            %output,
            tries,
            "not accepted, next try in {:.1} s: {reason}",
            wait.as_secs_f64()
        );
        sleep(wait).await;
        Ok(())
    }

    /// Flush and close every output; the first error is returned.
    pub async fn close(&self) -> Result<(), OutputError> {
        let mut first = Ok(());
        for output in &self.outputs {
            let closed = output.lock().await.close().await;
            if first.is_ok() {
                first = closed;
            }
        }
        first
    }
}
