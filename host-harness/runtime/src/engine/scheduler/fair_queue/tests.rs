//! Tests the policy in virtual time: sources with a pattern of execution and waits share
//! processors, and each gets its share.

use std::collections::BTreeMap;

use super::*;

const MS: Duration = Duration::from_millis(1);
/// The longest slice, as the epochs have it.
const TICK: Duration = Duration::from_millis(10);

/// What a source does, again and again: execute, then wait for the host.
#[derive(Clone, Copy, Debug)]
struct Pattern {
    executes: Duration,
    waits: Duration,
}

const LOOP: Pattern = Pattern {
    executes: Duration::from_secs(1_000_000),
    waits: Duration::ZERO,
};
/// A source at full pace: 30 ms for a batch, in pieces between requests.
const WELL_BEHAVED: Pattern = Pattern {
    executes: Duration::from_millis(6),
    waits: Duration::from_millis(4),
};

#[derive(Debug)]
struct Source {
    pattern: Pattern,
    virtual_runtime: Arc<VirtualRuntime>,
    call: CallId,
    /// What is left of the execution.
    left: Duration,
    /// When a wait for the host ends, if the source waits for it.
    wakes_at: Option<Duration>,
    executed: Duration,
    /// In this call.
    executed_in_call: Duration,
    longest_wait: Duration,
    waiting_since: Duration,
}

/// Processors on which sources execute, stepped from event to event.
struct Machine {
    queue: FairQueue<usize>,
    sources: Vec<Source>,
    /// The source that executes, and when its slice has begun.
    executing: BTreeMap<usize, Duration>,
    begin: Instant,
    now: Duration,
    preemptions: usize,
}

impl Machine {
    fn new(permits: usize, patterns: &[Pattern]) -> Self {
        let mut queue = FairQueue::new(permits);
        let sources = patterns
            .iter()
            .map(|pattern| Source {
                pattern: *pattern,
                virtual_runtime: Arc::default(),
                call: queue.register(),
                left: pattern.executes,
                wakes_at: Some(Duration::ZERO),
                executed: Duration::ZERO,
                executed_in_call: Duration::ZERO,
                longest_wait: Duration::ZERO,
                waiting_since: Duration::ZERO,
            })
            .collect();
        Self {
            queue,
            sources,
            executing: BTreeMap::new(),
            begin: Instant::now(),
            now: Duration::ZERO,
            preemptions: 0,
        }
    }

    fn at(&self) -> Instant {
        self.begin + self.now
    }

    fn run_until(&mut self, end: Duration) {
        while self.now < end {
            let step = self.next_event();
            self.now = step.min(end);
            self.end_slices(false);
            self.wake();
        }
    }

    /// The next end of a slice or of a wait.
    fn next_event(&self) -> Duration {
        let slices = self
            .executing
            .iter()
            .map(|(source, since)| *since + self.sources[*source].left.min(TICK));
        let waits = self.sources.iter().filter_map(|source| source.wakes_at);
        let next = slices.chain(waits).min().unwrap();
        next.max(self.now)
    }

    fn end_slices(&mut self, all: bool) {
        let executing: Vec<(usize, Duration)> = self
            .executing
            .iter()
            .map(|(source_index, since)| (*source_index, *since))
            .collect();
        for (source_index, since) in executing {
            let ran = self.now - since;
            let at = self.at();
            let source = &mut self.sources[source_index];
            if !all && ran < source.left.min(TICK) {
                continue;
            }
            self.executing.remove(&source_index);
            source.left = source.left.saturating_sub(ran);
            source.executed += ran;
            source.executed_in_call += ran;
            let again = (source.left > Duration::ZERO).then_some(source_index);
            if again.is_none() {
                source.left = source.pattern.executes;
                source.wakes_at = Some(self.now + source.pattern.waits);
            }
            source.waiting_since = self.now;
            let woken = self
                .queue
                .end_slice(source.call, source.executed_in_call, again, at);
            if again.is_none() {
                source.executed_in_call = Duration::ZERO;
            }
            for source_index in [woken, again].into_iter().flatten() {
                self.try_run(source_index);
            }
        }
    }

