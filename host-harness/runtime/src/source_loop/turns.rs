//! A source that is worked on in turns: a host that shares its sources with others polls one while
//! it holds the lease, and does something else until it gets it again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{RunningLoop, SourceExit, SourceLoop, Step};
use crate::source::Source;
use crate::store::{CheckpointStore, StoredSource};

/// What is left of a source between two turns: its connections, what the last poll left for the
/// next one, and how often it has failed. Losing it costs time only.
pub struct SourceTurns {
    running: RunningLoop,
}

/// How a turn has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TurnEnd {
    /// The next turn is due after this time.
    Due(Duration),
    /// As the loop of a source ends.
    Ended(SourceExit),
}

impl SourceLoop {
    /// The same source, to be worked on in turns.
    #[must_use]
    pub fn into_turns(self) -> SourceTurns {
        SourceTurns {
            running: RunningLoop::new(self),
        }
    }
}

impl SourceTurns {
    /// Polls until the source has to wait, and begins no poll after `duration_max`, but polls at
    /// least once. `source_state` is the state of the source, and `store` is where it is stored during
    /// this turn.
    pub async fn turn(
        &mut self,
        source_state: StoredSource,
        store: Arc<dyn CheckpointStore>,
        duration_max: Duration,
    ) -> TurnEnd {
        self.running.context.source_state = source_state;
        self.running.context.store = store;
        if self.running.is_refused() {
            self.running.reload().await;
        }
        let end = self.poll(duration_max).await;
        let ended = match &end {
            TurnEnd::Due(_) => &SourceExit::CaughtUp,
            TurnEnd::Ended(ended) => ended,
        };
        let end = match (self.running.complete(ended).await, end) {
            (Ok(()), end) | (_, end @ TurnEnd::Ended(SourceExit::LeaseLost)) => end,
            (Err(unstored), _) => TurnEnd::Ended(unstored),
        };
        // Who has the next turn is not known, and an instance takes memory.
        self.running.instance = None;
        end
    }

    async fn poll(&mut self, duration_max: Duration) -> TurnEnd {
        let begun = Instant::now();
        loop {
            if self.running.context.shutdown.is_requested() {
                return TurnEnd::Ended(SourceExit::Stopped);
            }
            match self.running.step().await {
                Step::Poll => {}
                Step::SourceExit(end) => return TurnEnd::Ended(end),
                Step::Wait(wait) => return TurnEnd::Due(wait),
            }
            if begun.elapsed() >= duration_max {
                return TurnEnd::Due(Duration::ZERO);
            }
        }
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.running.context.source
    }

    /// Its stored state after the last turn.
    #[must_use]
    pub fn source_state(&self) -> &StoredSource {
        &self.running.context.source_state
    }
}
