//! The suite for a private store that outlives its process.

use super::{Store, key};
use crate::tier::{Glob, LeaseMode, Target, TierBuilder};

/// Checks that after a restart no invalidated record is valid, and all others are. Each builder
/// that `open` returns is for the same store, after the tier before it was shut down.
///
/// # Panics
/// With what the tier did not do.
pub async fn persistence(open: impl Fn() -> Box<dyn TierBuilder>) {
    let (kept, key_dropped) = (key("kept", 1), key("kept", 2));
    let (function_dropped, matching_dropped) = (key("dropped", 1), key("matched", 1));
    let first = Store::open(open()).await;
    let stamp = first.fill(&kept, b"kept").await;
    for key in [&key_dropped, &function_dropped, &matching_dropped] {
        first.fill(key, b"old").await;
    }
    let before = [
        first.fill(&key_dropped, b"old").await,
        first.fill(&function_dropped, b"old").await,
        first.fill(&matching_dropped, b"old").await,
    ];
    first.invalidate(Target::Key(&key_dropped)).await;
    first
        .invalidate(Target::Function(&function_dropped.function))
        .await;
    let all = Glob::new("*").expect("a pattern");
    let matched = first
        .tier
        .invalidate_matching(&matching_dropped.function, &all);
    matched.await.expect("a result");
    first.close().await;

    let second = Store::open(open()).await;
    let read = second.valid(&kept, stamp).await;
    assert_eq!(
        read.as_deref(),
        Some(&b"kept"[..]),
        "the record is lost at the shutdown"
    );
    for (key, stamp) in [&key_dropped, &function_dropped, &matching_dropped]
        .into_iter()
        .zip(before)
    {
        assert_eq!(
            second.valid(key, stamp).await,
            None,
            "{key:?} was invalidated before the restart"
        );
        let lease = second.granted(key, LeaseMode::Preempt).await;
        assert_ne!(
            (
                lease.stamp,
                second.read(key).await.expect("the result of a read").0
            ),
            (stamp, Some(b"old".to_vec())),
            "{key:?} would be valid again"
        );
    }
    second.invalidate(Target::All).await;
    second.close().await;

    let third = Store::open(open()).await;
    assert_eq!(
        third.valid(&kept, stamp).await,
        None,
        "everything was invalidated before the restart"
    );
    third.close().await;
}