    fn wake(&mut self) {
        for source_index in 0..self.sources.len() {
            if self.sources[source_index]
                .wakes_at
                .is_some_and(|at| at <= self.now)
            {
                self.sources[source_index].wakes_at = None;
                self.sources[source_index].waiting_since = self.now;
                self.try_run(source_index);
            }
        }
    }

    fn try_run(&mut self, source_index: usize) {
        let at = self.at();
        let source = &mut self.sources[source_index];
        match self
            .queue
            .enter(source.call, &source.virtual_runtime, source_index, at)
        {
            EnterOutcome::Runs => {
                let waited = self.now - source.waiting_since;
                source.longest_wait = source.longest_wait.max(waited);
                self.executing.insert(source_index, self.now);
            }
            EnterOutcome::Waits { preempts: true } => {
                self.preemptions += 1;
                self.end_slices(true);
            }
            EnterOutcome::Waits { preempts: false } => {}
        }
    }

    /// The share of one processor that a source had.
    fn share(&self, source_index: usize) -> f64 {
        self.sources[source_index].executed.as_secs_f64() / self.now.as_secs_f64()
    }
}

/// Runs an honest source and a number of endless loops on two processors.
fn run_with_loops(loops: usize) -> Machine {
    let mut patterns = vec![WELL_BEHAVED];
    patterns.resize(loops + 1, LOOP);
    let mut machine = Machine::new(2, &patterns);
    machine.run_until(Duration::from_secs(60));
    machine
}

#[test]
fn an_honest_source_beside_loops_keeps_its_share() {
    let alone = run_with_loops(0).share(0);
    assert!((alone - 0.6).abs() < 0.01, "{alone}");
    for (loops, least) in [(1, 0.99), (3, 0.95), (8, 0.9)] {
        let ratio = run_with_loops(loops).share(0) / alone;
        assert!(ratio > least, "beside {loops}: {ratio}");
    }
}

#[test]
fn a_source_that_needs_less_than_its_share_waits_for_nothing() {
    let light = Pattern {
        executes: MS,
        waits: Duration::from_millis(50),
    };
    let mut patterns = vec![light];
    patterns.resize(9, LOOP);
    let mut machine = Machine::new(2, &patterns);
    machine.run_until(Duration::from_secs(60));
    let light = &machine.sources[0];
    assert!(light.longest_wait <= MS, "{:?}", light.longest_wait);
    assert!((machine.share(0) - 1.0 / 51.0).abs() < 0.001);
}

#[test]
fn loops_share_what_is_left_and_no_permit_is_idle() {
    let machine = run_with_loops(8);
    let shares: Vec<f64> = (1..9)
        .map(|source_index| machine.share(source_index))
        .collect();
    let (least, most) = shares
        .iter()
        .fold((f64::MAX, 0.0_f64), |(least, most), share| {
            (least.min(*share), most.max(*share))
        });
    assert!(most / least < 1.05, "{shares:?}");
    let all: f64 = (0..9).map(|source_index| machine.share(source_index)).sum();
    assert!(all > 1.99, "{all}");
}

/// An hour of idleness gives an advantage of 50 ms, not of an hour. The late source has a processor of
/// its own until its call counts as long, and then half of one, like the others.
#[test]
fn an_idle_source_saves_up_no_more_than_the_credit() {
    let late = Pattern {
        executes: Duration::from_secs(1_000_000),
        waits: Duration::ZERO,
    };
    let mut machine = Machine::new(2, &[LOOP, LOOP, LOOP, late]);
    let hour = Duration::from_secs(3_600);
    machine.sources[3].wakes_at = Some(hour);
    machine.run_until(hour + Duration::from_secs(10));
    let late = machine.sources[3].executed;
    let share = LONG_CALL + (Duration::from_secs(10) - LONG_CALL) / 2;
    assert!(late + TICK * 3 > share, "{late:?}");
    assert!(late < share + IDLE_CREDIT_MAX + TICK * 12, "{late:?}");
}

