//! The number of shards that a namespace is laid out for, and whether all servers agree with it.
//!
//! The number is written into the history of each shard when that begins (`server`), and compared
//! whenever a link attaches (`commands/attach`). Shard 0 exists in every layout. So the link of
//! another shard is made only after shard 0 was found in this layout once: until then the namespace
//! may have another one. Afterwards the shards are independent of shard 0, which may be unreachable
//! for long, until one of them finds another layout. Then no shard of the instance may serve.
//!
//! # Invariants
//! 1. While one shard has found another layout, no shard has a link, except for a moment in which
//!    the links notice it.
//! 2. No shard but shard 0 has a link before shard 0 was attached once.

use cache_core::tier::Shard;
use cache_core::{Error, ErrorKind};
use tokio::sync::watch;

/// What the shards of one instance know of the layout.
#[derive(Debug)]
pub(crate) struct Layout {
    namespace: String,
    shards: u8,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Shard 0 was attached once.
    is_confirmed: bool,
    /// Why shard 0 cannot be attached, until it is attached for the first time.
    failure: Option<Error>,
    /// The shards that found another layout when they attached last, one bit for each.
    conflicts: u64,
    /// The error of the last of them.
    conflict: Option<Error>,
}

impl Layout {
    pub(crate) fn new(namespace: &str, shards: u8) -> Self {
        Self {
            namespace: namespace.to_owned(),
            shards,
            state: watch::Sender::default(),
        }
    }

    /// The number of shards that this instance is set to.
    pub(crate) fn shards(&self) -> u8 {
        self.shards
    }

    /// Waits until a link of the shard may be made.
    ///
    /// # Errors
    /// Another shard found another layout, or shard 0 has never been reached.
    pub(crate) async fn admit(&self, shard: Shard) -> Result<(), Error> {
        let others = !bit(shard);
        let mut state = self.state.subscribe();
        let decides = |state: &State| {
            let is_confirmed = state.is_confirmed || shard.index() == 0;
            is_confirmed || state.failure.is_some() || state.conflicts & others != 0
        };
        let Ok(state) = state.wait_for(decides).await else {
            return Ok(());
        };
        if state.conflicts & others != 0
            && let Some(conflict) = &state.conflict
        {
            return Err(conflict.clone());
        }
        match &state.failure {
            Some(failure) if !state.is_confirmed && shard.index() != 0 => Err(Error::with_source(
                failure.kind(),
                format!(
                    "shard 0 of the namespace `{}`, which says how many shards there are, cannot \
                     be reached",
                    self.namespace
                ),
                failure.clone(),
            )),
            _ => Ok(()),
        }
    }

    /// Notes that the shard was attached: it has this layout.
    pub(crate) fn found(&self, shard: Shard) {
        self.state.send_if_modified(|state| {
            state.conflicts &= !bit(shard);
            if state.conflicts == 0 {
                state.conflict = None;
            }
            if shard.index() == 0 {
                state.is_confirmed = true;
                state.failure = None;
            }
            true
        });
    }

    /// Notes that the shard could not be attached. Only the reason of shard 0 matters to others.
    pub(crate) fn failed(&self, shard: Shard, error: &Error) {
        if shard.index() == 0 && !shard.is_only() {
            self.state
                .send_modify(|state| state.failure = Some(error.clone()));
        }
    }

    /// Notes that `shard` has another layout, of `found` shards, and returns the error of it. `key`
    /// is the key that says it.
    pub(crate) fn conflicts(&self, shard: Shard, found: u8, key: &str) -> Error {
        let of = |shards: u8| match shards {
            1 => "1 shard".to_owned(),
            shards => format!("{shards} shards"),
        };
        let problem = format!(
            "the namespace `{}` is laid out for {}, and this instance is set to {} (`Redis::shards`)",
            self.namespace,
            of(found),
            self.shards
        );
        let help = format!(
            "set `shards({found})`, or use another namespace; a layout that no instance uses any \
             more ends when its key `{key}` is deleted"
        );
        let error = Error::new(ErrorKind::Configuration, problem).with_help(help);
        self.state.send_modify(|state| {
            state.conflicts |= bit(shard);
            state.conflict = Some(error.clone());
        });
        error
    }

    /// Waits until a shard has found another layout. Returns at once if one has.
    pub(crate) async fn conflict(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| state.conflicts != 0).await;
    }
}

fn bit(shard: Shard) -> u64 {
    1 << shard.index()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn layout() -> (Layout, Vec<Shard>) {
        (Layout::new("shop", 4), Shard::all(4).unwrap())
    }

    fn is_ready(future: impl Future) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        pin!(future).poll(&mut cx).is_ready()
    }

    #[tokio::test]
    async fn other_shards_wait_for_shard_0_once_and_fail_with_it() {
        let (layout, shards) = layout();
        layout.admit(shards[0]).await.unwrap();
        assert!(!is_ready(layout.admit(shards[1])), "nothing is known");
        let failure = Error::new(ErrorKind::Unavailable, "no route");
        layout.failed(shards[1], &failure);
        assert!(!is_ready(layout.admit(shards[1])), "it is not of shard 0");
        layout.failed(shards[0], &failure);
        let error = layout.admit(shards[1]).await.unwrap_err();
        assert!(format!("{error:?}").contains("no route"), "{error:?}");
        layout.admit(shards[0]).await.unwrap();
        layout.found(shards[0]);
        layout.admit(shards[1]).await.unwrap();
        layout.failed(shards[0], &failure);
        layout.admit(shards[1]).await.unwrap();
    }

    #[tokio::test]
    async fn other_layout_in_one_shard_stops_all_others_until_it_is_gone() {
        let (layout, shards) = layout();
        layout.found(shards[0]);
        assert!(!is_ready(layout.conflict()));
        for at in [0, 2] {
            let error = layout.conflicts(shards[at], 8, "{shop:0}:#history");
            let text = error.to_string();
            for part in [
                "`shop`",
                "8 shards",
                "set to 4",
                "shards(8)",
                "{shop:0}:#history",
            ] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        }
        layout.conflict().await;
        layout.found(shards[2]);
        layout.admit(shards[0]).await.expect("it may look again");
        for at in 1..4 {
            layout.admit(shards[at]).await.unwrap_err();
        }
        layout.found(shards[0]);
        assert!(!is_ready(layout.conflict()));
        for shard in shards {
            layout.admit(shard).await.unwrap();
        }
    }
}
