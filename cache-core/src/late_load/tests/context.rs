//! The context of its caller that a load sees in the background.

use super::*;

tokio::task_local! {
    static OF_CALLER: ();
}

#[tokio::test]
async fn load_in_the_background_sees_the_runtime_of_its_caller_and_no_other_task_local() {
    let fixture = Fixture::new();
    let seen = ResultSlot::new();
    let late = || {
        let seen = seen.clone();
        fixture.late(|leader| async move {
            let _leader = leader;
            pause().await;
            let has_local = OF_CALLER.try_with(|()| ()).is_ok();
            seen.put((CacheRuntime::is_in_scope(), has_local));
        })
    };
    let memory = crate::Memory::builder();
    let runtime = CacheRuntime::builder().l1(memory).build().await.unwrap();
    let mut late_in_scope = None;
    let in_scope = CacheRuntime::scope(runtime, async {
        let late = late_in_scope.insert(late());
        assert!(!poll_once(late));
    });
    OF_CALLER.scope((), in_scope).await;
    let waiter = fixture.wait();
    assert!(late_in_scope.is_some_and(LateLoad::detach));
    drop(waiter.await);
    assert_eq!(seen.take(), Some((true, false)));

    assert!(late().detach());
    while seen.take() != Some((false, false)) {
        tokio::task::yield_now().await;
    }
}

/// Records the names of spans, and which span follows from which.
#[derive(Default)]
struct Spans(Mutex<Vec<String>>);

impl Spans {
    fn record(&self, line: String) -> u64 {
        let mut lines = self.0.lock().expect("no test panics here");
        lines.push(line);
        lines.len() as u64
    }
}

impl tracing::Subscriber for Spans {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let line = format!("{} is_root={}", span.metadata().name(), span.is_root());
        tracing::span::Id::from_u64(self.record(line))
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, span: &tracing::span::Id, follows: &tracing::span::Id) {
        self.record(format!(
            "{} follows {}",
            span.into_u64(),
            follows.into_u64()
        ));
    }

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, span: &tracing::span::Id) {
        self.record(format!("enter {}", span.into_u64()));
    }

    fn exit(&self, _: &tracing::span::Id) {}
}

/// `#[tokio::test]` runs on one thread, so the subscriber sees the background too.
#[tokio::test]
async fn load_in_the_background_has_a_span_that_follows_from_that_of_its_caller() {
    // While there is only one subscriber, the thread of another test may decide that the span is
    // disabled for all threads.
    let _second = tracing::Dispatch::new(Spans::default());
    let spans = Arc::new(Spans::default());
    let _guard = tracing::subscriber::set_default(Arc::clone(&spans));
    let span = tracing::info_span!("caller");
    let caller = Caller {
        runtime: None,
        span,
    };
    let fixture = Fixture::new();
    let done = ResultSlot::new();
    let load = {
        let done = done.clone();
        Box::pin(async move { done.put(()) })
    };
    assert!(fixture.owner.accept(load, caller));
    while done.take().is_none() {
        tokio::task::yield_now().await;
    }
    let lines = spans.0.lock().unwrap();
    let expected = [
        "caller is_root=false",
        "cache.background is_root=true",
        "2 follows 1",
        "enter 2",
    ];
    assert_eq!(lines[..4], expected);
}