/// One that preempts at each moment is charged for it, and so has no more
/// than its share of preemptions.
#[test]
fn a_source_that_executes_for_moments_cannot_take_the_time_of_others() {
    let moments = Pattern {
        executes: Duration::from_nanos(100),
        waits: Duration::from_nanos(100),
    };
    let mut machine = Machine::new(1, &[moments, LOOP]);
    machine.run_until(Duration::from_millis(200));
    assert!(
        machine.sources[1].executed > Duration::from_millis(190),
        "{:?}",
        machine.sources[1].executed
    );
    let preemptions = Duration::from_millis(200).as_nanos() / SLICE_COST_MIN.as_nanos();
    assert!(
        u128::try_from(machine.preemptions).unwrap() <= preemptions,
        "{}",
        machine.preemptions
    );
}

#[test]
fn two_calls_of_one_source_have_one_share() {
    let mut machine = Machine::new(2, &[LOOP, LOOP, LOOP, LOOP]);
    machine.sources[3].virtual_runtime = Arc::clone(&machine.sources[2].virtual_runtime);
    machine.run_until(Duration::from_secs(60));
    let both = machine.share(2) + machine.share(3);
    assert!((both - 2.0 / 3.0).abs() < 0.05, "{both}");
}

#[test]
fn a_call_that_is_dropped_gives_its_permit_or_its_place_back() {
    let mut queue = FairQueue::new(1);
    let now = Instant::now();
    let virtual_runtime = Arc::default();
    let [first, second, third] = [(); 3].map(|()| queue.register());
    assert_eq!(
        queue.enter(first, &virtual_runtime, 1, now),
        EnterOutcome::Runs
    );
    let waits = EnterOutcome::Waits { preempts: false };
    assert_eq!(queue.enter(second, &virtual_runtime, 2, now), waits);
    assert_eq!(queue.enter(third, &virtual_runtime, 3, now), waits);
    assert_eq!(queue.leave(second, now), None);
    assert_eq!(queue.leave(first, now), Some(3));
    // It was given the permit and is dropped before it could use it.
    assert_eq!(queue.leave(third, now), None);
    assert_eq!(queue.leave(third, now), None);
    assert_eq!(
        queue.enter(first, &virtual_runtime, 1, now),
        EnterOutcome::Runs
    );
}

#[test]
fn ten_thousand_sources_that_all_want_to_execute_have_equal_shares() {
    let mut queue = FairQueue::new(2);
    let virtual_runtimes: Vec<Arc<VirtualRuntime>> = (0..10_000).map(|_| Arc::default()).collect();
    let call_ids: Vec<CallId> = virtual_runtimes.iter().map(|_| queue.register()).collect();
    let mut now = Instant::now();
    let mut running = Vec::new();
    for (source_index, virtual_runtime) in virtual_runtimes.iter().enumerate() {
        if queue.enter(call_ids[source_index], virtual_runtime, source_index, now)
            == EnterOutcome::Runs
        {
            running.push(source_index);
        }
    }
    for _ in 0..50_000 {
        now += TICK;
        for source_index in std::mem::take(&mut running) {
            let next = queue.end_slice(call_ids[source_index], TICK, Some(source_index), now);
            let next = next.unwrap_or(source_index);
            queue.enter(call_ids[next], &virtual_runtimes[next], next, now);
            running.push(next);
        }
    }
    let runtimes = virtual_runtimes.iter().map(|runtime| runtime.get());
    let (least, most) = runtimes.fold((u64::MAX, 0), |(least, most), runtime| {
        (least.min(runtime), most.max(runtime))
    });
    assert!(most - least <= 2 * nanos(TICK), "{least} to {most}");
}
