//! Schedules futures in place of components: each poll is a slice that an epoch ends.

use std::cell::RefCell;
use std::hint::black_box;

use wasmtime::Engine;

use super::*;

const DEADLINE: Duration = Duration::from_secs(600);

/// A call of `slices` slices, each of which appends its name to `execution_order`.
struct Call<'a> {
    name: char,
    slices: usize,
    slice: Duration,
    state: CallState,
    execution_order: &'a RefCell<String>,
}

impl Call<'_> {
    async fn run(
        &self,
        scheduler: &Scheduler,
        virtual_runtime: Duration,
        limit: Duration,
    ) -> Option<char> {
        let nanos = u64::try_from(virtual_runtime.as_nanos()).unwrap();
        let virtual_runtime = Arc::<VirtualRuntime>::default();
        virtual_runtime.set(nanos);
        let mut left = self.slices;
        let call = std::future::poll_fn(|cx| {
            self.execution_order.borrow_mut().push(self.name);
            let started_at = Instant::now();
            while black_box(started_at.elapsed()) < self.slice {}
            left -= 1;
            if left == 0 {
                return Poll::Ready(self.name);
            }
            self.state.note_interrupted();
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        scheduler
            .run(&virtual_runtime, &self.state, limit, call)
            .await
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn the_source_that_has_executed_less_goes_first_and_both_complete() {
    let execution_order = RefCell::new(String::new());
    let [a, b] = ['a', 'b'].map(|name| Call {
        name,
        slices: 4,
        slice: Duration::ZERO,
        state: CallState::default(),
        execution_order: &execution_order,
    });
    let engine = Engine::default();
    let scheduler = Scheduler::with_permits(1, engine.weak(), Arc::default());
    let ends = block_on(async {
        tokio::join!(
            a.run(&scheduler, Duration::from_secs(9), DEADLINE),
            b.run(&scheduler, Duration::from_secs(1), DEADLINE),
        )
    });
    assert_eq!(ends, (Some('a'), Some('b')));
    // `a` has run its first slices before `b` arrives.
    let order = execution_order.borrow().clone();
    assert!(order.contains("bbbb"), "{order}");
    assert_eq!(order.len(), 8, "{order}");
}

#[test]
fn the_time_that_a_call_waits_for_a_permit_does_not_count_as_its_own() {
    let execution_order = RefCell::new(String::new());
    let call = |name, slices, slice| Call {
        name,
        slices,
        slice,
        state: CallState::default(),
        execution_order: &execution_order,
    };
    let engine = Engine::default();
    let scheduler = Scheduler::with_permits(1, engine.weak(), Arc::default());
    let limit = Duration::from_millis(100);
    let long = call('l', 20, Duration::from_millis(20));
    let late = call('w', 2, Duration::ZERO);
    let ends = block_on(async {
        tokio::join!(
            long.run(&scheduler, Duration::ZERO, DEADLINE),
            late.run(&scheduler, Duration::from_secs(9), limit),
        )
    });
    assert_eq!(ends, (Some('l'), Some('w')));

    let endless = call('e', usize::MAX, Duration::from_millis(1));
    let end = block_on(endless.run(&scheduler, Duration::ZERO, limit));
    assert_eq!(end, None);
}
