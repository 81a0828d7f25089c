//! Runs a source in turns: a host that shares its sources with others polls a source only while it
//! holds the lease, and works on other sources until it gets the lease again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{RunningLoop, SourceExit, SourceLoop, Step};
use crate::source::Source;
use crate::store::{CheckpointStore, StoredSource};

/// The state of a source that is kept between two turns: its connections, the session of the last
/// poll, and how often it has failed. Losing it costs time only.
pub struct ResumableSourceLoop {
    running: RunningLoop,
}

/// How a turn has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TurnEnd {
    /// The next turn is due after this time.
    Due(Duration),
    /// The source has ended, as its loop would.
    Ended(SourceExit),
}

impl SourceLoop {
    /// Returns the same source, to be run in turns.
    #[must_use]
    pub fn into_resumable(self) -> ResumableSourceLoop {
        ResumableSourceLoop {
            running: RunningLoop::new(self),
        }
    }
}

/// Returns how a turn has ended, from how its polls ended and whether what they left was completed. The
/// cause of the end takes precedence over its consequences.
fn final_end(completed: Result<(), SourceExit>, end: TurnEnd) -> TurnEnd {
    let is_cause = matches!(
        end,
        TurnEnd::Ended(SourceExit::Failed(_) | SourceExit::OutputFailed(_) | SourceExit::LeaseLost)
    );
    match completed {
        Err(exit) if !is_cause => TurnEnd::Ended(exit),
        _ => end,
    }
}

impl ResumableSourceLoop {
    /// Polls until the source has to wait, and begins no poll after `duration_max`, but polls at
    /// least once. `source_state` is the state of the source, and `store` is where it is stored during
    /// this turn.
    pub async fn run_turn(
        &mut self,
        source_state: StoredSource,
        store: Arc<dyn CheckpointStore>,
        duration_max: Duration,
    ) -> TurnEnd {
        self.running.context.source_state = source_state;
        self.running.context.store = store;
        if self.running.has_refused_credentials() {
            self.running.reload().await;
        }
        let end = self.poll_while_due(duration_max).await;
        let ended = match &end {
            TurnEnd::Due(_) => &SourceExit::CaughtUp,
            TurnEnd::Ended(ended) => ended,
        };
        let end = final_end(self.running.complete(ended).await, end);
        // Another host may have the next turn, and an instance takes memory.
        self.running.instance = None;
        end
    }

    async fn poll_while_due(&mut self, duration_max: Duration) -> TurnEnd {
        let started_at = Instant::now();
        loop {
            if self.running.context.shutdown.is_requested() {
                return TurnEnd::Ended(SourceExit::Stopped);
            }
            match self.running.step().await {
                Step::Poll => {}
                Step::Exit(end) => return TurnEnd::Ended(end),
                Step::Wait(wait) => return TurnEnd::Due(wait),
            }
            if started_at.elapsed() >= duration_max {
                return TurnEnd::Due(Duration::ZERO);
            }
        }
    }

    /// Returns the source.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.running.context.source
    }

    /// Returns its stored state after the last turn.
    #[must_use]
    pub fn source_state(&self) -> &StoredSource {
        &self.running.context.source_state
    }
}

#[cfg(test)]
mod tests {
    use source_common::exit::Failure;

    use super::*;

    #[test]
    fn a_turn_ends_with_the_cause_of_its_end() {
        let failed = |text: &str| SourceExit::Failed(Failure::failed(text.to_owned()));
        let due = TurnEnd::Due(Duration::from_secs(1));
        for (completed, end, wanted) in [
            (Ok(()), due.clone(), due.clone()),
            (Err(failed("disk")), due, TurnEnd::Ended(failed("disk"))),
            (
                Err(SourceExit::LeaseLost),
                TurnEnd::Ended(failed("settings")),
                TurnEnd::Ended(failed("settings")),
            ),
            (
                Err(failed("disk")),
                TurnEnd::Ended(SourceExit::LeaseLost),
                TurnEnd::Ended(SourceExit::LeaseLost),
            ),
            (
                Err(SourceExit::LeaseLost),
                TurnEnd::Ended(SourceExit::Stopped),
                TurnEnd::Ended(SourceExit::LeaseLost),
            ),
        ] {
            assert_eq!(final_end(completed, end), wanted);
        }
    }
}
